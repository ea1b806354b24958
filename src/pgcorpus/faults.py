"""Driver errors as this package's own, wrapped once at the edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from pgcorpus.errors import ConfigError, DatabaseError, PgCorpusError, SchemaError, UnreachableError

_UNDEFINED_TABLE = "42P01"
_UNDEFINED_SCHEMA = "3F000"
_UNSUPPORTED_PARAMETER = "unsupported startup parameter"


def sqlstate(exc: DBAPIError) -> str | None:
    """Return the five-character SQLSTATE the server sent, or None where it did not answer."""
    return getattr(exc.orig, "sqlstate", None) or getattr(exc.orig, "pgcode", None)


def translated(exc: DBAPIError) -> PgCorpusError:
    """Return this package's error for a driver's error, its text on one line."""
    message = _one_line(exc)
    state = sqlstate(exc)
    if state in (_UNDEFINED_TABLE, _UNDEFINED_SCHEMA):
        return SchemaError(f"{message}: run `pgcorpus migrate upgrade`")
    if _UNSUPPORTED_PARAMETER in message:
        return ConfigError(
            f"{message}: a pooler stands between; make the engine with create_engine(url, pgbouncer=True)"
        )
    if state is None and isinstance(exc, OperationalError | InterfaceError):
        return UnreachableError(f"the database cannot be reached: {message}")
    return DatabaseError(message)


@contextmanager
def as_sqlalchemy(connection: Connection, statement: str) -> Iterator[None]:
    """Raise what a driver raises as SQLAlchemy does, where its cursor is used directly.

    A connection that is lost is taken out of the pool, so that the session can be rolled back and used again.

    Raises:
        DBAPIError: The driver failed; of the kind that SQLAlchemy raises for that error.
    """
    base = _driver_error(connection)
    try:
        yield
    except base as exc:
        lost = connection.dialect.is_disconnect(exc, connection.connection.dbapi_connection, None)  # type: ignore[arg-type]
        if lost:
            connection.invalidate(exc)
        wrapped = DBAPIError.instance(
            statement, None, exc, base, connection_invalidated=lost, dialect=connection.dialect
        )
        raise wrapped from exc


def _driver_error(connection: Connection) -> type[Exception]:
    """Return what all errors of a connection's driver are; imported here, for Alembic loads this module everywhere."""
    if connection.dialect.driver == "psycopg2":
        import psycopg2

        return psycopg2.Error
    import psycopg

    return psycopg.Error


def _one_line(exc: DBAPIError) -> str:
    """Return the server's message and hint without the statement, which may hold a document."""
    diagnostics = getattr(exc.orig, "diag", None)
    primary = getattr(diagnostics, "message_primary", None)
    hint = getattr(diagnostics, "message_hint", None)
    if primary:
        return f"{primary}. {hint}" if hint else primary
    lines = [line.strip() for line in str(exc.orig).splitlines() if line.strip()]
    return "; ".join(lines[:2])
