"""The statements that write, as pure functions of a model and parameters; executors run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Delete,
    Select,
    Text,
    Update,
    and_,
    any_,
    case,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, Insert

from pgcorpus.models.vector import Distance
from pgcorpus.repositories.writing.rows import Shape

# Each takes a lock until the transaction ends, of the 6,400 that a server has by default.
MAX_SOURCES = 1_000

# What a row keeps where the given document says nothing.
_KEPT_WHERE_NULL = ("source", "position")
# What finds the row, and what follows rules of its own.
_SET_OTHERWISE = frozenset({"collection_id", "key", "embedding"})


def upserted(shape: Shape, statement: Insert) -> Any:
    """Complete the INSERT of documents so that a row that is there already is updated where it differs.

    Args:
        shape: Of the rows. What the caller did not give stays as it is stored.
        statement: The INSERT.

    Returns:
        It, returning each written row's version: 1 of a new row, more of an updated one. Rows that are as they
        should be are neither written nor returned.
    """
    stored, given = shape.table.c, statement.excluded
    values = _new_values(shape, statement)
    differs = or_(*(_differs(stored[name], value) for name, value in values.items()), _has_new_vector(stored, given))
    values["embedding"] = case(
        (given.embedding.is_not(None), given.embedding),
        (stored.content == given.content, stored.embedding),
        else_=None,
    )
    # Not now(): Citus wants what is immutable, and the row that was to be inserted has its time already.
    values |= {"version": stored.version + 1, "updated_at": given.updated_at}
    return statement.on_conflict_do_update(
        index_elements=[stored.collection_id, stored.key], set_=values, where=differs
    ).returning(stored.version)


def _new_values(shape: Shape, statement: Insert) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for attribute, column in zip(shape.attributes, shape.columns, strict=True):
        if attribute not in shape.given or attribute in _SET_OTHERWISE:
            continue
        given = statement.excluded[column.name]
        kept = column.name in _KEPT_WHERE_NULL
        values[column.name] = func.coalesce(given, column) if kept else given
    return values


def _differs(stored: Column[Any], given: ColumnElement[Any]) -> ColumnElement[bool]:
    if isinstance(stored.type, JSON) and not isinstance(stored.type, JSONB):
        return cast(stored, Text).is_distinct_from(cast(given, Text))  # JSON has no equality
    if isinstance(stored.type, VECTOR):
        return or_(stored.is_(None) != given.is_(None), _unequal(stored, given))
    return stored.is_distinct_from(given)


def _has_new_vector(stored: Any, given: Any) -> ColumnElement[bool]:
    other = or_(stored.embedding.is_(None), _unequal(stored.embedding, given.embedding))
    return and_(given.embedding.is_not(None), other)


def _unequal(left: Any, right: Any) -> ColumnElement[bool]:
    """``<>`` between vectors, found in whatever schema the extension lives: IS DISTINCT FROM looks on the path only."""
    plain: Any = left.op("<>", return_type=Boolean())(right)
    kind: Any = Boolean()
    unequal: Any = Distance(plain.left, plain.right, plain.operator, type_=kind, modifiers=plain.modifiers)
    return unequal  # type: ignore[no-any-return]


def delete_where(model: type[Any], collection_id: int, condition: ColumnElement[bool] | None) -> Delete:
    """Delete the documents that match."""
    statement = delete(model).where(model.collection_id == collection_id)
    return statement if condition is None else statement.where(condition)


def merge_meta(
    model: type[Any],
    collection_id: int,
    condition: ColumnElement[bool] | None,
    changes: Mapping[str, Any],
    remove: Sequence[str],
) -> Update:
    """Merge values into the metadata of the documents that match, of those that it changes.

    Args:
        model: The mapped class.
        collection_id: The collection.
        condition: A filter.
        changes: New values by key, of the object's first level.
        remove: Keys to drop before.
    """
    kept = model.meta.op("-", return_type=JSONB())(literal(list(remove), ARRAY(Text)))
    merged = kept.op("||", return_type=JSONB())(cast(literal(dict(changes), JSONB), JSONB))
    statement = update(model).where(model.collection_id == collection_id, model.meta.is_distinct_from(merged))
    if condition is not None:
        statement = statement.where(condition)
    return statement.values({"meta": merged, "version": model.version + 1, "updated_at": func.now()})


def documents_of_keys(model: type[Any], collection_id: int, keys: Sequence[str]) -> Select[Any]:
    """Return the documents of those keys."""
    among = model.key == any_(literal(list(keys), ARRAY(Text)))
    return select(model).where(model.collection_id == collection_id, among)


def stored_of_sources(model: type[Any], collection_id: int, sources: Sequence[str]) -> Any:
    """Return what is stored of some sources, as :class:`~pgcorpus.repositories.writing.sync.Stored` has it."""
    columns = (
        model.source,
        model.key,
        model.content_hash,
        model.position,
        model.meta,
        model.language,
        model.embedding.is_not(None).label("embedded"),
    )
    statement: Any = select(*columns)
    return statement.where(
        model.collection_id == collection_id, model.source == any_(literal(list(sources), ARRAY(Text)))
    )


def delete_keys(model: type[Any], collection_id: int, keys: Sequence[str]) -> Delete:
    """Delete the documents of those keys."""
    return delete(model).where(
        model.collection_id == collection_id, model.key == any_(literal(list(keys), ARRAY(Text)))
    )


def delete_sources(model: type[Any], collection_id: int, sources: Sequence[str]) -> Delete:
    """Delete the documents of those sources."""
    return delete(model).where(
        model.collection_id == collection_id, model.source == any_(literal(list(sources), ARRAY(Text)))
    )


def lock_sources(collection_id: int, sources: Sequence[str]) -> Select[Any]:
    """Take turns with whoever writes the same sources, until the transaction ends; in one order, so no deadlock."""
    names = (
        func.unnest(literal([f"pgcorpus:{collection_id}:{source}" for source in sources], ARRAY(Text)))
        .table_valued("name")
        .alias("names")
    )
    keys = select(func.hashtextextended(names.c.name, 0).label("key")).order_by("key").offset(0).subquery()
    return select(func.count(func.pg_advisory_xact_lock(keys.c.key)))
