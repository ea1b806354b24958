"""Filters: a JSON mapping, or a SQLAlchemy expression, as one bound condition.

``{"source": "wiki", "meta.year": {"$gte": 2020}, "$or": [{"meta.kind": "faq"}, {"language": "german"}]}``

A field is a column by its attribute name, or a path into the metadata (``meta.`` or ``metadata.``, then keys joined
by dots). Values and metadata keys are bound; field names are looked up, never written into SQL. A filter that cannot
be understood raises :class:`~pgcorpus.errors.FilterError` before the server is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    SmallInteger,
    Text,
    and_,
    cast,
    false,
    func,
    inspect,
    literal,
    not_,
    or_,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from pgcorpus.errors import FilterError
from pgcorpus.models import Vector
from pgcorpus.repositories.values import MAX_DEPTH, json_problem, kind, text_problem

Where = Mapping[str, Any] | ColumnElement[bool]
Condition = ColumnElement[bool]

MAX_LIST = 1_000

_METADATA_PREFIXES = ("meta.", "metadata.")


def compile_filter(where: Where | None, model: type[Any]) -> Condition | None:
    """Return a filter as a condition on a model.

    Args:
        where: A mapping in the form above, a SQLAlchemy expression (returned as it is), or None.
        model: The mapped class whose columns and ``meta`` the fields are.

    Raises:
        FilterError: A field or operator is unknown, a value has the wrong type or form, or the filter is too deep
            or too long; the message names the place.
    """
    if where is None or isinstance(where, ColumnElement):
        return where
    return _Compiler(model).mapping(where, "where", 0)


class _Compiler:
    def __init__(self, model: type[Any]) -> None:
        self._model = model
        self._columns = {
            attribute.key: attribute.columns[0].type
            for attribute in inspect(model).column_attrs
            if not isinstance(attribute.columns[0].type, Vector | JSONB)
        }

    def mapping(self, where: Any, place: str, depth: int) -> Condition:
        if not isinstance(where, Mapping):
            raise FilterError(f'{place}: expected an object such as {{"source": "wiki"}}, not {kind(where)}')
        if depth > MAX_DEPTH:
            raise FilterError(f"{place}: deeper than {MAX_DEPTH} levels")
        return and_(true(), *(self._entry(key, value, place, depth) for key, value in where.items()))

    def _entry(self, key: Any, value: Any, place: str, depth: int) -> Condition:
        if not isinstance(key, str):
            raise FilterError(f"{place}: a field name is text, not {kind(key)}")
        inside = f"{place}.{key}"
        match key:
            case "$and":
                return and_(true(), *self._branches(value, inside, depth))
            case "$or":
                return or_(false(), *self._branches(value, inside, depth))
            case "$not":
                return _negated(self.mapping(value, inside, depth + 1))
            case _ if key.startswith("$"):
                raise FilterError(f"{inside}: unknown operator; beside fields there are $and, $or and $not")
            case _:
                return self._field(key, value, inside)

    def _branches(self, value: Any, place: str, depth: int) -> list[Condition]:
        branches = _list(value, place)
        return [self.mapping(branch, f"{place}[{i}]", depth + 1) for i, branch in enumerate(branches)]

    def _field(self, name: str, value: Any, place: str) -> Condition:
        field = self._resolve(name, place)
        if not isinstance(value, Mapping):
            return field.apply("$eq", value, place)
        if not value:
            raise FilterError(f'{place}: an empty object; to compare with one, use {{"$eq": {{}}}}')
        return and_(*(field.apply(operator, operand, f"{place}.{operator}") for operator, operand in value.items()))

    def _resolve(self, name: str, place: str) -> _Field:
        for prefix in _METADATA_PREFIXES:
            if name.startswith(prefix):
                return _Path(self._model.meta, _keys(name.removeprefix(prefix), place))
        if name in self._columns:
            return _Column(getattr(self._model, name), self._columns[name])
        raise FilterError(
            f"{place}: unknown field; the columns are {', '.join(self._columns)}, and metadata is meta.KEY"
        )


class _Field:
    """What a filter compares: the operators in terms of what a column and a path do differently."""

    def apply(self, operator: str, operand: Any, place: str) -> Condition:
        match operator:
            case "$eq" | "$ne":
                return _maybe_negated(operator == "$ne", self._equal(operand, place))
            case "$in" | "$nin":
                return _maybe_negated(operator == "$nin", self._among(operand, place))
            case "$exists":
                return _maybe_negated(not _boolean(operand, place), self._operand().is_not(None))
            case _:
                return self._ordered(_comparison(operator, place), operand, place)

    def _operand(self) -> Any:
        raise NotImplementedError

    def _equal(self, operand: Any, place: str) -> Any:
        raise NotImplementedError

    def _among(self, operand: Any, place: str) -> Any:
        raise NotImplementedError

    def _ordered(self, compare: Callable[[Any, Any], Condition], operand: Any, place: str) -> Condition:
        raise NotImplementedError


class _Column(_Field):
    """A column: a value has the column's type."""

    def __init__(self, column: Any, type_: TypeEngine[Any]) -> None:
        self._column = column
        self._type = type_

    def _operand(self) -> Any:
        return self._column

    def _equal(self, operand: Any, place: str) -> Any:
        return self._column.is_(None) if operand is None else self._column == self._value(operand, place)

    def _among(self, operand: Any, place: str) -> Any:
        values = [self._value(item, f"{place}[{i}]") for i, item in enumerate(_list(operand, place))]
        return self._column.in_(values)

    def _ordered(self, compare: Callable[[Any, Any], Condition], operand: Any, place: str) -> Condition:
        return compare(self._column, self._value(operand, place))

    def _value(self, value: Any, place: str) -> Any:
        """Return the value as the column's Python type: JSON has no dates, UUIDs or decimals of its own."""
        wanted = self._type.python_type
        if isinstance(value, int | float) and (problem := json_problem(value, place)):
            raise FilterError(problem)  # beyond what can be converted, or even written into a message
        value = _converted(value, wanted, place)
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise FilterError(f"{place}: expected {_NAMES.get(wanted, wanted.__name__)}, not {kind(value)}")
        if isinstance(self._type, Integer) and not -(2 ** (bits := _bits(self._type))) <= value < 2**bits:
            raise FilterError(f"{place}: {value} is not a {bits + 1}-bit integer")
        return _clean(value, place)


class _Path(_Field):
    """A path into the metadata: a comparison holds only for values of the operand's own JSON type."""

    def __init__(self, meta: Any, keys: list[str]) -> None:
        self._meta = meta
        self._keys = keys

    def _operand(self) -> Any:
        element = self._meta
        for key in self._keys:
            element = element.op("->", return_type=JSONB())(literal(key, Text))
        return element

    def _equal(self, operand: Any, place: str) -> Any:
        """Containment uses the GIN index; for lists and objects it is wider than equality, so it is rechecked."""
        value = _json(operand, place)
        contained = self._meta.contains(_nested(self._keys, value))
        if isinstance(value, list | tuple | dict):
            return and_(contained, self._operand() == _jsonb(value))
        return contained

    def _among(self, operand: Any, place: str) -> Any:
        return or_(false(), *(self._equal(item, f"{place}[{i}]") for i, item in enumerate(_list(operand, place))))

    def _ordered(self, compare: Callable[[Any, Any], Condition], operand: Any, place: str) -> Condition:
        value = _json(operand, place)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise FilterError(f"{place}: expected text or a number, not {kind(value)}")
        element = self._operand()
        wanted = "string" if isinstance(value, str) else "number"
        return and_(func.jsonb_typeof(element) == wanted, compare(element, _jsonb(value)))


def _comparison(operator: Any, place: str) -> Callable[[Any, Any], Condition]:
    try:
        return _COMPARISONS[operator]
    except (KeyError, TypeError):
        known = ", ".join(["$eq", "$ne", "$in", "$nin", "$exists", *_COMPARISONS])
        raise FilterError(f"{place}: unknown operator; there are {known}") from None


_COMPARISONS: dict[str, Callable[[Any, Any], Condition]] = {
    "$gt": lambda left, right: left > right,
    "$gte": lambda left, right: left >= right,
    "$lt": lambda left, right: left < right,
    "$lte": lambda left, right: left <= right,
}

_NAMES = {
    str: "text",
    int: "an integer",
    float: "a number",
    Decimal: "a number",
    bool: "true or false",
    datetime: "an ISO 8601 timestamp such as 2026-01-31T12:00:00Z",
    date: "an ISO 8601 date such as 2026-01-31",
    time: "an ISO 8601 time such as 12:00:00",
    UUID: "a UUID",
    bytes: "bytes",
}


def _maybe_negated(negate: bool, condition: Condition) -> Condition:
    return _negated(condition) if negate else condition


def _negated(condition: Condition) -> Condition:
    """A missing value is not equal: NULL counts as false before it is negated."""
    return not_(func.coalesce(condition, false()))


def _keys(path: str, place: str) -> list[str]:
    keys = path.split(".")
    if not all(keys):
        raise FilterError(f"{place}: an empty key in the path")
    return [_clean(key, place) for key in keys]


def _nested(keys: list[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _jsonb(value: Any) -> ColumnElement[Any]:
    return cast(literal(value, JSONB), JSONB)


def _list(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise FilterError(f"{place}: expected a list, not {kind(value)}")
    if len(value) > MAX_LIST:
        raise FilterError(f"{place}: {len(value):,} elements; at most {MAX_LIST:,}")
    return list(value)


def _boolean(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        raise FilterError(f"{place}: expected true or false, not {kind(value)}")
    return value


def _converted(value: Any, wanted: type, place: str) -> Any:
    if wanted in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        return wanted(repr(value))
    if wanted not in _PARSERS or not isinstance(value, str):
        return value
    try:
        return _PARSERS[wanted](value)
    except ValueError as exc:
        raise FilterError(f"{place}: expected {_NAMES[wanted]}") from exc


def _bits(type_: Integer) -> int:
    return 63 if isinstance(type_, BigInteger) else 15 if isinstance(type_, SmallInteger) else 31


_NUMBERS = (float, Decimal)
_PARSERS: dict[type, Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    UUID: UUID,
}


def _json(value: Any, place: str) -> Any:
    """Return a value that JSONB can hold."""
    if problem := json_problem(value, place):
        raise FilterError(problem)
    if isinstance(value, list | tuple):
        _list(value, place)
    return value


def _clean(value: Any, place: str) -> Any:
    if isinstance(value, str) and (problem := text_problem(value)):
        raise FilterError(f"{place}: the text {problem}")
    return value
