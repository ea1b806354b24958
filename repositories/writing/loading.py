"""Many rows into a table, in bounded memory: binary COPY where there is one, pages of INSERT elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import groupby
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pgcorpus.errors import DocumentError
from pgcorpus.repositories.transactions import connection_of, require_transaction
from pgcorpus.repositories.writing.copying import copier
from pgcorpus.repositories.writing.index_policy import IndexPolicy, indexes_aside, parse_policy, setting
from pgcorpus.repositories.writing.indexes import table_name
from pgcorpus.repositories.writing.inserting import insert_rows
from pgcorpus.repositories.writing.refusals import as_document_errors
from pgcorpus.repositories.writing.rows import Row, RowMaker, Shape

Progress = Callable[[int], object]

_STEP = 1_000  # rows between two calls of a progress callback
_T = TypeVar("_T")

# COPY knows no row security (PostgreSQL documentation, "COPY"); INSERT does.
_HAS_ROW_SECURITY = text("SELECT row_security_active(to_regclass(:name))")


def load(
    session: Session,
    model: type[Any],
    items: Iterable[Any],
    *,
    index: IndexPolicy | str = IndexPolicy.AUTO,
    progress: Progress | None = None,
    expected: int | None = None,
    rows: RowMaker | None = None,
    noun: str = "row",
    way_out: str = "",
) -> int:
    """Load rows of any mapped class in the session's transaction; all or none.

    Args:
        session: Sync; of an async session, the one that ``run_sync`` hands over. It flushes and never commits.
        model: A class mapped to one table.
        items: Mappings of attribute names, or unsaved instances; taken one by one, and nothing is kept of them.
            They must not use the session. What they raise is raised as it is.
        index: ``auto`` drops the vector indexes and rebuilds them once, where the table is empty or mostly new, is
            ours, and nobody uses it; ``keep`` never drops; ``defer`` drops and does not rebuild.
        progress: Called with the number of rows so far, after every 1,000 and at the end.
        expected: How many rows there will be, where ``items`` cannot say.
        rows: Makes rows of the items, where they are checked already.
        noun: What an item is called in errors.
        way_out: What to do about an item that is stored already.

    Returns:
        How many rows there were.

    Raises:
        DocumentError: A row cannot be stored, or is stored already; the message names its position.
        VectorError: A vector cannot be stored.
        DefinitionError: The policy is none, or the class is mapped to several tables.
        DatabaseError: The session is in AUTOCOMMIT.
    """
    policy = parse_policy(index)
    maker = rows or RowMaker(model, noun=noun)
    expected = len(items) if expected is None and isinstance(items, Sized) else expected
    require_transaction(connection_of(session, model))
    with session.begin_nested():
        connection = connection_of(session, model)  # asking for it is what sets the savepoint
        # A load takes as long as it takes: a limit that is meant for queries would end it.
        with setting(connection, "statement_timeout", "0"), indexes_aside(connection, model, policy, expected):
            count = write_rows(connection, _counted(maker.rows(items), progress), noun, way_out)
    if progress:
        progress(count)
    return count


def write_rows(connection: Connection, rows: Iterable[tuple[Shape, Row]], noun: str, way_out: str) -> int:
    """Write rows in their order, by COPY where it can be; what the rows themselves raise is let through as it is.

    Raises:
        DocumentError: A row cannot be stored.
    """
    given = _Given(rows)
    try:
        return _write_runs(connection, given, noun, way_out)
    except (DocumentError, DBAPIError):
        if given.failure is None:
            raise
    raise given.failure


def _write_runs(connection: Connection, rows: Iterable[tuple[Shape, Row]], noun: str, way_out: str) -> int:
    count = 0
    for shape, run in groupby(rows, key=lambda item: item[0]):
        with as_document_errors(noun, way_out, start=count):
            count += _write_run(connection, shape, run, count, noun)
    return count


class _Given(Generic[_T]):
    """The caller's items, which remember the exception that ended them."""

    def __init__(self, items: Iterable[_T]) -> None:
        self._items = items
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[_T]:
        try:
            yield from self._items
        except Exception as exc:
            self.failure = exc
            raise


def _write_run(connection: Connection, shape: Shape, run: Iterable[tuple[Shape, Row]], start: int, noun: str) -> int:
    copying = copier(connection, shape)
    if copying is not None and not _has_row_security(connection, shape):
        return copying.copy((row for _, row in run), start, noun)
    return sum(count for count, _ in insert_rows(connection, run))


def _has_row_security(connection: Connection, shape: Shape) -> bool:
    return bool(connection.scalar(_HAS_ROW_SECURITY, {"name": table_name(connection, shape.table)}))


def _counted(items: Iterable[_T], progress: Progress | None) -> Iterator[_T]:
    if progress is None:
        yield from items
        return
    for count, item in enumerate(items):
        if count and count % _STEP == 0:
            progress(count)
        yield item
