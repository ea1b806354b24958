"""One cursor of a psycopg connection, kept for the searches: a new one begins without its caches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Connection

from pgcorpus.adapters import CURSOR_FACTORY

_KEPT = "pgcorpus_cursor"


def kept_cursor(connection: Connection) -> psycopg.Cursor[Any] | None:
    """Return the connection's cursor for binary results, or None where SQLAlchemy's own has to be used.

    A new cursor looks up how to send and read each type again, and SQLAlchemy's execution comes on top: together as
    much of the client's time as all the rest of a search (docs/benchmarks.md). Whatever listens to the statements of
    the engine is to hear the searches too, so then they go through SQLAlchemy. So do async connections, psycopg2,
    and connections with a cursor class of their own, unless they are guests that name what to use in its place.

    Args:
        connection: One that has begun its transaction, or is in AUTOCOMMIT.
    """
    info = connection.info
    cursor: psycopg.Cursor[Any] | None = info.get(_KEPT)
    driver_connection: Any = connection.connection.driver_connection
    if cursor is None or cursor.connection is not driver_connection or cursor.closed:
        make = info.get(CURSOR_FACTORY) or _plain(driver_connection)
        if make is None:
            return None
        made: psycopg.Cursor[Any] = make()
        made.format = psycopg.pq.Format.BINARY
        cursor = info[_KEPT] = made
    return None if _is_watched(connection) else cursor


def forget_cursor(connection: Connection) -> None:
    """Let go of the connection's cursor and its last result."""
    connection.info.pop(_KEPT, None)


def all_binary(cursor: psycopg.Cursor[Any]) -> bool:
    """Say whether psycopg reads every type of a cursor's result in binary; of others it returns bytes."""
    columns = cursor.description or ()
    return all(cursor.adapters.get_loader(column.type_code, psycopg.pq.Format.BINARY) for column in columns)


def _plain(driver_connection: Any) -> Callable[[], psycopg.Cursor[Any]] | None:
    if isinstance(driver_connection, psycopg.Connection) and driver_connection.cursor_factory is psycopg.Cursor:
        return partial(psycopg.Cursor, driver_connection, row_factory=tuple_row)
    return None


def _is_watched(connection: Connection) -> bool:
    statements, driver = connection.dispatch, connection.dialect.dispatch
    return bool(
        statements.before_cursor_execute
        or statements.after_cursor_execute
        or driver.do_execute
        or driver.handle_error
        or connection.engine.logger.isEnabledFor(logging.INFO)
    )
