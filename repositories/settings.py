"""Settings for one transaction, in one round trip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import Connection

from pgcorpus.errors import DatabaseError
from pgcorpus.faults import as_sqlalchemy


@contextmanager
def local_settings(connection: Connection, settings: str) -> Iterator[None]:
    """Run a batch of literal ``SET LOCAL`` commands in the connection's transaction.

    Where AUTOCOMMIT has opened none, and SET LOCAL would mean nothing, what follows gets a transaction of its own.

    Args:
        connection: On psycopg or psycopg2.
        settings: The batch; made of constants and numbers only.
    """
    if not is_outside_transactions(connection):
        _execute(connection, settings)
        yield
        return
    _execute(connection, f"BEGIN; {settings}")
    try:
        yield
    finally:
        _execute(connection, "ROLLBACK")  # there is nothing to keep of a search


def require_transaction(connection: Connection) -> None:
    """Pass unless each statement would be committed by itself.

    Raises:
        DatabaseError: The connection is in AUTOCOMMIT.
    """
    if is_outside_transactions(connection):
        raise DatabaseError("this session is in AUTOCOMMIT: a write that is whole or not at all needs a transaction")


def is_outside_transactions(connection: Connection) -> bool:
    """Say whether the connection is in AUTOCOMMIT and nobody has begun a transaction by hand."""
    driver_connection: Any = connection.connection.driver_connection
    if not driver_connection.autocommit:
        return False
    if connection.dialect.driver == "psycopg2":
        return bool(driver_connection.get_transaction_status() == TRANSACTION_STATUS_IDLE)
    return bool(driver_connection.info.transaction_status == TransactionStatus.IDLE)


def _execute(connection: Connection, batch: str) -> None:
    """Several commands in one message cannot be prepared, and psycopg 3 prepares what it sees often."""
    dbapi_connection: Any = connection.connection.dbapi_connection
    with as_sqlalchemy(connection, batch):
        if connection.dialect.is_async:
            dbapi_connection.run_async(lambda driver_connection: driver_connection.execute(batch, prepare=False))
        elif connection.dialect.driver == "psycopg":
            dbapi_connection.execute(batch, prepare=False)
        else:
            with dbapi_connection.cursor() as cursor:
                cursor.execute(batch)
