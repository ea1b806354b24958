"""Statements that read without a vector: counts, pages in key order, facets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Delete, and_, case, delete, func, literal_column, not_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import undefer

from pgcorpus.errors import SearchError
from pgcorpus.models.vector import vector_bytes
from pgcorpus.repositories.filters import compile_field
from pgcorpus.repositories.target import Statement, Target


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


def facet_counts(target: Target, field: str, limit: int, condition: ColumnElement[bool] | None = None) -> Statement:
    """Return the values of a field with their numbers of rows, the commonest first; of a list, each element counts."""
    element = compile_field(field, target.model)
    if isinstance(element.type, JSONB):
        element = _each(element)
    value = _where(select(element.label("value")), target, condition).subquery("field_values")
    number = func.count().label("number")
    statement: Statement = select(value.c.value, number).group_by(value.c.value)
    return statement.order_by(number.desc(), value.c.value).limit(literal_column(str(int(limit))))


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
