"""The command ``pgcorpus``: its groups, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pgcorpus.cli.collections import collections
from pgcorpus.cli.db import db
from pgcorpus.cli.demo import demo
from pgcorpus.cli.ingest import ingest
from pgcorpus.cli.migrate import migrate
from pgcorpus.cli.output import fail
from pgcorpus.cli.search import search
from pgcorpus.errors import ConfigError, DatabaseError, FilterError, PgCorpusError
from pgcorpus.faults import translated

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_DATABASE = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pgcorpus", message="%(prog)s %(version)s")
def cli() -> None:
    """Documents and their embeddings in PostgreSQL.

    The database is PGCORPUS_DATABASE_URL, else DATABASE_URL, else a private PostgreSQL that is started for the
    command. Exit codes: 0 done, 1 the input or the embedder is at fault, 2 the command line or a setting is,
    3 the database is, 130 interrupted.
    """


for command in (ingest, search, collections, migrate, db, demo):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: no traceback for what a user can mend.

    Args:
        arguments: Without the program's name; the process's own by default.
    """
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: As in :func:`main`.
    """
    try:
        return int(cli.main(arguments, prog_name="pgcorpus", standalone_mode=False) or 0)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (KeyboardInterrupt, click.Abort):
        fail("interrupted: what was stored is whole, and the next run goes on from there")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except PgCorpusError as exc:
        return _failed(exc)
    except DBAPIError as exc:
        return _failed(translated(exc))
    except SQLAlchemyError as exc:
        return _failed(DatabaseError(str(exc).partition("\n")[0]))


def _failed(exc: PgCorpusError) -> int:
    fail(str(exc))
    if isinstance(exc, ConfigError | FilterError):
        return EXIT_USAGE
    return EXIT_DATABASE if isinstance(exc, DatabaseError) else EXIT_ERROR


def _reader_gone() -> int:
    """``pgcorpus search ... | head`` closes our output: say nothing, and keep the interpreter from saying it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_ERROR


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Unwind on SIGTERM, so that transactions roll back and the embedded server stops."""
    sys.exit(EXIT_TERMINATED)
