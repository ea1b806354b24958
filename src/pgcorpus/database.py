"""Engines and sessions that know vectors: made when asked for, from a URL or the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.ext.asyncio import create_async_engine as sqlalchemy_create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from pgcorpus.adapters import EXTENSION_TYPES_SQL, ExtensionType, register_psycopg, register_psycopg2
from pgcorpus.config import database_url
from pgcorpus.errors import ConfigError
from pgcorpus.models.vector import EXTENSION_SCHEMA
from pgcorpus.tuning import CARRIED, SEARCH_DEFAULTS, as_options

APPLICATION_NAME = "pgcorpus"

# A pooler may have swallowed what was asked for at connect: what the server was really set to comes with the types.
_SETTINGS_SEEN = ", ".join(f"current_setting('{name}', true)" for name in SEARCH_DEFAULTS)
_TYPES_AND_SETTINGS_SQL = f"SELECT types.*, {_SETTINGS_SEEN} FROM ({EXTENSION_TYPES_SQL}) AS types"  # noqa: S608

# Two processes on one connection hear each other's answers. A server that forks its workers after the app was loaded
# (gunicorn --preload) would bring that about, so a child begins with an empty pool; the parent keeps its connections.
_engines: WeakSet[Engine] = WeakSet()


def _forget_connections() -> None:
    for engine in list(_engines):
        engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connections)


def create_engine(
    url: str | URL | None = None,
    *,
    pool_size: int = 5,
    max_overflow: int = 10,
    pool_timeout: float = 30.0,
    pool_pre_ping: bool = True,
    statement_timeout: float | None = None,
    pgbouncer: bool = False,
    **options: Any,
) -> Engine:
    """Make an engine whose connections know vectors; nothing connects yet.

    A process that is forked from this one begins with connections of its own.

    Args:
        url: A PostgreSQL URL; without it ``PGCORPUS_DATABASE_URL``, else ``DATABASE_URL``.
        pool_size: Connections kept open.
        max_overflow: Connections more under load.
        pool_timeout: Seconds to wait for a free connection.
        pool_pre_ping: Replace a connection that the server closed before it is used.
        statement_timeout: Seconds after which the server cancels a statement; None for the server's own setting.
        pgbouncer: Whether a PgBouncer or a managed pooler in transaction mode stands between: no prepared statements,
            and no setting that outlives a transaction.
        **options: Passed on to :func:`sqlalchemy.create_engine`.

    Raises:
        ConfigError: No URL is known, or it names another database or driver.
    """
    target = _for_sync(database_url(url))
    pool = {"pool_size": pool_size, "max_overflow": max_overflow, "pool_timeout": pool_timeout}
    options["connect_args"] = _connect_args(target, options, statement_timeout, pgbouncer)
    engine = sqlalchemy.create_engine(target, pool_pre_ping=pool_pre_ping, **_pool_options(pool, options))
    register_vector_types(engine)
    return engine


def create_async_engine(
    url: str | URL | None = None,
    *,
    pool_size: int = 5,
    max_overflow: int = 10,
    pool_timeout: float = 30.0,
    pool_pre_ping: bool = True,
    statement_timeout: float | None = None,
    pgbouncer: bool = False,
    **options: Any,
) -> AsyncEngine:
    """Make an async engine on psycopg 3; the arguments are those of :func:`create_engine`.

    Raises:
        ConfigError: No URL is known, or it names another database or a driver that is not async.
    """
    target = _for_async(database_url(url))
    pool = {"pool_size": pool_size, "max_overflow": max_overflow, "pool_timeout": pool_timeout}
    options["connect_args"] = _connect_args(target, options, statement_timeout, pgbouncer)
    engine = sqlalchemy_create_async_engine(target, pool_pre_ping=pool_pre_ping, **_pool_options(pool, options))
    register_vector_types(engine.sync_engine)
    return engine


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Make a factory of sessions whose objects stay readable after a commit."""
    return sessionmaker(engine, expire_on_commit=False)


def async_session_factory(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Make a factory of async sessions whose objects stay readable after a commit."""
    return async_sessionmaker(engine, expire_on_commit=False)


def autocommit(engine: Engine) -> Engine:
    """Return a view of an engine for reads without BEGIN and ROLLBACK, on the same pool.

    The two round trips cost a light search a seventh to a quarter of its time.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def async_autocommit(engine: AsyncEngine) -> AsyncEngine:
    """Return a view of an async engine for reads without BEGIN and ROLLBACK, on the same pool."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def register_vector_types(engine: Engine) -> None:
    """Teach every new connection of an engine the extension's types, wherever the extension lives.

    A database without the extension is fine: the next connection looks again. Call it once for an engine that
    was not made here (Flask-SQLAlchemy's, for example); repeated calls do nothing. From then on a process that is
    forked from this one begins with connections of its own.

    Args:
        engine: An engine on psycopg or psycopg2; of an async engine, its ``sync_engine``.
    """
    if not event.contains(engine, "connect", _on_connect):
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "engine_connect", remember_schema)
        _engines.add(engine)


def _on_connect(dbapi_connection: Any, record: Any) -> None:
    """Register the types with one query, outside a transaction."""
    was_autocommit = dbapi_connection.autocommit
    dbapi_connection.autocommit = True
    try:
        types, settings = _fetch_types(dbapi_connection)
    finally:
        dbapi_connection.autocommit = was_autocommit
    record.info[EXTENSION_SCHEMA] = schema_off_path(types)
    record.info[CARRIED] = settings == list(SEARCH_DEFAULTS.values())
    driver_connection = record.driver_connection
    if type(driver_connection).__module__.startswith("psycopg2"):
        register_psycopg2(driver_connection, types)
    else:
        register_psycopg(driver_connection, types)


def _fetch_types(dbapi_connection: Any) -> tuple[list[ExtensionType], list[str]]:
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute(_TYPES_AND_SETTINGS_SQL)
        rows = [tuple(row) for row in cursor.fetchall()]
    finally:
        cursor.close()
    width = len(ExtensionType._fields)
    return [ExtensionType(*row[:width]) for row in rows], list(rows[0][width:]) if rows else []


def schema_off_path(types: Iterable[ExtensionType]) -> str | None:
    """Return where the extension's types are, unless the search_path finds them there."""
    return next((type_.schema for type_ in types if not type_.on_search_path), None)


def remember_schema(connection: sqlalchemy.Connection) -> None:
    """Tell the compiler, through the dialect, how this database's operators must be named."""
    schema = connection.connection.info.get(EXTENSION_SCHEMA)
    dialect: Dialect = connection.dialect
    if getattr(dialect, EXTENSION_SCHEMA, None) != schema:
        setattr(dialect, EXTENSION_SCHEMA, schema)
        connection.engine.clear_compiled_cache()


def _connect_args(
    url: URL, options: dict[str, Any], statement_timeout: float | None, pgbouncer: bool
) -> dict[str, Any]:
    args: dict[str, Any] = {"application_name": APPLICATION_NAME} | options.get("connect_args", {})
    if not pgbouncer:
        args["options"] = " ".join([as_options(), *_timeout_option(statement_timeout), *_own_options(url, args)])
        return args
    if statement_timeout is not None:
        raise ConfigError(
            "PgBouncer passes no statement_timeout on: set it for the role, ALTER ROLE name SET statement_timeout = ..."
        )
    if "psycopg2" not in url.drivername:
        args["prepare_threshold"] = None
    return args


def _timeout_option(statement_timeout: float | None) -> list[str]:
    return [] if statement_timeout is None else [f"-c statement_timeout={round(statement_timeout * 1000)}"]


def _own_options(url: URL, args: dict[str, Any]) -> list[str]:
    """The caller's libpq options, which ours would otherwise take the place of; the last one named counts."""
    from_url = url.query.get("options", ())
    given = args.get("options") or " ".join([from_url] if isinstance(from_url, str) else from_url)
    return [given or os.environ.get("PGOPTIONS", "")]


def _pool_options(pool: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """A pool class of the caller's (NullPool, say) takes no sizes."""
    return options if "poolclass" in options else pool | options


def _for_sync(url: URL) -> URL:
    return url.set(drivername=url.drivername.replace("psycopg_async", "psycopg"))


def _for_async(url: URL) -> URL:
    if "psycopg2" in url.drivername:
        raise ConfigError("psycopg2 is not async: use postgresql+psycopg://...")
    return url
