"""Settings for one transaction, in one round trip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection


@contextmanager
def local_settings(connection: Connection, settings: str) -> Iterator[None]:
    """Run a batch of literal ``SET LOCAL`` commands in the connection's transaction.

    In AUTOCOMMIT, where SET LOCAL means nothing, what follows gets a transaction of its own.

    Args:
        connection: On psycopg or psycopg2.
        settings: The batch; made of constants and numbers only.
    """
    driver_connection: Any = connection.connection.driver_connection
    if not driver_connection.autocommit:
        _execute(connection, settings)
        yield
        return
    _execute(connection, f"BEGIN; {settings}")
    try:
        yield
    finally:
        _execute(connection, "ROLLBACK")  # there is nothing to keep of a search


def _execute(connection: Connection, batch: str) -> None:
    """Several commands in one message cannot be prepared, and psycopg 3 prepares what it sees often."""
    dbapi_connection: Any = connection.connection.dbapi_connection
    if connection.dialect.is_async:
        dbapi_connection.run_async(lambda driver_connection: driver_connection.execute(batch, prepare=False))
    elif connection.dialect.driver == "psycopg":
        dbapi_connection.execute(batch, prepare=False)
    else:
        with dbapi_connection.cursor() as cursor:
            cursor.execute(batch)
