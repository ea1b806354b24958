"""Documents read from one collection and written to another, in the transaction of a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, Engine, Executable, bindparam, text

from pgcorpus.names import regclass_name
from pgcorpus.repositories.search.requests import LARGEST_ID
from pgcorpus.repositories.switching import standing, statements
from pgcorpus.repositories.switching.statements import BATCH_COLUMNS, Pair, Span
from pgcorpus.repositories.writing.arrays import array_parameter
from pgcorpus.vectors import Array

# Documents compared by one statement: few enough for a millisecond or ten, whatever the planner makes of it.
SPAN = 5_000
_NO_LIMIT = 0.0

_READERS_AND_WRITERS = text("""
    SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND granted AND mode <> 'ShareUpdateExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation = to_regclass(:name) AND pid IS DISTINCT FROM pg_backend_pid()
""")


class Change(NamedTuple):
    """A document that is to be copied, as it was read.

    Attributes:
        embedded: Whether it has an embedding; one without keeps waiting for it.
    """

    id: int
    version: int
    updated_at: datetime
    key: str
    content: str
    embedded: bool


Reader = Callable[[Pair, Span, int], Executable]


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in a transaction that sees what others commit, and may take its time.

    The engine may be in AUTOCOMMIT or REPEATABLE READ, and its statement_timeout is meant for queries.
    """
    with engine.connect() as connection:
        committed = connection.execution_options(isolation_level="READ COMMITTED")
        with committed.begin():
            standing.limit_statements(committed, _NO_LIMIT)
            yield committed


def spans(connection: Connection, pair: Pair, after: int = 0) -> Iterator[Span]:
    """Yield all ids after one, in stretches that hold as many documents of the source."""
    while True:
        end = connection.scalar(statements.end_of_span(pair, after, SPAN))
        yield Span(after, LARGEST_ID if end is None else end)
        if end is None:
            return
        after = end


def next_span(connection: Connection, pair: Pair, after: int) -> Span:
    """Return the stretch of ids after one."""
    return next(spans(connection, pair, after))


def read(connection: Connection, reader: Reader, pair: Pair, span: Span, limit: int) -> list[Change]:
    """Return documents to be copied, in the order of their ids.

    Args:
        connection: In a transaction.
        reader: One of the statements that read.
        pair: Between which collections.
        span: Among which ids.
        limit: How many.
    """
    return [Change(*row) for row in connection.execute(reader(pair, span, limit))]


def delete_vanished(connection: Connection, pair: Pair, span: Span) -> int:
    """Delete the target's documents that the source has not, and return how many there were."""
    return _run(connection, statements.vanished(pair, span))


def delete_late(connection: Connection, pair: Pair, span: Span) -> int:
    """Delete the active collection's documents that were deleted late, and return how many there were."""
    return _run(connection, statements.late_deletes(pair, span))


def copy(connection: Connection, pair: Pair, changes: Sequence[Change], vectors: Sequence[Array | None]) -> int:
    """Copy the documents that are still as they were read, over what the target has of them; return how many.

    Args:
        connection: In a transaction.
        pair: From where to where.
        changes: The documents.
        vectors: Of each its embedding, in the table's dimensions, or None.
    """
    ids, keys = [change.id for change in changes], [change.key for change in changes]
    connection.execute(statements.stale(pair, ids, keys))
    batch, values = _batch(connection, pair, changes, vectors)
    return _run(connection, statements.copied(pair, batch), values)


def overwrite(connection: Connection, pair: Pair, changes: Sequence[Change], vectors: Sequence[Array | None]) -> int:
    """Bring late updates into the active collection, and return how many."""
    batch, values = _batch(connection, pair, changes, vectors)
    return _run(connection, statements.overwritten(pair, batch), values)


def move(connection: Connection, pair: Pair, changes: Sequence[Change], vectors: Sequence[Array | None]) -> int:
    """Move late inserts into the active collection, but for keys that it has by now; return how many.

    What stayed behind would come again after it was deleted in the active collection.
    """
    batch, values = _batch(connection, pair, changes, vectors)
    count = _run(connection, statements.copied(pair, batch, skip_taken=True), values)
    connection.execute(statements.moved(pair, batch), values)
    return count


def delete_some(connection: Connection, table: Any, collection_id: int, limit: int) -> int:
    """Delete some documents of a collection, and return how many."""
    return _run(connection, statements.some_of(table, collection_id, limit))


def count(connection: Connection, table: Any, collection_id: int) -> int:
    """Return how many documents a collection has."""
    return int(connection.execute(statements.counted(table, collection_id)).scalar_one())


def transactions_on(connection: Connection, table: Any) -> frozenset[str]:
    """Return the transactions that have read or written a table and go on; everybody may see them."""
    name = regclass_name(connection.schema_for_object(table), table.name)
    return frozenset(connection.scalars(_READERS_AND_WRITERS, {"name": name}))


def _batch(
    connection: Connection, pair: Pair, changes: Sequence[Change], vectors: Sequence[Array | None]
) -> tuple[Any, dict[str, Any]]:
    arrays = [array_parameter(pair.table.c[name].type, connection) for name in BATCH_COLUMNS]
    given = [[getattr(change, name) for change in changes] for name in BATCH_COLUMNS[:-1]]
    parameters = [bindparam(f"array_{index}", type_=array.type) for index, array in enumerate(arrays)]
    columns = zip(arrays, [*given, list(vectors)], strict=True)
    values = {f"array_{index}": array.encode(column) for index, (array, column) in enumerate(columns)}
    return statements.batch_of(parameters), values


def _run(connection: Connection, statement: Any, values: dict[str, Any] | None = None) -> int:
    """Return how many rows a statement wrote; of an INSERT SQLAlchemy forgets it unless asked."""
    result: CursorResult[Any] = connection.execute(statement, values, execution_options={"preserve_rowcount": True})
    return result.rowcount
