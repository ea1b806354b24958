"""Filters: a JSON mapping, or a SQLAlchemy expression, as one bound condition.

``{"source": "wiki", "meta.year": {"$gte": 2020}, "$or": [{"meta.kind": "faq"}, {"language": "german"}]}``

A field is a column by its attribute name, or a path into a JSONB column (``meta.`` or ``metadata.``, then keys joined
by dots). Values and keys are bound; field names are looked up, never written into SQL. A filter that cannot be
understood raises :class:`~pgcorpus.errors.FilterError` before the server is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, true

from pgcorpus.errors import FilterError
from pgcorpus.repositories.filters.fields import Condition, fields_of, negated
from pgcorpus.repositories.filters.operands import items
from pgcorpus.repositories.values import MAX_DEPTH, kind

Where = Mapping[str, Any] | ColumnElement[bool]

# In parameters that it may bind: a statement has at most 65,535 (PostgreSQL documentation, "Limits"), and this many
# take seconds to put into SQL.
MAX_SIZE = 10_000


def compile_filter(where: Where | None, model: type[Any]) -> Condition | None:
    """Return a filter as a condition on a model.

    Args:
        where: A mapping in the form above, a SQLAlchemy expression (returned as it is), or None.
        model: The mapped class whose columns and JSONB paths the fields are.

    Raises:
        FilterError: A field or operator is unknown, a value has the wrong type or form, or the filter is too deep
            or too long; the message names the place.
    """
    if where is None or isinstance(where, ColumnElement):
        return where
    return _Compiler(model).mapping(where, "where", 0)


def compile_field(name: str, model: type[Any]) -> ColumnElement[Any]:
    """Return what a field of a filter is in SQL, to group or count by.

    Args:
        name: A column by its attribute name, or a path such as ``meta.KEY``.
        model: The mapped class.

    Returns:
        The column, or the path's element as JSONB; NULL where there is none.

    Raises:
        FilterError: There is no such field, or its values are not for comparing (a vector, say).
    """
    if not isinstance(name, str):
        raise FilterError(f"a field name is text, not {kind(name)}")
    field = fields_of(model).resolve(name, _shown(name))
    if not field.is_comparable:
        raise FilterError(f"{_shown(name)}: {field.noun} has no values to group by")
    element: ColumnElement[Any] = field.element
    return element


class _Compiler:
    def __init__(self, model: type[Any]) -> None:
        self._fields = fields_of(model)
        self._size = 0

    def mapping(self, where: Any, place: str, depth: int) -> Condition:
        if not isinstance(where, Mapping):
            raise FilterError(f'{place}: expected an object such as {{"source": "wiki"}}, not {kind(where)}')
        if depth > MAX_DEPTH:
            raise FilterError(f"{place}: deeper than {MAX_DEPTH} levels")
        self._grow(1, place)
        return and_(true(), *(self._entry(key, value, place, depth) for key, value in where.items()))

    def _entry(self, key: Any, value: Any, place: str, depth: int) -> Condition:
        if not isinstance(key, str):
            raise FilterError(f"{place}: a field name is text, not {kind(key)}")
        inside = f"{place}.{_shown(key)}"
        match key:
            case "$and":
                return and_(true(), *self._branches(value, inside, depth))
            case "$or":
                return or_(false(), *self._branches(value, inside, depth))
            case "$not":
                return negated(self.mapping(value, inside, depth + 1))
            case _ if key.startswith("$"):
                raise FilterError(f"{inside}: unknown operator; beside fields there are $and, $or and $not")
            case _:
                return self._field(key, value, inside)

    def _branches(self, value: Any, place: str, depth: int) -> list[Condition]:
        return [self.mapping(branch, f"{place}[{i}]", depth + 1) for i, branch in enumerate(items(value, place))]

    def _field(self, name: str, value: Any, place: str) -> Condition:
        field = self._fields.resolve(name, place)
        if not isinstance(value, Mapping):
            value, places = {"$eq": value}, {"$eq": place}
        elif not value:
            raise FilterError(f'{place}: an empty object; to compare with one, use {{"$eq": {{}}}}')
        else:
            places = {each: f"{place}.{_shown(each)}" if isinstance(each, str) else place for each in value}
        self._grow(field.weight * len(value), place)
        return and_(*(field.apply(each, operand, places[each]) for each, operand in value.items()))

    def _grow(self, weight: int, place: str) -> None:
        self._size += weight
        if self._size > MAX_SIZE:
            raise FilterError(f"{place}: the filter is too long; split it, or use $in")


def _shown(name: str) -> str:
    """Return a name as a message can print it."""
    short = name[:80]
    return short if short.isprintable() else ascii(short)
