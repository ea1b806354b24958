"""The command ``pgcorpus``: its groups, and how it ends."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from pgcorpus.cli.ask import ask
from pgcorpus.cli.cache import cache
from pgcorpus.cli.collections import collections
from pgcorpus.cli.db import db
from pgcorpus.cli.demo import demo
from pgcorpus.cli.doctor import doctor
from pgcorpus.cli.ending import ENDINGS, EXIT_TERMINATED, told
from pgcorpus.cli.index import index
from pgcorpus.cli.ingest import ingest
from pgcorpus.cli.migrate import migrate
from pgcorpus.cli.reembed import reembed
from pgcorpus.cli.search import search
from pgcorpus.cli.serve import serve
from pgcorpus.cli.stats import stats
from pgcorpus.cli.tune import tune


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pgcorpus", message="%(prog)s %(version)s")
def cli() -> None:
    """Documents and their embeddings in PostgreSQL.

    The database is PGCORPUS_DATABASE_URL, else DATABASE_URL, else a private PostgreSQL that is started for the
    command. Exit codes: 0 done, 1 the input or the embedder is at fault, 2 the command line or a setting is,
    3 the database is, 130 interrupted.
    """


OF_DOCUMENTS = (ingest, search, ask, serve, collections, reembed, cache)
OF_DATABASE = (migrate, doctor, tune, index, stats, db, demo)

for command in (*OF_DOCUMENTS, *OF_DATABASE):
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
    except ENDINGS as exc:
        return told(exc)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Unwind on SIGTERM, so that transactions roll back and the embedded server stops."""
    sys.exit(EXIT_TERMINATED)
