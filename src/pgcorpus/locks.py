"""Advisory locks that are polled for: waiting inside pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Engine, text

from pgcorpus.errors import DatabaseError

_POLL_INTERVAL = 0.2  # seconds

_HOLDER = text("""
    SELECT a.pid, a.application_name, date_trunc('second', now() - a.backend_start) AS since
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32) | l.objid::bigint = :key
""")


@contextmanager
def advisory_lock(engine: Engine, name: str, wait: float, fault: type[DatabaseError] = DatabaseError) -> Iterator[None]:
    """Hold a lock of the database, on a connection of its own, outside any transaction.

    Args:
        engine: The database; not behind a PgBouncer in transaction mode, which hands sessions around.
        name: What is locked.
        wait: Seconds to wait for it.
        fault: The error to raise.

    Raises:
        DatabaseError: Somebody else holds it after that time; the message says who.
    """
    key = _key(name)
    with _own_connection(engine) as guard:
        _acquire(guard, name, key, wait, fault)
        try:
            yield
        finally:
            guard.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})


@contextmanager
def _own_connection(engine: Engine) -> Iterator[Connection]:
    """Yield a connection outside the pool: a pool of one would have none left for the work."""
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        driver_connection: Any = connection.connection.dbapi_connection
        connection.detach()
        try:
            yield connection
        finally:
            connection.close()
            if engine.dialect.is_async:  # SQLAlchemy (2.1) forgets to close a detached one
                driver_connection.close()


def is_held(connection: Connection, name: str) -> bool:
    """Say whether anybody holds a lock of :func:`advisory_lock` in the database; it takes none, and waits for none."""
    return connection.execute(_HOLDER, {"key": _key(name)}).first() is not None


def _key(name: str) -> int:
    """pg_advisory_lock takes a signed 64-bit number."""
    return int.from_bytes(blake2b(f"pgcorpus:{name}".encode(), digest_size=8).digest(), "big", signed=True)


def _acquire(guard: Connection, name: str, key: int, wait: float, fault: type[DatabaseError]) -> None:
    deadline = time.monotonic() + wait
    while not guard.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}):
        if time.monotonic() >= deadline:
            raise fault(f"waited {wait:g} s for the {name} of {_holder(guard, key)}: wait for it, or end that session")
        time.sleep(_POLL_INTERVAL)


def _holder(guard: Connection, key: int) -> str:
    holder = guard.execute(_HOLDER, {"key": key}).first()
    if holder is None:
        return "another session"
    return f"the server process {holder.pid} ({holder.application_name}, connected for {holder.since})"
