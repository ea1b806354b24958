"""A build done in a thread, while the caller's own follows it, and can be interrupted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

_LOOK_INTERVAL = 0.5  # seconds
# What a cancelled build takes to drop what it has left.
_CLEAN_UP = 5.0

_PROGRESS = text("""
    SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total, lockers_done, lockers_total
    FROM pg_stat_progress_create_index WHERE pid = :pid
""")
# What cleans up after a build is left to end.
_CANCEL = text("""
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE pid = :pid AND state = 'active' AND query NOT LIKE 'DROP INDEX%'
""")


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is.

    Attributes:
        phase: As ``pg_stat_progress_create_index`` calls it.
        done: Of ``total``, in this phase: blocks, else rows, else transactions waited for.
        total: 0 where the server does not say.
        seconds_left: Of this phase, at the rate it had so far; None where that cannot be told.
    """

    phase: str
    done: int
    total: int
    seconds_left: float | None


Tell = Callable[[BuildProgress], object]


def run_followed(engine: Engine, work: Callable[[Connection], None], tell: Tell | None) -> None:
    """Do something on a connection of its own in autocommit, and tell of the index that it builds.

    In a thread, since a driver that waits for the server hears no signal; whatever is raised in the caller's thread
    meanwhile (Ctrl-C, SIGTERM) cancels the work, waits until it has cleaned up, and goes on.

    Args:
        engine: The database.
        work: What is to be done.
        tell: Is told of the progress twice a second, from the caller's thread.

    Raises:
        Exception: What the work has raised.
    """
    with own_connection(engine) as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        working = _Working(lambda: work(connection))
        try:
            _follow(engine, working, pid, tell)
        except BaseException:
            _cancel(engine, working, pid)
            raise
    if working.failure is not None:
        raise working.failure


@contextmanager
def own_connection(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in autocommit outside the pool: a pool of one has one left, and no setting gets into it."""
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()
        yield connection


class _Working(threading.Thread):
    """Work, and what it has raised."""

    def __init__(self, work: Callable[[], None]) -> None:
        # A daemon: who interrupts the cleaning up as well is not kept waiting.
        super().__init__(name="pgcorpus index build", daemon=True)
        self.failure: BaseException | None = None
        # Not join() and is_alive(): a join that is interrupted takes the thread for ended (Python 3.11).
        self.done = threading.Event()
        self._work = work
        self.start()

    def run(self) -> None:
        """Do the work."""
        try:
            self._work()
        except BaseException as exc:  # noqa: BLE001 -- raised again where the caller is
            self.failure = exc
        finally:
            self.done.set()


def _follow(engine: Engine, working: _Working, pid: int, tell: Tell | None) -> None:
    if tell is not None:
        with suppress(SQLAlchemyError), own_connection(engine) as connection:  # none to be had, no progress
            clock = _Clock()
            while not working.done.is_set():
                if (progress := clock.read(connection, pid)) is not None:
                    tell(progress)
                working.done.wait(_LOOK_INTERVAL)
    while not working.done.is_set():
        working.done.wait(_LOOK_INTERVAL)


def _cancel(engine: Engine, working: _Working, pid: int) -> None:
    """Cancel what runs, and wait; between two statements there is nothing to cancel, so look again."""
    with suppress(SQLAlchemyError), own_connection(engine) as connection:
        while not working.done.is_set():
            cancelled = connection.scalar(_CANCEL, {"pid": pid})
            working.done.wait(_CLEAN_UP if cancelled else _LOOK_INTERVAL)


class _Clock:
    """Reads the progress, and knows when a phase began."""

    def __init__(self) -> None:
        self._phase = ""
        self._began = 0.0

    def read(self, connection: Connection, pid: int) -> BuildProgress | None:
        row = connection.execute(_PROGRESS, {"pid": pid}).one_or_none()
        if row is None or row.phase is None:
            return None
        done, total = next(((done, total) for done, total in zip(row[1::2], row[2::2], strict=True) if total), (0, 0))
        return BuildProgress(row.phase, done, total, self._left(row.phase, done, total))

    def _left(self, phase: str, done: int, total: int) -> float | None:
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began = phase, now
        return (now - self._began) * (total - done) / done if done and total else None
