"""Mappings of a mapped class's attributes as rows of its table, for COPY and for INSERT alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Column, Enum, String, Table, inspect
from sqlalchemy.orm import Mapper

from pgcorpus.errors import DefinitionError, DocumentError
from pgcorpus.repositories.values import kind, text_problem
from pgcorpus.repositories.writing.drafts import checked_vector, columns_of, has_default

# One list for each row: who sends it may change it in place.
Row = list[Any]
_Fill = Callable[[Mapping[str, Any]], Any]
_Check = Callable[[Any, str], Any]


@dataclass(frozen=True, eq=False)
class Shape:
    """The columns that rows of one form are written to.

    Attributes:
        table: The table.
        attributes: Names of the attributes, one a column.
        columns: The columns; those left to the server are not among them.
        given: The attributes that the caller gave.
        is_plain: Whether no other column has a default that is SQL, which only SQLAlchemy's own INSERT knows to add.
    """

    table: Table
    attributes: tuple[str, ...]
    columns: tuple[Column[Any], ...]
    given: frozenset[str]
    is_plain: bool


@dataclass(frozen=True)
class _Plan:
    """How a mapping with certain keys becomes a row."""

    shape: Shape
    parts: list[tuple[str, _Fill | None]]
    checks: list[tuple[int, _Check]]

    def row(self, item: Mapping[str, Any], noun: str, position: int) -> Row:
        row = [item[name] if fill is None else fill(item) for name, fill in self.parts]
        for index, check in self.checks:
            if row[index] is not None:
                row[index] = check(row[index], f"{noun} {position}")
        return row


class RowMaker:
    """Makes rows of a mapped class from mappings of its attributes.

    What a mapping leaves out takes the column's default, on the client's side or the server's.

    Args:
        model: A class mapped to one table.
        checked: Whether texts and vectors were looked at already.
        noun: What a row is called in errors.

    Raises:
        DefinitionError: The class is mapped to several tables.
    """

    def __init__(self, model: type[Any], *, checked: bool = False, noun: str = "row") -> None:
        self._model = model
        mapper: Mapper[Any] = inspect(model)
        table = mapper.local_table
        if len(mapper.tables) != 1 or not isinstance(table, Table):
            raise DefinitionError(f"{model.__name__} is mapped to several tables: rows are written to one")
        self._table = table
        self._columns = {name: column for name, column in columns_of(model).items() if column.computed is None}
        self._checked = checked
        self._noun = noun
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._shapes: dict[tuple[Any, ...], Shape] = {}

    def rows(self, items: Iterable[Any]) -> Iterator[tuple[Shape, Row]]:
        """Yield each item's row with its shape; rows of one form have one shape.

        Args:
            items: Mappings of attribute names, or unsaved instances.

        Raises:
            DocumentError: An item is neither, or holds what the table cannot; the message begins with its position.
            VectorError: A vector cannot be stored.
        """
        for position, item in enumerate(items):
            values = item if type(item) is dict else self._values(item, position)
            plan = self._plans.get(tuple(values)) or self._plan(values, position)
            yield plan.shape, plan.row(values, self._noun, position)

    def _values(self, item: Any, position: int) -> Mapping[str, Any]:
        if isinstance(item, Mapping):
            return item
        if not isinstance(item, self._model):
            name = self._model.__name__
            raise DocumentError(f"{self._noun} {position}: expected a {name} or a mapping, not {kind(item)}")
        state = inspect(item)
        if state.key is not None:
            raise DocumentError(f"{self._noun} {position}: it is stored already; change it in its session and flush")
        return {name: value for name, value in state.dict.items() if name in self._columns}

    def _plan(self, values: Mapping[str, Any], position: int) -> _Plan:
        self._check_names(values, f"{self._noun} {position}")
        names = [name for name, column in self._columns.items() if name in values or not _is_left_out(column)]
        fills = {name: None if name in values else _fill(self._columns[name]) for name in names}
        shape = self._shape(values, names)
        checks = [] if self._checked else _checks(shape.columns)
        plan = self._plans[tuple(values)] = _Plan(shape, list(fills.items()), checks)
        return plan

    def _check_names(self, values: Mapping[str, Any], place: str) -> None:
        if unknown := [name for name in values if name not in self._columns]:
            known = ", ".join(self._columns)
            raise DocumentError(f"{place}: {str(unknown[0])[:60]!r} is no attribute; there are {known}")
        for name, column in self._columns.items():
            if name not in values and not column.nullable and not has_default(column):
                raise DocumentError(f"{place}: there is no {name}")

    def _shape(self, values: Mapping[str, Any], names: Sequence[str]) -> Shape:
        given = frozenset(values)
        is_plain = not any(_has_sql_default(self._columns[name]) for name in self._columns.keys() - given)
        columns = tuple(self._columns[name] for name in names)
        shape = Shape(self._table, tuple(names), columns, given, is_plain)
        return self._shapes.setdefault((given, *names), shape)


def _is_left_out(column: Column[Any]) -> bool:
    """Whether the server fills a column that nobody gave a value for, or the statement does."""
    return has_default(column) and (column.default is None or _has_sql_default(column))


def _has_sql_default(column: Column[Any]) -> bool:
    default = column.default
    return default is not None and not (default.is_scalar or default.is_callable)


def _fill(column: Column[Any]) -> _Fill:
    default: Any = column.default
    if default is None:
        return lambda _values: None
    if default.is_scalar:
        return lambda _values: default.arg
    return lambda values: default.arg(_Context(values))


@dataclass(frozen=True)
class _Context:
    """What a default that looks at the rest of the row is called with (SQLAlchemy, "Context-Sensitive Defaults")."""

    current_parameters: Mapping[str, Any]

    def get_current_parameters(self, isolate_multiinsert_groups: bool = True) -> Mapping[str, Any]:  # noqa: ARG002
        return self.current_parameters


def _checks(columns: Sequence[Column[Any]]) -> list[tuple[int, _Check]]:
    found: list[tuple[int, _Check]] = []
    for index, column in enumerate(columns):
        if isinstance(column.type, VECTOR):
            found.append((index, _vector_check(column.type.dim)))
        elif isinstance(column.type, String) and not isinstance(column.type, Enum):
            found.append((index, _text_check(column.name)))
    return found


def _vector_check(dimensions: int | None) -> _Check:
    return lambda value, place: checked_vector(value, dimensions, place)


def _text_check(name: str) -> _Check:
    def check(value: Any, place: str) -> Any:
        if isinstance(value, str) and not (value.isascii() and "\0" not in value) and (problem := text_problem(value)):
            raise DocumentError(f"{place}: {name} {problem}")
        return value

    return check
