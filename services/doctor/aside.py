"""Reading beside what the caller does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from pgcorpus.repositories.transactions import is_outside_transactions


@contextmanager
def aside(connection: Connection) -> Iterator[None]:
    """Do something whose failure leaves the caller's transaction usable, if there is one.

    A success ends with RELEASE or COMMIT: after a ROLLBACK psycopg forgets all statements that it has prepared.
    """
    if is_outside_transactions(connection):
        yield
        return
    with connection.begin_nested() if connection.in_transaction() else connection.begin():
        yield
