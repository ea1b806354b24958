"""The session that builds: no timeout ends it, one at a time builds on a table, and it is left as it was found."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pgcorpus.autogenerate.catalog import is_autocommit, run
from pgcorpus.autogenerate.extension import see_sql
from pgcorpus.faults import sqlstate

log = logging.getLogger("alembic.pgcorpus")

POLL_INTERVAL = 0.2  # seconds
# Whoever waits for a strong lock makes all who come after wait too: two seconds at a time, for two minutes or so.
LOCK_TIMEOUT = "2s"
LOCK_TRIES = 30
# How soon the server notices that its client is gone, rather than build on for hours (PostgreSQL 14).
CLIENT_CHECK_INTERVAL = "10s"

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"

# transaction_timeout is of PostgreSQL 17: what a server does not know is left out.
_TIMEOUTS = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")

_READ = text("SELECT name, current_setting(name, true) AS value FROM unnest(CAST(:names AS text[])) AS s (name)")
_WRITE = text("""
    SELECT set_config(name, value, :local)
    FROM unnest(CAST(:names AS text[]), CAST(:values AS text[])) AS s (name, value)
""")

# Refused where the platform cannot tell (macOS before PostgreSQL 15, Windows); the host's own is kept.
_CHECK_CLIENT = """
DO $$
BEGIN
    IF current_setting('client_connection_check_interval') = '0' THEN
        PERFORM set_config('client_connection_check_interval', '{interval}', {local});
    END IF;
EXCEPTION WHEN invalid_parameter_value THEN NULL;
END $$
"""

# In the server: in an async engine, time.sleep would stop all that runs beside this.
_PAUSE = text("SELECT pg_sleep(:seconds)")

_TRY_LOCK = text("SELECT pg_try_advisory_lock(hashtextextended('pgcorpus:index build', :table))")
_UNLOCK = text("SELECT pg_advisory_unlock(hashtextextended('pgcorpus:index build', :table))")

# Of another role's build the view shows the process only; its locks are there for everybody to see. A plain build
# holds SHARE, a concurrent one SHARE UPDATE EXCLUSIVE.
_BUILDERS = text("""
    SELECT p.pid
    FROM pg_stat_progress_create_index p JOIN pg_locks l USING (pid)
    WHERE l.locktype = 'relation' AND l.relation = :table AND l.granted
      AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock')
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")

_OWN_BACKEND = text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
_END_BACKEND = text("""
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :started
""")


class Backend(NamedTuple):
    """A server process: a number alone may soon be another's."""

    pid: int
    started: datetime


@contextmanager
def undisturbed(connection: Connection) -> Iterator[None]:
    """Let no timeout end what is done inside, and have pgvector's schema on the search_path.

    In a transaction the settings are the transaction's, and the time to wait for a lock stays the host's: a build
    that is not concurrent has readers and writers queue behind it.
    """
    local = not is_autocommit(connection)
    timeouts: tuple[str, ...] = _TIMEOUTS if local else (*_TIMEOUTS, "lock_timeout")
    lifted: dict[str, str] = dict.fromkeys(timeouts, "0")
    with using(connection, lifted), _kept(connection, "search_path", "client_connection_check_interval"):
        run(connection, see_sql("vector", local=local))
        run(connection, _CHECK_CLIENT.format(interval=CLIENT_CHECK_INTERVAL, local=str(local).lower()))
        yield


@contextmanager
def using(connection: Connection, wanted: Mapping[str, str]) -> Iterator[None]:
    """Have settings inside, and what there was before after; outside a transaction they are the session's."""
    local = not is_autocommit(connection)
    before = _read(connection, wanted)
    _write(connection, {name: wanted[name] for name in before}, local)
    try:
        yield
    finally:
        # A connection that is lost has none to put back, and a transaction that failed puts them back at its end.
        if is_alive(connection):
            with suppress(SQLAlchemyError):
                _write(connection, before, local)


def _kept(connection: Connection, *names: str) -> AbstractContextManager[None]:
    return using(connection, _read(connection, names))


def _read(connection: Connection, names: Mapping[str, str] | tuple[str, ...]) -> dict[str, str]:
    rows = connection.execute(_READ, {"names": list(names)})
    return {name: value for name, value in rows if value is not None}


def _write(connection: Connection, values: Mapping[str, str], local: bool) -> None:
    parameters = {"names": list(values), "values": list(values.values()), "local": local}
    connection.execute(_WRITE, parameters)


def is_alive(connection: Connection) -> bool:
    """Return whether nothing is known to have ended a connection."""
    return not (connection.closed or connection.invalidated)


def pause(connection: Connection) -> None:
    """Wait a moment before something is looked at again."""
    connection.execute(_PAUSE, {"seconds": POLL_INTERVAL})


@contextmanager
def turn(connection: Connection, table: int, name: str) -> Iterator[None]:
    """Be the only one of us that changes the indexes of a table.

    Two concurrent builds on one table can deadlock: the one that comes second waits for the table with a snapshot
    that the first waits for. Polled, for the same reason.

    Args:
        table: Its oid.
        name: Its name, for the log.
    """
    if not _try_turn(connection, table):
        log.info("waiting for another process that changes the indexes of %s", name)
        while not _try_turn(connection, table):
            pause(connection)
    try:
        yield
    finally:
        _end_turn(connection, table)


@contextmanager
def turn_if_free(connection: Connection, table: int) -> Iterator[bool]:
    """Take the turn on a table if nobody else has it, and yield whether it is ours; a session may take it twice."""
    mine = _try_turn(connection, table)
    try:
        yield mine
    finally:
        if mine:
            _end_turn(connection, table)


def _try_turn(connection: Connection, table: int) -> bool:
    return bool(connection.scalar(_TRY_LOCK, {"table": table}))


def _end_turn(connection: Connection, table: int) -> None:
    """A lost connection has lost its locks, too."""
    if is_alive(connection):
        with suppress(SQLAlchemyError):
            connection.execute(_UNLOCK, {"table": table})


def builder(connection: Connection, table: int) -> int | None:
    """Return the server process that builds an index on a table for another session, or None."""
    pid: int | None = connection.scalar(_BUILDERS, {"table": table})
    return pid


def wait_for_builders(connection: Connection, table: int, name: str) -> None:
    """Return when no other session builds an index on a table: one that is being built is invalid, too."""
    pid = builder(connection, table)
    if pid is None:
        return
    log.info("waiting for the server process %s, which builds an index on %s", pid, name)
    while builder(connection, table) is not None:
        pause(connection)


def run_patiently(connection: Connection, sql: str, tries: int | None = None) -> None:
    """Run a statement that needs a lock others would queue behind: with short waits, and again.

    Raises:
        DBAPIError: The lock could not be had, or the statement failed.
    """
    with using(connection, {"lock_timeout": LOCK_TIMEOUT}):
        for left in reversed(range(tries or LOCK_TRIES)):
            try:
                run(connection, sql)
            except DBAPIError as exc:
                if not left or sqlstate(exc) not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
                    raise
                pause(connection)
            else:
                return


def backend_of(connection: Connection) -> Backend:
    """Return the server process of a connection."""
    return Backend(*connection.execute(_OWN_BACKEND).one())


@contextmanager
def living(connection: Connection, backend: Backend) -> Iterator[Connection]:
    """Yield the connection, or if it was lost a fresh one on which nothing of the lost one is left running.

    Raises:
        SQLAlchemyError: The server cannot be reached.
    """
    if is_alive(connection):
        yield connection
        return
    with connection.engine.connect() as fresh:
        fresh.execution_options(isolation_level="AUTOCOMMIT")
        # The server may not know yet that nobody waits for its build.
        fresh.execute(_END_BACKEND, {"pid": backend.pid, "started": backend.started})
        yield fresh
