"""Statements that read without a vector: counts, pages in key order, passages in reading order, facets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    and_,
    case,
    column,
    delete,
    func,
    literal,
    literal_column,
    not_,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import undefer

from pgcorpus.errors import SearchError
from pgcorpus.models.vector import vector_bytes
from pgcorpus.repositories.filters import compile_field
from pgcorpus.repositories.hits import VIEW_COLUMNS
from pgcorpus.repositories.search.requests import LARGEST_ID, check_range
from pgcorpus.repositories.target import Statement, Target

# A passage without a position stands behind those that have one.
LAST_POSITION = 2**31 - 1


def count_rows(target: Target, condition: ColumnElement[bool] | None = None) -> Statement:
    """Count the rows."""
    return _where(select(func.count()).select_from(target.model), target, condition)


def page_of_rows(
    target: Target,
    columns: Sequence[str],
    vectors: Sequence[str],
    after: Sequence[Any] | None,
    limit: int,
    condition: ColumnElement[bool] | None = None,
) -> Statement:
    """Return rows after a key: the columns, the vectors, then the key."""
    model = target.model
    wanted = [getattr(model, name).label(name) for name in columns]
    wanted += [vector_bytes(getattr(model, name)).label(name) for name in vectors]
    keys = [getattr(model, key).label(f"key_{key}") for key in target.keys]
    return _paged(_where(select(*wanted, *keys), target, condition), target, after, limit)


def page_of_entities(
    target: Target,
    after: Sequence[Any] | None,
    limit: int,
    condition: ColumnElement[bool] | None = None,
    *,
    embedding: bool = False,
) -> Statement:
    """Return mapped objects after a key."""
    statement = _paged(_where(select(target.model), target, condition), target, after, limit)
    return statement.options(undefer(target.vector)) if embedding else statement


def key_conditions(target: Target, values: Sequence[Any]) -> list[ColumnElement[bool]]:
    """Return what holds of the row with a primary key."""
    return [getattr(target.model, key) == value for key, value in zip(target.keys, values, strict=True)]


def not_this(keys: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
    """Return what holds of every other row."""
    return not_(and_(*keys))


def vector_of(target: Target, keys: Sequence[ColumnElement[bool]]) -> Statement:
    """Return the vector of one row."""
    return select(vector_bytes(target.vector)).where(*target.conditions(), *keys, target.vector.is_not(None))


def deletion(target: Target, condition: ColumnElement[bool] | None) -> Delete:
    """Delete the rows of a condition."""
    statement: Delete = _where(delete(target.model), target, condition)
    return statement


def source_names(target: Target) -> Statement:
    """Return the distinct sources of documents."""
    source = target.model.source
    return select(source).distinct().where(*target.conditions(), source.is_not(None)).order_by(source)


def passages(
    target: Target, source: str, limit: int, after: Sequence[Any] | None = None, before: Sequence[Any] | None = None
) -> Statement:
    """Return a source's passages in reading order behind one, or backwards from before one.

    Args:
        target: A document's class.
        source: The source's name.
        limit: Passages wanted.
        after: Position and id of the passage to go on behind.
        before: The same of the one to go back from.
    """
    model = target.model
    place = (func.coalesce(model.position, literal_column(str(LAST_POSITION))), model.id)
    statement = _where(select(*(getattr(model, name).label(name) for name in VIEW_COLUMNS)), target, None)
    statement = statement.where(model.source == source)
    if after is not None:
        statement = statement.where(tuple_(*place) > tuple_(*_place(after)))
    if before is not None:
        statement = statement.where(tuple_(*place) < tuple_(*_place(before)))
    order = place if before is None else [each.desc() for each in place]
    return statement.order_by(*order).limit(literal_column(str(int(limit))))


def sampled_keys(target: Target, sample: int, limit: int) -> Statement:
    """Return the metadata's keys in some rows: the key, its rows and its distinct values, the commonest first."""
    rows = _where(select(target.model.meta.label("meta")), target, None)
    rows = rows.limit(literal_column(str(int(sample)))).subquery("sampled")
    whole = case((func.jsonb_typeof(rows.c.meta) == "object", rows.c.meta), else_=literal({}, JSONB))
    pairs = func.jsonb_each(whole).table_valued("key", column("value", JSONB)).lateral("pairs")
    number = func.count().label("number")
    statement: Statement = select(pairs.c.key, number, func.count(pairs.c.value.distinct()))
    statement = statement.select_from(rows.join(pairs, true())).group_by(pairs.c.key)
    return statement.order_by(number.desc(), pairs.c.key).limit(literal_column(str(int(limit))))


def figures(target: Target) -> Statement:
    """Count documents, embeddings and sources, and add up the contents' sizes, which need not be read for that."""
    model = target.model
    size = func.coalesce(func.sum(func.octet_length(model.content)), literal_column("0"))
    columns = (func.count(), func.count(target.vector), func.count(model.source.distinct()), size)
    return _where(select(*columns), target, None)


def facet_counts(target: Target, field: str, limit: int, condition: ColumnElement[bool] | None = None) -> Statement:
    """Return the values of a field with their numbers of rows, the commonest first; of a list, each element counts."""
    element = compile_field(field, target.model)
    if isinstance(element.type, JSONB):
        element = _each(element)
    value = _where(select(element.label("value")), target, condition).subquery("field_values")
    number = func.count().label("number")
    statement: Statement = select(value.c.value, number).group_by(value.c.value)
    return statement.order_by(number.desc(), value.c.value).limit(literal_column(str(int(limit))))


def _place(given: Any) -> tuple[Any, Any]:
    if not isinstance(given, Sequence) or len(given) != 2 or given[1] is None:
        raise SearchError("a passage's place is its position, which may be None, and its id")
    position, number = given
    check_range("a passage's position", position, -LAST_POSITION, LAST_POSITION)
    check_range("a passage's id", number, 0, LARGEST_ID)
    return literal(LAST_POSITION if position is None else int(position)), literal(int(number))


def _each(element: ColumnElement[Any]) -> ColumnElement[Any]:
    """A list's elements, a row each; a missing value stays one."""
    listed = case(
        (func.jsonb_typeof(element) == "array", element),
        else_=func.jsonb_build_array(element, type_=JSONB),
    )
    expanded: ColumnElement[Any] = func.jsonb_array_elements(listed, type_=JSONB)
    return expanded


def _paged(statement: Any, target: Target, after: Sequence[Any] | None, limit: int) -> Any:
    keys = [getattr(target.model, key) for key in target.keys]
    if after is not None:
        if len(after) != len(keys):
            raise SearchError(f"after is what a page gave as its next: {len(keys)} values, not {len(after)}")
        statement = statement.where(tuple_(*keys) > tuple_(*after) if len(keys) > 1 else keys[0] > after[0])
    return statement.order_by(*keys).limit(literal_column(str(int(limit))))


def _where(statement: Any, target: Target, condition: ColumnElement[bool] | None) -> Any:
    statement = statement.where(*target.conditions())
    return statement if condition is None else statement.where(condition)
