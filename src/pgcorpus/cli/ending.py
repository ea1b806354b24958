"""How a command ends: what its user is told, and the exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pgcorpus.cli.host import as_called
from pgcorpus.cli.output import fail
from pgcorpus.errors import ConfigError, DatabaseError, FilterError, PgCorpusError, SearchError
from pgcorpus.faults import translated

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_DATABASE = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

# What ends a command without a traceback.
ENDINGS = (KeyboardInterrupt, click.Abort, OSError, PgCorpusError, SQLAlchemyError)


def told(exc: BaseException) -> int:
    """Say what ended a command, and return its exit code.

    Args:
        exc: One of ``ENDINGS``.
    """
    match exc:
        case KeyboardInterrupt() | click.Abort():
            return _stopped(exc)
        case BrokenPipeError():
            return _reader_gone()
        case OSError() if not isinstance(exc, PgCorpusError):
            fail(f"{exc.filename or 'the output'}: {exc.strerror or exc}")
            return _reader_gone()
        case _:
            return _failed(_as_ours(exc))


def _stopped(exc: BaseException) -> int:
    """Tell Ctrl-C from a question that was answered with no; click raises Abort for both."""
    if isinstance(exc, click.Abort) and not isinstance(exc.__cause__, KeyboardInterrupt):
        fail("nothing was done")
        return EXIT_ERROR
    fail("interrupted: what was stored is whole, and the next run goes on from there")
    return EXIT_INTERRUPTED


def _as_ours(exc: BaseException) -> PgCorpusError:
    if isinstance(exc, PgCorpusError):
        return exc
    return translated(exc) if isinstance(exc, DBAPIError) else DatabaseError(str(exc).partition("\n")[0])


def _failed(exc: PgCorpusError) -> int:
    fail(as_called(str(exc)))
    if isinstance(exc, ConfigError | FilterError | SearchError):
        return EXIT_USAGE
    return EXIT_DATABASE if isinstance(exc, DatabaseError) else EXIT_ERROR


def _reader_gone() -> int:
    """``pgcorpus search ... | head`` closes our output: say nothing, and keep the interpreter from saying it."""
    with suppress(OSError, ValueError):  # a test's output has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_ERROR
