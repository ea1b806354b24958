"""The statements that bring one collection in step with another, as pure functions; a document keeps its id.

Two rows of one document are the same if version and time of change are: every write of ours, and every flush, changes
both. A statement moves rows that are still as they were read; what changed meanwhile is left to the next pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Delete,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    any_,
    column,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from pgcorpus.models import Collection

BATCH_COLUMNS = ("id", "version", "updated_at", "embedding")
_READ_COLUMNS = ("id", "version", "updated_at", "key", "content")
_COLLECTIONS: Any = Collection.__table__


class Pair(NamedTuple):
    """Two collections that hold the same documents.

    Attributes:
        table: The documents' table.
        source: The id of the one that is read.
        target: The id of the one that is written.
    """

    table: Table
    source: int
    target: int


class Span(NamedTuple):
    """Ids after one, up to another: both sides of a comparison are read by the primary key, a stretch at a time."""

    after: int
    upto: int

    def holds(self, column: Any) -> Any:
        """Return the condition that an id lies in here."""
        return and_(column > self.after, column <= self.upto)


def end_of_span(pair: Pair, after: int, width: int) -> Select[Any]:
    """Return the id of the source's document that comes ``width`` after an id."""
    table = pair.table
    ids = select(table.c.id).where(table.c.collection_id == pair.source, table.c.id > after)
    return ids.order_by(table.c.id).offset(width - 1).limit(1)


def changed(pair: Pair, span: Span, limit: int) -> Select[Any]:
    """Return documents that the target lacks, or has in another version.

    But for a higher one: a target that takes its place back may be written to late, and has that already.
    """
    source, target = _sides(pair)
    later = and_(target.c.created_at == source.c.created_at, target.c.version > source.c.version)
    here = exists().where(
        target.c.collection_id == pair.target,
        span.holds(target.c.id),
        target.c.id == source.c.id,
        or_(_same_time(source, target), later),
    )
    return _read(source, pair.source, span, limit).where(~here)


def vanished(pair: Pair, span: Span) -> Delete:
    """Delete the target's documents that the source does not have any more."""
    source, table = pair.table.alias("source"), pair.table
    kept = exists().where(source.c.collection_id == pair.source, span.holds(source.c.id), source.c.id == table.c.id)
    return delete(table).where(table.c.collection_id == pair.target, span.holds(table.c.id), ~kept)


def stale(pair: Pair, ids: Sequence[int], keys: Sequence[str]) -> Delete:
    """Delete what the target has under the ids, or the keys, of documents that are to be copied."""
    table = pair.table
    same_id = table.c.id == any_(literal(list(ids), ARRAY(BigInteger)))
    same_key = table.c.key == any_(literal(list(keys), ARRAY(Text)))
    return delete(table).where(table.c.collection_id == pair.target, or_(same_id, same_key))


def copied(pair: Pair, batch: FromClause, *, skip_taken: bool = False) -> Insert:
    """Copy documents with all their columns, and the embeddings of a batch.

    Args:
        pair: From where to where.
        batch: Of :func:`batch_of`.
        skip_taken: Leave out those whose key is taken, rather than fail.
    """
    source, _ = _sides(pair)
    columns = _columns(pair.table)
    values = [_value(column.name, source, pair.target, batch) for column in columns]
    rows = select(*values).join_from(source, batch, same_version(source, batch))
    statement = insert(pair.table).from_select(
        columns, rows.where(source.c.collection_id == pair.source), include_defaults=False
    )
    return statement.on_conflict_do_nothing() if skip_taken else statement


def late_deletes(pair: Pair, span: Span) -> Delete:
    """Delete the active collection's documents that the retired one had at the flip, and has not any more.

    No document that came after the flip may be taken for one, whatever id, or time, its host gave it: so only those
    that by their id, their time, and the transaction that wrote them were there, and have not been written since.
    """
    table = pair.table
    were_there = exists().where(
        _COLLECTIONS.c.id == pair.source,
        table.c.id <= _COLLECTIONS.c.retired_at_id,
        table.c.created_at < _COLLECTIONS.c.retired_at,
        ~_written_since(table),
    )
    return vanished(pair, span).where(were_there)


def late_updates(pair: Pair, span: Span, limit: int) -> Select[Any]:
    """Return documents of a retired collection that were changed more often than in the active one."""
    source, target = _sides(pair)
    older = exists().where(
        target.c.collection_id == pair.target,
        span.holds(target.c.id),
        target.c.id == source.c.id,
        target.c.version < source.c.version,
    )
    return _read(source, pair.source, span, limit).where(older)


def late_inserts(pair: Pair, span: Span, limit: int) -> Select[Any]:
    """Return documents of a retired collection that came after the flip, and that the active one lacks."""
    source, target = _sides(pair)
    known = exists().where(target.c.collection_id == pair.target, span.holds(target.c.id), target.c.id == source.c.id)
    by_time = and_(source.c.created_at >= _COLLECTIONS.c.retired_at, _written_since(source))
    came_after = exists().where(
        _COLLECTIONS.c.id == pair.source, or_(source.c.id > _COLLECTIONS.c.retired_at_id, by_time)
    )
    return _read(source, pair.source, span, limit).where(~known, came_after)


def overwritten(pair: Pair, batch: FromClause) -> Any:
    """Bring late updates into the active collection; where the key belongs to another document now, that one stays."""
    source, other = _sides(pair)
    table = pair.table
    columns = [column for column in _columns(table) if column.name not in ("collection_id", "id")]
    taken = exists().where(other.c.collection_id == pair.target, other.c.key == source.c.key, other.c.id != source.c.id)
    return (
        update(table)
        .values({column: _value(column.name, source, pair.target, batch) for column in columns})
        .where(
            table.c.collection_id == pair.target,
            source.c.collection_id == pair.source,
            table.c.id == source.c.id,
            table.c.version < source.c.version,
            same_version(source, batch),
            ~taken,
        )
    )


def moved(pair: Pair, batch: FromClause) -> Delete:
    """Delete documents of the source that are still as they were read."""
    return delete(pair.table).where(pair.table.c.collection_id == pair.source, same_version(pair.table, batch))


def some_of(table: Table, collection_id: int, limit: int) -> Delete:
    """Delete some documents of a collection."""
    some = table.alias("some")
    ids = select(some.c.id).where(some.c.collection_id == collection_id).limit(limit)
    return delete(table).where(table.c.collection_id == collection_id, table.c.id.in_(ids))


def counted(table: Table, collection_id: int) -> Select[Any]:
    """Count a collection's documents."""
    return select(func.count()).select_from(table).where(table.c.collection_id == collection_id)


def batch_of(parameters: Sequence[Any]) -> FromClause:
    """Return documents as rows, of arrays of ids, versions, times of change, and embeddings."""
    rows: Any = func.unnest(*parameters).table_valued(*BATCH_COLUMNS)
    batch: FromClause = rows.render_derived(name="batch")
    return batch


def same_version(one: Any, other: Any) -> Any:
    """Return the condition that two rows are of one document in one version."""
    return and_(one.c.id == other.c.id, _same_time(one, other))


def _same_time(one: Any, other: Any) -> ColumnElement[bool]:
    return and_(one.c.version == other.c.version, one.c.updated_at == other.c.updated_at)


def _written_since(table: Any) -> ColumnElement[bool]:
    """The flip wrote the retired collection's row: what a younger transaction wrote, it wrote after it."""
    return func.age(_transaction(table)) < func.age(_transaction(_COLLECTIONS))


def _transaction(table: Any) -> ColumnElement[Any]:
    xmin: Any = column("xmin")
    xmin.table = table
    return xmin  # type: ignore[no-any-return]


def _sides(pair: Pair) -> tuple[Any, Any]:
    return pair.table.alias("source"), pair.table.alias("target")


def _read(source: Any, collection_id: int, span: Span, limit: int) -> Select[Any]:
    columns = [source.c[name] for name in _READ_COLUMNS]
    statement: Any = select(*columns, source.c.embedding.is_not(None).label("embedded"))
    within = statement.where(source.c.collection_id == collection_id, span.holds(source.c.id))
    page: Select[Any] = within.order_by(source.c.id).limit(limit)
    return page


def _columns(table: Table) -> list[Any]:
    """All that can be written, whether it is mapped or not."""
    return [column for column in table.columns if column.computed is None]


def _value(name: str, source: Any, collection_id: int, batch: Any) -> Any:
    if name == "collection_id":
        return literal(collection_id, BigInteger)
    return batch.c.embedding if name == "embedding" else source.c[name]
