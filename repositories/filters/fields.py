"""Fields: what a filter's operators do with a column, a list column and a path into JSONB.

Where a field has no value, a condition is NULL or false; :func:`negated` makes true of both.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CHAR,
    ColumnElement,
    Enum,
    String,
    Text,
    and_,
    any_,
    case,
    column,
    false,
    func,
    inspect,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from pgcorpus.errors import FilterError
from pgcorpus.repositories.filters import operands
from pgcorpus.repositories.filters.operands import Operand, jsonb, jsonb_array
from pgcorpus.repositories.values import MAX_DEPTH, kind

Condition = ColumnElement[bool]
Compare = Callable[[Any, Any], Any]

# Reachable by this name too: it is the column's.
_ALIASES = {"metadata": "meta"}


class Field:
    """A field of which a filter asks only whether it is there: a vector, bytes, a whole JSONB column.

    Attributes:
        element: Its value in SQL.
        noun: What it is called in errors.
        weight: At least the parameters that one operator binds.
    """

    operators: frozenset[str] = frozenset({"$exists"})

    def __init__(self, element: Any, noun: str) -> None:
        self.element = element
        self.noun = noun
        self.weight = 4

    @property
    def is_comparable(self) -> bool:
        """Whether its values can be compared with one another."""
        return len(self.operators) > 1

    def apply(self, name: Any, operand: Any, place: str) -> Condition:
        """Return the condition of one operator.

        Raises:
            FilterError: There is no such operator, it is none of this field's, or the operand does not suit it.
        """
        if not isinstance(name, str) or name not in OPERATORS:
            raise FilterError(f"{place}: unknown operator; there are {', '.join(OPERATORS)}")
        if name not in self.operators:
            known = ", ".join(each for each in OPERATORS if each in self.operators)
            raise FilterError(f"{place}: {self.noun} takes only {known}")
        return OPERATORS[name](self, operand, place)

    def exists(self, operand: Any, place: str) -> Condition:
        wanted = operands.boolean(operand, place)
        condition: Condition = self.element.is_not(None) if wanted else self.element.is_(None)
        return condition


class Scalar(Field):
    """A column of one value, which is compared with values of the column's type."""

    operators = Field.operators | {"$eq", "$ne", "$in", "$nin", "$gt", "$gte", "$lt", "$lte", "$between"}

    def __init__(self, element: Any, noun: str, operand: Operand) -> None:
        super().__init__(element, noun)
        self._operand = operand

    def equal(self, operand: Any, place: str) -> Any:
        return self.element.is_(None) if operand is None else self.ordered(operator.eq, operand, place)

    def among(self, operand: Any, place: str) -> Any:
        return self.element == any_(self._operand.bind_list(operand, place))

    def ordered(self, compare: Compare, operand: Any, place: str) -> Any:
        return compare(self.element, self._operand.bind(operand, place))


class TextColumn(Scalar):
    """A column of text, which may also match a pattern."""

    operators = Scalar.operators | {"$like", "$ilike", "$contains"}

    def like(self, operand: Any, place: str) -> Any:
        return self.element.like(literal(operands.pattern(operand, place), Text()))

    def ilike(self, operand: Any, place: str) -> Any:
        return self.element.ilike(literal(operands.pattern(operand, place), Text()))

    def contains(self, operand: Any, place: str) -> Any:
        return self.element.like(literal(operands.substring(operand, place), Text()))


class ListColumn(Field):
    """An ARRAY column, whose elements are compared with values of their type."""

    operators = Field.operators | {"$eq", "$ne", "$contains", "$any", "$all"}

    def __init__(self, element: Any, noun: str, operand: Operand) -> None:
        super().__init__(element, noun)
        self._operand = operand

    def equal(self, operand: Any, place: str) -> Any:
        return self.element.is_(None) if operand is None else self.element == self._operand.bind_list(operand, place)

    def contains(self, operand: Any, place: str) -> Any:
        if isinstance(operand, list | tuple):
            return self.all(operand, place)
        return _operation(self.element, "@>", self._operand.bind_read([self._operand.read(operand, place)]))

    def any(self, operand: Any, place: str) -> Any:
        return _operation(self.element, "&&", self._operand.bind_list(operand, place))

    def all(self, operand: Any, place: str) -> Any:
        return _operation(self.element, "@>", self._operand.bind_list(operand, place))


class Path(Field):
    """A path into JSONB. A comparison holds only for values of the operand's own JSON type.

    Containment (``@>``) can use a GIN index, and of text, numbers, true, false and null it is equality. Of lists and
    objects it is wider, so these are compared once more.
    """

    operators = TextColumn.operators | ListColumn.operators

    def __init__(self, root: Any, keys: list[str]) -> None:
        self._root = root
        self._keys = keys
        self.weight = 6 + len(keys)

    @cached_property
    def _steps(self) -> tuple[Any, Any]:
        parent = self._root
        *parents, last = (literal(key, Text()) for key in self._keys)
        for key in parents:
            parent = parent.op("->", return_type=JSONB())(key)
        return parent, last

    @cached_property
    def element(self) -> Any:
        parent, key = self._steps
        return parent.op("->", return_type=JSONB())(key)

    def equal(self, operand: Any, place: str) -> Any:
        value = operands.json_value(operand, place)
        found = self._root_contains(value)
        return and_(found, self.element == jsonb(value)) if _is_wider(value) else found

    def among(self, operand: Any, place: str) -> Any:
        values = _json_list(operand, place)
        found = self._root_contains_one(values)
        return and_(found, self.element == any_(jsonb_array(values))) if any(map(_is_wider, values)) else found

    def ordered(self, compare: Compare, operand: Any, place: str) -> Any:
        value = operands.json_value(operand, place)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise FilterError(f"{place}: expected text or a number, not {kind(value)}")
        return and_(self._is_a("string" if isinstance(value, str) else "number"), compare(self.element, jsonb(value)))

    def like(self, operand: Any, place: str) -> Any:
        return and_(self._is_a("string"), self._text().like(literal(operands.pattern(operand, place), Text())))

    def ilike(self, operand: Any, place: str) -> Any:
        return and_(self._is_a("string"), self._text().ilike(literal(operands.pattern(operand, place), Text())))

    def contains(self, operand: Any, place: str) -> Any:
        if isinstance(operand, list | tuple):
            return self.all(operand, place)
        in_a_list = self.any([operand], place) if isinstance(operand, dict) else self.all([operand], place)
        return or_(self._root_contains(operand), in_a_list) if isinstance(operand, dict) else in_a_list

    def any(self, operand: Any, place: str) -> Any:
        values = _json_list(operand, place)
        found = self._root_contains_one([[value] for value in values])
        wider = any(map(_is_wider, values))
        return and_(found, _operation(self._elements(), "&&", jsonb_array(values))) if wider else found

    def all(self, operand: Any, place: str) -> Any:
        values = _json_list(operand, place)
        found = self._root_contains(values)
        wider = [value for value in values if _is_wider(value)]
        return and_(found, _operation(self._elements(), "@>", jsonb_array(wider))) if wider else found

    def _root_contains(self, value: Any) -> Any:
        return _operation(self._root, "@>", jsonb(self._nested(value)))

    def _root_contains_one(self, values: list[Any]) -> Any:
        return _operation(self._root, "@>", any_(jsonb_array([self._nested(value) for value in values])))

    def _nested(self, value: Any) -> Any:
        for key in reversed(self._keys):
            value = {key: value}
        return value

    def _is_a(self, json_type: str) -> Any:
        return func.jsonb_typeof(self.element) == json_type

    def _text(self) -> Any:
        parent, key = self._steps
        return parent.op("->>", return_type=Text())(key)

    def _elements(self) -> Any:
        """Return the list's elements as ``jsonb[]``, whose ``@>`` and ``&&`` compare by equality; none of no list."""
        # CASE: the two sides of an AND are run in any order, and the function fails on what is no list.
        elements = case((self._is_a("array"), self.element), else_=jsonb([]))
        rows = func.jsonb_array_elements(elements).table_valued(column("value", JSONB()))
        return func.array(select(rows.c.value).scalar_subquery(), type_=ARRAY(JSONB()))


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a model.

    Attributes:
        columns: By the attribute's name.
        roots: The JSONB columns that paths start from, by the attribute's name.
    """

    columns: Mapping[str, Field]
    roots: Mapping[str, Any]

    def resolve(self, name: str, place: str) -> Field:
        """Return a field by its name.

        Raises:
            FilterError: There is none, or the path has an empty key, one that JSONB cannot hold, or too many.
        """
        head, dot, path = name.partition(".")
        if dot and head in self.roots:
            return Path(self.roots[head], _keys(path, place))
        if name in self.columns:
            return self.columns[name]
        known = ", ".join(name for name, field in self.columns.items() if field.is_comparable)
        paths = " or ".join(f"{root}.KEY" for root in self.roots if root not in _ALIASES)
        raise FilterError(f"{place}: unknown field; the columns are {known}{', and metadata is ' * bool(paths)}{paths}")


def fields_of(model: Any) -> Fields:
    """Return the fields of a mapped class, or of an alias of one."""
    return _fields_of(model)


@lru_cache(maxsize=256)
def _fields_of(model: Any) -> Fields:
    attributes = inspect(model).mapper.column_attrs
    types = {attribute.key: attribute.columns[0].type for attribute in attributes}
    columns = {name: _field(getattr(model, name), type_) for name, type_ in types.items()}
    json_names = [name for name, type_ in types.items() if isinstance(operands.base_type(type_), JSONB)]
    roots = {name: getattr(model, name) for name in json_names}
    return Fields(columns, roots | {alias: roots[name] for alias, name in _ALIASES.items() if name in roots})


def _field(element: Any, type_: TypeEngine[Any]) -> Field:
    type_ = operands.variant(type_)
    noun = f"a column of type {type(type_).__name__}"
    if isinstance(type_, ARRAY):
        # No parameter can be an array of CHAR(n) and not cut.
        operand = None if isinstance(type_.item_type, CHAR) else operands.operand_of(type_.item_type)
        return ListColumn(element, noun, operand) if operand else Field(element, noun)
    operand = operands.operand_of(type_)
    if operand is None:
        return Field(element, noun)
    is_text = isinstance(type_, String) and not isinstance(type_, Enum)
    return (TextColumn if is_text else Scalar)(element, noun, operand)


def _ordered(compare: Compare) -> Operator:
    return lambda field, operand, place: field.ordered(compare, operand, place)


def _between(field: Any, operand: Any, place: str) -> Condition:
    bounds = operands.items(operand, place)
    if len(bounds) != 2:
        raise FilterError(f"{place}: expected two elements, [low, high], not {len(bounds)}")
    low, high = bounds
    return and_(field.ordered(operator.ge, low, f"{place}[0]"), field.ordered(operator.le, high, f"{place}[1]"))


Operator = Callable[[Any, Any, str], Condition]

OPERATORS: dict[str, Operator] = {
    "$eq": lambda field, operand, place: field.equal(operand, place),
    "$ne": lambda field, operand, place: negated(field.equal(operand, place)),
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
    "$between": _between,
    "$in": lambda field, operand, place: field.among(operand, place),
    "$nin": lambda field, operand, place: negated(field.among(operand, place)),
    "$exists": lambda field, operand, place: field.exists(operand, place),
    "$like": lambda field, operand, place: field.like(operand, place),
    "$ilike": lambda field, operand, place: field.ilike(operand, place),
    "$contains": lambda field, operand, place: field.contains(operand, place),
    "$any": lambda field, operand, place: field.any(operand, place),
    "$all": lambda field, operand, place: field.all(operand, place),
}


def negated(condition: Condition) -> Condition:
    """Return the opposite: a missing value is not equal, so NULL counts as false before it is negated."""
    return not_(func.coalesce(condition, false()))


def _operation(left: Any, sign: str, right: Any) -> Condition:
    condition: Condition = left.op(sign, is_comparison=True)(right)
    return condition


def _is_wider(value: Any) -> bool:
    """Whether containment of a value says less than equality."""
    return isinstance(value, list | tuple | dict)


def _json_list(operand: Any, place: str) -> list[Any]:
    return [operands.json_value(item, f"{place}[{i}]") for i, item in enumerate(operands.items(operand, place))]


def _keys(path: str, place: str) -> list[str]:
    keys = path.split(".")
    if not all(keys):
        raise FilterError(f"{place}: an empty key in the path")
    if len(keys) > MAX_DEPTH:
        raise FilterError(f"{place}: deeper than {MAX_DEPTH} levels")
    return [operands.text(key, place) for key in keys]
