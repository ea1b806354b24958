"""Whether a connection is in a transaction, and commands of ours sent in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import Connection, inspect
from sqlalchemy.orm import Session

from pgcorpus.errors import DatabaseError
from pgcorpus.faults import as_sqlalchemy


def connection_of(session: Session, model: Any) -> Connection:
    """Return the session's connection to the database of a mapped class: a session may be bound to several."""
    return session.connection(bind_arguments={"mapper": inspect(model)})


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


def execute_batch(connection: Connection, commands: Sequence[str]) -> None:
    """Run commands of ours in one message, or one by one where the driver is in pipeline mode.

    Several commands in one message cannot be prepared, and psycopg 3 prepares what it sees often.
    """
    driver_connection: Any = connection.connection.driver_connection
    in_pipeline = connection.dialect.driver != "psycopg2" and _is_in_pipeline(driver_connection)
    for batch in commands if in_pipeline else ["; ".join(commands)]:
        _execute(connection, batch)


def _is_in_pipeline(driver_connection: Any) -> bool:
    return bool(driver_connection.pgconn.pipeline_status != PipelineStatus.OFF)


def _execute(connection: Connection, batch: str) -> None:
    dbapi_connection: Any = connection.connection.dbapi_connection
    with as_sqlalchemy(connection, batch):
        if connection.dialect.is_async:
            dbapi_connection.run_async(lambda driver_connection: driver_connection.execute(batch, prepare=False))
        elif connection.dialect.driver == "psycopg":
            dbapi_connection.execute(batch, prepare=False)
        else:
            with dbapi_connection.cursor() as cursor:
                cursor.execute(batch)
