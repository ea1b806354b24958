"""The command ``pgcorpus``: its groups, and how it ends."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import click
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pgcorpus.cli.ask import ask
from pgcorpus.cli.cache import cache
from pgcorpus.cli.collections import collections
from pgcorpus.cli.db import db
from pgcorpus.cli.demo import demo
from pgcorpus.cli.ingest import ingest
from pgcorpus.cli.migrate import migrate
from pgcorpus.cli.output import fail
from pgcorpus.cli.reembed import reembed
from pgcorpus.cli.search import search
from pgcorpus.errors import ConfigError, DatabaseError, FilterError, PgCorpusError, SearchError
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


for command in (ingest, search, ask, collections, reembed, migrate, cache, db, demo):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: no traceback for what a user can mend.

    Args:
        arguments: Without the program's name; the process's own by default.
    """
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows what it can
    sys.exit(run_command(arguments))


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: As in :func:`main`.
    """
    try:
        code = int(cli.main(arguments, prog_name="pgcorpus", standalone_mode=False) or 0)
        sys.stdout.flush()  # here, where a full disk can still be told
        return code
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (KeyboardInterrupt, click.Abort) as exc:
        return _stopped(exc)
    except BrokenPipeError:
        return _reader_gone()
    except OSError as exc:
        return _system_refused(exc)
    except (PgCorpusError, SQLAlchemyError) as exc:
        return _failed(_as_ours(exc))


def _stopped(exc: BaseException) -> int:
    """Tell Ctrl-C from a question that was answered with no; click raises Abort for both."""
    if isinstance(exc, click.Abort) and not isinstance(exc.__cause__, KeyboardInterrupt):
        fail("nothing was done")
        return EXIT_ERROR
    fail("interrupted: what was stored is whole, and the next run goes on from there")
    return EXIT_INTERRUPTED


def _as_ours(exc: PgCorpusError | SQLAlchemyError) -> PgCorpusError:
    if isinstance(exc, PgCorpusError):
        return exc
    return translated(exc) if isinstance(exc, DBAPIError) else DatabaseError(str(exc).partition("\n")[0])


def _failed(exc: PgCorpusError) -> int:
    fail(str(exc))
    if isinstance(exc, ConfigError | FilterError | SearchError):
        return EXIT_USAGE
    return EXIT_DATABASE if isinstance(exc, DatabaseError) else EXIT_ERROR


def _system_refused(exc: OSError) -> int:
    fail(f"{exc.filename or 'the output'}: {exc.strerror or exc}")
    return _reader_gone()


def _reader_gone() -> int:
    """``pgcorpus search ... | head`` closes our output: say nothing, and keep the interpreter from saying it."""
    with suppress(OSError, ValueError):  # a test's output has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_ERROR


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Unwind on SIGTERM, so that transactions roll back and the embedded server stops."""
    sys.exit(EXIT_TERMINATED)
