"""A connection, its pool and the server's sessions, as they are seen from one connection."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, QueuePool, text

from pgcorpus.faults import as_sqlalchemy
from pgcorpus.names import quote
from pgcorpus.repositories.transactions import is_outside_transactions
from pgcorpus.services.doctor.aside import aside
from pgcorpus.tuning import CARRIED, SEARCH_DEFAULTS

_SEARCH = ", ".join(f"current_setting('{name}', true)" for name in SEARCH_DEFAULTS)

# Numbers of connections are for every role to see; what others' sessions do is not. A superuser's are not limited.
_SERVER = text(f"""
    SELECT pg_backend_pid() AS process, session_user AS role, ARRAY[{_SEARCH}] AS search,
           CAST(current_setting('max_connections') AS integer)
           - CAST(current_setting('superuser_reserved_connections') AS integer)
           - CAST(coalesce(current_setting('reserved_connections', true), '0') AS integer) AS server_limit,
           (SELECT CAST(sum(numbackends) AS integer) FROM pg_stat_database) AS server_taken,
           CASE WHEN rolsuper OR rolconnlimit < 0 THEN NULL ELSE rolconnlimit END AS role_limit,
           (SELECT CAST(count(*) AS integer) FROM pg_stat_activity WHERE usesysid = r.oid) AS role_taken,
           CASE WHEN rolsuper OR datconnlimit < 0 THEN NULL ELSE datconnlimit END AS database_limit,
           pg_stat_get_db_numbackends(d.oid) AS database_taken
    FROM pg_roles r, pg_database d WHERE r.rolname = session_user AND d.datname = current_database()
""")  # noqa: S608

_HOLDER = text("""
    SELECT application_name, count(*), count(*) FILTER (WHERE state = 'idle')
    FROM pg_stat_activity WHERE usesysid IS NOT NULL GROUP BY application_name ORDER BY 2 DESC, 1 LIMIT 1
""")

_IDLE = text("""
    SELECT pid, coalesce(application_name, ''), CAST(extract(epoch FROM clock_timestamp() - state_change) AS float8)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'
          AND state_change < clock_timestamp() - make_interval(secs => :patience)
    ORDER BY state_change
""")

# What changes which rows a statement finds, or how: none of a driver's own, such as client_encoding.
_SET = """
    SELECT name, setting FROM pg_settings
    WHERE source = 'session' AND name ~ '^(hnsw[.]|ivfflat[.]|enable_|(search_path|statement_timeout|lock_timeout|'
          'plan_cache_mode|random_page_cost|work_mem|row_security|session_replication_role)$)'
    ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many connections there may be, and are.

    Attributes:
        of: Whose limit it is, in words.
        most: How many there may be.
        taken: How many there are.
    """

    of: str
    most: int
    taken: int


@dataclass(frozen=True, slots=True)
class Idle:
    """A session whose transaction has nothing to do.

    Attributes:
        process: Its server process.
        application: Its ``application_name``.
        seconds: How long it has had nothing to do.
    """

    process: int
    application: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pooling:
    """What was seen of a connection, its pool and the server's sessions.

    Attributes:
        role: Who logged in, quoted.
        told: The server process that the driver was told of when it connected.
        processes: Those that answered, a transaction each.
        prepares: Whether the driver prepares statements.
        dropped: Search defaults that were asked for at connect and that the server does not have, by name.
        lost: Those that a search takes for carried, with what the server is set to.
        leaked: Settings left by a plain SET, by name, with their values.
        limits: Those of the server, the role and the database.
        holder: In words, whose connections most are.
        pool: How many connections the engine's pool may open; None without a pool.
        idle: Sessions that forgot their transaction.
    """

    role: str
    told: int = 0
    processes: tuple[int, ...] = ()
    prepares: bool = False
    dropped: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str | None] = field(default_factory=dict)
    leaked: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    holder: str = ""
    pool: float | None = None
    idle: tuple[Idle, ...] = ()

    @property
    def has_pooler(self) -> bool:
        """Whether something hands the driver another server process than it was told of."""
        return any(process != self.told for process in self.processes)


def read_pooling(connection: Connection, patience: float) -> Pooling:
    """Read it in four statements, and outside of a transaction the settings: two more where any was set."""
    in_transaction = connection.in_transaction() and not is_outside_transactions(connection)
    with aside(connection):
        server = connection.execute(_SERVER).one()
        holder = connection.execute(_HOLDER).one()
    with aside(connection):
        idle = connection.execute(_IDLE, {"patience": patience}).all()
        process = int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)
    driver: Any = connection.connection.driver_connection
    pooling = Pooling(
        quote(server.role),
        told=told_process(connection),
        processes=(server.process, process),
        prepares=getattr(driver, "prepare_threshold", None) is not None,
        limits=_limits(server),
        holder="{!r} has {:,} of them, {:,} idle".format(*holder),
        pool=_most_of_pool(connection),
        idle=tuple(Idle(*row) for row in idle),
    )
    return pooling if in_transaction else _with_settings(connection, pooling, server.search)


def told_process(connection: Connection) -> int:
    """Return the server process that the driver was told of when it connected."""
    driver: Any = connection.connection.driver_connection
    process: int = driver.info.backend_pid
    return process


def _limits(server: Any) -> tuple[Limit, ...]:
    limits = (
        ("the server", server.server_limit, server.server_taken),
        (f"the role {quote(server.role)}", server.role_limit, server.role_taken),
        ("the database", server.database_limit, server.database_taken),
    )
    return tuple(Limit(*limit) for limit in limits if limit[1] is not None)


def _most_of_pool(connection: Connection) -> float | None:
    """A pool tells its size, and its overflow to nobody: it is taken where it is kept."""
    pool = connection.engine.pool
    if not isinstance(pool, QueuePool):
        return None
    overflow: int = getattr(pool, "_max_overflow", 0)
    return math.inf if overflow < 0 else pool.size() + overflow


# Settings


def _with_settings(connection: Connection, pooling: Pooling, search: list[str | None]) -> Pooling:
    current = dict(zip(SEARCH_DEFAULTS, search, strict=True))
    with aside(connection), as_sqlalchemy(connection, _SET):
        found = _settings(connection.connection.cursor())
    leaked = found if pooling.has_pooler else _left(connection, found)
    wrong = {name: value for name, value in current.items() if name not in found}
    asked = {name: value for name, value in _asked(connection).items() if wrong.get(name, value) != value}
    carried = SEARCH_DEFAULTS if connection.info.get(CARRIED) else {}
    lost = {name: wrong[name] for name, value in carried.items() if name in wrong and wrong[name] != value}
    return replace(pooling, leaked=leaked, lost=lost, dropped={} if lost else asked)


def _asked(connection: Connection) -> dict[str, str]:
    """Return the search defaults that were asked for at connect; of several values the last one counts."""
    driver: Any = connection.connection.driver_connection
    options = driver.info.options or ""
    found = {name: re.findall(rf"-c\s*{re.escape(name)}=(\S+)", options) for name in SEARCH_DEFAULTS}
    return {name: values[-1] for name, values in found.items() if values}


def _settings(cursor: Any) -> dict[str, str]:
    try:
        cursor.execute(_SET)
        return {name: value for name, value, *_ in map(tuple, cursor.fetchall())}
    finally:
        cursor.close()


def _left(connection: Connection, found: dict[str, str]) -> dict[str, str]:
    """Return those settings that a new connection does not have: an app may make all of its connections alike.

    Only a pool that keeps connections keeps what was set in them.
    """
    pool = connection.engine.pool
    if not found or not isinstance(pool, QueuePool):
        return {}
    others = pool.recreate()
    try:
        fresh = others.connect()
    except connection.dialect.loaded_dbapi.Error:
        return {}  # the server has none left: another finding's matter
    try:
        usual = _settings(fresh.cursor())
    finally:
        fresh.close()
        others.dispose()
    return {name: value for name, value in found.items() if usual.get(name) != value}
