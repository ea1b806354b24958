"""A filter finds what a reading of its definition in Python finds, and never reaches SQL text."""

from __future__ import annotations

import json
import operator as operators
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC
from sqlalchemy import Engine, func, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from pgcorpus.database import session_factory
from pgcorpus.errors import FilterError
from pgcorpus.models import Collection, Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.filters import compile_field, compile_filter

METAS: list[dict[str, Any]] = [
    {},
    {"a": 1},
    {"a": 1.0, "b": {"c": "x"}},
    {"a": 2, "b": {"c": "y"}},
    {"a": -3.5},
    {"a": "1"},
    {"a": True},
    {"a": False},
    {"a": None},
    {"a": ["x", "y"]},
    {"a": ["x"]},
    {"a": {"c": 1, "d": 2}},
    {"b": {"c": 1}},
    {"a": "x", "b": "it's; DROP TABLE"},
    {"a'b": 1},
    {"{a}": 1},
    {"a": ""},
    {"a": "é"},
    {"a": []},
    {"a": {}},
    {"a": [[]]},
    {"a": [1, True, None, ["x", "y"]]},
    {"a": ["y", ["x"], {"c": 1, "d": 2}]},
    {"a": [{"c": 1}, {"c": [1, 2]}]},
    {"a": {"c": {"d": [1, ["x"]], "e": "y"}}, "b": ["y"]},
    {"a": "a_b%c\\d"},
    {"a": "axbyc\nd"},
    {"a": "XY"},
    {"a": ["1", 1.5, 0.1]},
]
SOURCES = ["wiki", "faq", None, "it's", "Wi_i", "w\\ki", "100%"]


def rows() -> list[dict[str, Any]]:
    return [
        {"content": str(i), "source": SOURCES[i % len(SOURCES)], "position": i, "meta": meta}
        for i, meta in enumerate(METAS)
    ]


# A host's model, with what a document has not.


class Color(Enum):
    RED = "r"
    GREEN = "g"
    BLUE = "b"


class Loud(sa.types.TypeDecorator[str]):
    """Text that is stored in capitals."""

    impl = sa.String(4)
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: sa.Dialect) -> str | None:
        if value == "boom":
            raise ZeroDivisionError
        return value.upper().replace("NUL", "\0") if value else value


class HostBase(DeclarativeBase):
    pass


class Item(HostBase):
    __tablename__ = "filter_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(sa.String(8))
    shout: Mapped[str | None] = mapped_column(Loud())
    small: Mapped[int | None] = mapped_column(sa.SmallInteger)
    flag: Mapped[bool | None]
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(6, 2))
    ratio: Mapped[float | None]
    weight: Mapped[float | None] = mapped_column(sa.REAL)
    color: Mapped[Color | None]
    size: Mapped[str | None] = mapped_column(sa.Enum("s", "m", "l", name="size", native_enum=False))
    token: Mapped[UUID | None]
    day: Mapped[date | None]
    seen: Mapped[datetime | None] = mapped_column(sa.DateTime(timezone=True))
    local: Mapped[datetime | None] = mapped_column(postgresql.TIMESTAMP(precision=0))
    at: Mapped[time | None]
    lasted: Mapped[timedelta | None]
    tags: Mapped[list[str] | None] = mapped_column(sa.ARRAY(sa.Text))
    codes: Mapped[list[int] | None] = mapped_column(postgresql.ARRAY(sa.Integer))
    short: Mapped[list[str] | None] = mapped_column(sa.ARRAY(sa.String(3)))
    colors: Mapped[list[Color] | None] = mapped_column(postgresql.ARRAY(sa.Enum(Color)))
    amounts: Mapped[list[Decimal] | None] = mapped_column(sa.ARRAY(sa.Numeric(6, 2)))
    fixed: Mapped[list[str] | None] = mapped_column(sa.ARRAY(sa.CHAR(3)))
    settings: Mapped[dict[str, Any] | None] = mapped_column(
        sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    )
    embedding: Mapped[Any] = mapped_column(HALFVEC(3), nullable=True, deferred=True)
    bits: Mapped[Any] = mapped_column(BIT(3), nullable=True)
    sparse: Mapped[Any] = mapped_column(SPARSEVEC(3), nullable=True)
    blob: Mapped[bytes | None]
    words: Mapped[Any] = mapped_column(postgresql.TSVECTOR, nullable=True)


TOKENS = [UUID(int=0), UUID(int=2**128 - 1), UUID("12345678-1234-5678-1234-567812345678")]
ITEMS: list[dict[str, Any]] = [
    {},
    {"title": "red", "small": 1, "flag": True, "price": Decimal("1.50"), "ratio": 0.1, "weight": 0.1, "tags": []},
    {"title": "Red_%", "small": -2, "flag": False, "price": Decimal("1.00"), "ratio": 2.0, "weight": 2.5, "codes": []},
    {"title": "blue\\", "color": Color.RED, "size": "s", "tags": ["x", "y"], "codes": [1, 2, 2]},
    {"title": "", "color": Color.GREEN, "size": "m", "tags": ["x"], "codes": [3], "short": ["abc"]},
    {"color": Color.BLUE, "size": "l", "tags": ["it's", "{x,y}", 'a"b'], "colors": [Color.RED, Color.BLUE]},
    {"token": TOKENS[0], "day": date(2024, 2, 29), "at": time(12, 0), "colors": [], "amounts": [Decimal("1.00")]},
    {"token": TOKENS[2], "day": date(1, 1, 1), "seen": datetime(2024, 1, 1, 12, tzinfo=UTC), "short": ["ab", "c"]},
    {"seen": datetime(2024, 1, 1, 3, tzinfo=UTC), "local": datetime(2024, 1, 1, 12), "shout": "LOUD"},
    {"local": datetime(9999, 12, 31, 23, 59, 59), "at": time(23, 59, 59, 999999), "lasted": timedelta(days=1)},
    {"settings": {"a": {"b": ["x", 1]}, "c": "x"}, "embedding": [1, 2, 3], "blob": b"x"},
    {"settings": {"c": ["x"]}, "tags": [None, "x"]},
    {"settings": {}, "small": 32767, "price": Decimal("-9999.99")},
]  # fmt: skip


@pytest.fixture(scope="module")
def stored(shared_engine: Engine) -> Iterator[Session]:
    with session_factory(shared_engine)() as session:
        DocumentRepository(session, "filters").add_many([Document(**row) for row in rows()])
        # What a filter finds must not depend on it.
        session.execute(text("SET LOCAL TimeZone = 'Asia/Tokyo'"))
        HostBase.metadata.create_all(session.connection())
        session.add_all(Item(id=i, **row) for i, row in enumerate(ITEMS))
        session.flush()
        yield session
        session.rollback()


# The definition, read in Python.

_MISSING = object()


def field_value(row: dict[str, Any], name: str) -> Any:
    column, *keys = name.split(".")
    value = row.get(column)
    if value is None:
        return _MISSING
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


def same(left: Any, right: Any) -> bool:
    """JSON equality: true is not 1, and 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | dict) or isinstance(right, list | dict):
        return False
    return type(left) is type(right) and left == right if isinstance(left, str) else bool(left == right)


def contained(whole: Any, part: Any) -> bool:
    """PostgreSQL documentation, "jsonb Containment and Existence", of what lies below a key."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and contained(whole[key], value) for key, value in part.items())
    if isinstance(whole, list) and isinstance(part, list):
        return all(any(contained(each, item) for each in whole) for item in part)
    return same(whole, part)


def like(value: str, pattern: str) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    special = {"%": ".*", "_": "."}
    regex = "".join(special.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(regex, value, re.DOTALL) is not None


def shares(values: list[Any], operand: list[Any]) -> bool:
    return any(same(value, each) for value in values for each in operand)


def has_all(values: list[Any], operand: list[Any]) -> bool:
    return all(any(same(value, each) for value in values) for each in operand)


def json_contains(value: Any, operand: Any) -> bool:
    if isinstance(operand, list):
        return isinstance(value, list) and has_all(value, operand)
    holds_element = isinstance(value, list) and has_all(value, [operand])
    return holds_element or (isinstance(operand, dict) and isinstance(value, dict) and contained(value, operand))


def json_ordered(compare: Callable[[Any, Any], bool], value: Any, operand: Any) -> bool:
    numbers = [isinstance(each, int | float) and not isinstance(each, bool) for each in (value, operand)]
    texts = [isinstance(each, str) for each in (value, operand)]
    if all(numbers):
        return compare(Decimal(repr(value)), Decimal(repr(operand)))
    return all(texts) and compare(value, operand)


ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operators.gt, "$gte": operators.ge, "$lt": operators.lt, "$lte": operators.le,
}  # fmt: skip
NEGATIONS = {"$ne": "$eq", "$nin": "$in"}

# An operator's definition for a value that is there.
COMMON: dict[str, Callable[[Any, Any], bool]] = {
    "$exists": lambda _value, operand: operand is True,
    "$in": lambda value, operand: any(same(value, each) for each in operand),
    "$eq": same,
    "$like": lambda value, operand: isinstance(value, str) and like(value, operand),
    "$ilike": lambda value, operand: isinstance(value, str) and like(value.lower(), operand.lower()),
}
OF_PATHS = COMMON | {
    "$contains": json_contains,
    "$any": lambda value, operand: isinstance(value, list) and shares(value, operand),
    "$all": lambda value, operand: isinstance(value, list) and has_all(value, operand),
    "$between": lambda value, operand: (
        json_ordered(operators.ge, value, operand[0]) and json_ordered(operators.le, value, operand[1])
    ),
    **{name: lambda value, operand, compare=compare: json_ordered(compare, value, operand)
       for name, compare in ORDER.items()},
}  # fmt: skip
OF_COLUMNS = COMMON | ORDER | {
    "$contains": lambda value, operand: operand in value,
    "$between": lambda value, operand: operand[0] <= value <= operand[1],
}  # fmt: skip
OF_LISTS = COMMON | {
    "$contains": lambda value, operand: has_all(value, operand if isinstance(operand, list) else [operand]),
    "$any": shares,
    "$all": has_all,
}


def holds(name: str, value: Any, operand: Any, definition: dict[str, Any]) -> bool:
    if name in NEGATIONS:
        return not holds(NEGATIONS[name], value, operand, definition)
    if name == "$eq" and operand is None and definition is not OF_PATHS:
        return value is _MISSING
    if value is _MISSING:
        return name == "$exists" and not operand
    return bool(definition[name](value, operand))


def identity(value: Any) -> Any:
    return value


# Of a column: how its operand, and then its value, are read to be compared; a list's, element by element.
READ: dict[str, Callable[[Any], Any]] = {
    "price": lambda value: Decimal(repr(value)) if isinstance(value, int | float) else value,
    "amounts": lambda value: Decimal(repr(value)) if isinstance(value, int | float) else value,
    "weight": lambda value: float(np.float32(value)),
    "ratio": float,
    "color": lambda value: list(Color).index(value if isinstance(value, Color) else Color[value]),
    "colors": lambda value: value if isinstance(value, Color) else Color[value],
    "token": lambda value: UUID(str(value)),
    "day": lambda value: date.fromisoformat(str(value)),
    "seen": lambda value: _utc(datetime.fromisoformat(str(value))),
    "local": lambda value: datetime.fromisoformat(str(value)),
    "at": lambda value: time.fromisoformat(str(value)),
    "shout": lambda value: str(value).upper(),
}
LISTS = ("tags", "codes", "short", "colors", "amounts")


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def as_read(read: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, list):
        return [as_read(read, each) for each in value]
    return value if value is None or value is _MISSING or isinstance(value, bool) else read(value)


def condition_holds(key: str, name: str, row: dict[str, Any], operand: Any) -> bool:
    value = field_value(row, key)
    if "." in key:
        return holds(name, value, operand, OF_PATHS)
    read = READ.get(key, identity)
    definition = OF_LISTS if key in LISTS else OF_COLUMNS
    return holds(name, as_read(read, value), as_read(read, operand), definition)


def matches(where: dict[str, Any], row: dict[str, Any]) -> bool:
    for key, value in where.items():
        match key:
            case "$and":
                found = all(matches(each, row) for each in value)
            case "$or":
                found = any(matches(each, row) for each in value)
            case "$not":
                found = not matches(value, row)
            case _:
                conditions = value if isinstance(value, dict) else {"$eq": value}
                found = all(condition_holds(key, name, row, operand) for name, operand in conditions.items())
        if not found:
            return False
    return True


# Values to compare with.

PATTERNS = [
    "%", "_", "", "x%", "%Y", "wi_i", "WI\\_I", "wi\\_i", "100\\%", "w\\\\ki", "a\\_b\\%c\\\\d", "a_b%d", "É", "xy",
    "red%", "_%_",
]  # fmt: skip
PARTS = ["", "i", "_", "%", "\\", "\\\\", "it's", "RED", "red", "e_", "_i", "w%", "0%", "i_"]
SCALARS = [1, 1.0, 2, -3.5, 0.1, "1", "x", "y", "", "é", "it's; DROP TABLE", True, False]
COMPARABLE = [1, 1.5, -4, 2, "x", "", "0"]
JSON: list[Any] = [
    *SCALARS, None, ["x"], ["x", "y"], ["y"], {"c": 1, "d": 2}, {"c": 1}, [], {}, [[]], [1], [True], [["x"]],
    [{"c": 1}], {"c": {}}, {"c": {"d": [1]}}, {"c": {"d": [[]]}}, {"c": {"d": [["x"]], "e": "y"}}, {"c": [2]},
    [{"c": 1, "d": 2}],
]  # fmt: skip
PATHS = ["meta.a", "meta.b", "meta.b.c", "meta.a.c", "meta.a'b", "meta.{a}", "meta.missing"]
NUMBERS = [1, 1.5, 0.1, 1.499, 2, -9999.99, 123456789012, 1e-30]
COLUMNS: dict[str, list[Any]] = {
    "title": ["red", "Red_%", "blue\\", "", "red and too long for the column"],
    "small": [1, -2, 0, 32767, -32768],
    "flag": [True, False],
    "price": NUMBERS,
    "ratio": NUMBERS,
    "weight": NUMBERS,
    "color": ["RED", "GREEN", "BLUE"],
    "size": ["s", "m", "l"],
    "shout": ["loud", "LOUD", "louder"],
    "token": [*map(str, TOKENS), TOKENS[0].hex],
    "day": ["2024-02-29", "0001-01-01", "9999-12-31", "2024-W09-4"],
    "seen": ["2024-01-01T12:00:00", "2024-01-01T12:00:00Z", "2024-01-01T12:00+09:00", "2024-01-01"],
    "local": ["2024-01-01T12:00:00", "2024-01-01T12:00:00.4", "9999-12-31T23:59:59.9"],
    "at": ["12:00", "23:59:59.999999", "00:00"],
}
ELEMENTS: dict[str, list[Any]] = {
    "tags": ["x", "y", "z", "", "it's", "{x,y}", 'a"b', "NULL"],
    "codes": [1, 2, 3, 2**31 - 1],
    "short": ["abc", "abcd", "ab", "c"],
    "colors": ["RED", "BLUE", "GREEN"],
    "amounts": [1, 1.0, 1.004, 123456],
}

Conditions = list[dict[str, Any]]


def conditions(operators: str, operands: list[Any]) -> Conditions:
    return [{operator: operand} for operator in operators.split() for operand in operands]


def lists_of(values: list[Any]) -> list[Any]:
    return [[], *([value] for value in values), *map(list, pairwise(values)), values[::3]]


def on_values(values: list[Any], comparable: list[Any]) -> Conditions:
    bounds = [[low, high] for low in comparable for high in comparable]
    return [
        *conditions("$eq $ne", values),
        *conditions("$in $nin", lists_of(values)),
        *conditions("$gt $gte $lt $lte", comparable),
        *conditions("$between", bounds),
        *conditions("$exists", [True, False]),
    ]


def on_lists(elements: list[Any]) -> Conditions:
    return [*conditions("$contains", elements), *conditions("$contains $any $all", lists_of(elements))]


ON_TEXT = [*conditions("$like $ilike", PATTERNS), *conditions("$contains", PARTS)]
ON_PATHS = [*on_values(JSON, COMPARABLE), *on_lists(JSON), *conditions("$like $ilike", PATTERNS)]
OF_DOCUMENTS: dict[str, Conditions] = {
    "source": [*on_values(["wiki", "it's", "x", "faq", ""], ["wiki", "x", ""]), *ON_TEXT, {"$eq": None}, {"$ne": None}],
    "position": on_values([0, 3, 99], [0, 3, 20]),
    **dict.fromkeys(PATHS, ON_PATHS),
}
OF_ITEMS: dict[str, Conditions] = {
    **{name: [*on_values(values, values), *conditions("$eq $ne", [None])] for name, values in COLUMNS.items()},
    **{name: [*on_lists(each), *conditions("$eq $ne", [None, *lists_of(each)])] for name, each in ELEMENTS.items()},
    **dict.fromkeys(["settings.a.b", "settings.c"], ON_PATHS),
    "embedding": conditions("$exists", [True, False]),
}
OF_ITEMS["title"] += ON_TEXT


def found_by(session: Session, statement: sa.Select[Any], model: Any, wheres: Conditions) -> list[list[int]]:
    """Return the numbers of the rows that each filter finds; many filters at once."""
    columns = [func.coalesce(compile_filter(where, model), sa.false()) for where in wheres]
    table = session.execute(statement.add_columns(*columns)).all()
    return [[number for number, *holding in table if holding[i]] for i in range(len(wheres))]


NUMBERED: dict[type[Any], sa.Select[Any]] = {
    Document: select(Document.position)
    .join(Collection)
    .where(Collection.name == "filters")
    .order_by(Document.position),
    Item: select(Item.id).order_by(Item.id),
}


@pytest.mark.parametrize(
    ("model", "name"), [(Document, name) for name in OF_DOCUMENTS] + [(Item, name) for name in OF_ITEMS]
)
def test_each_operator_finds_what_its_definition_says(stored: Session, model: type[Any], name: str) -> None:
    data = rows() if model is Document else ITEMS
    wheres = [{name: condition} for condition in (OF_DOCUMENTS if model is Document else OF_ITEMS)[name]]
    for batch in (wheres[i : i + 50] for i in range(0, len(wheres), 50)):
        for where, found in zip(batch, found_by(stored, NUMBERED[model], model, batch), strict=True):
            assert found == [i for i, row in enumerate(data) if matches(where, row)], where


def combined(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(lambda each: {"$and": each}, st.lists(inner, max_size=3)),
            st.builds(lambda each: {"$or": each}, st.lists(inner, max_size=3)),
            st.builds(lambda each: {"$not": each}, inner),
        ),
        max_leaves=5,
    )


def combinations(fields: dict[str, Conditions]) -> st.SearchStrategy[Any]:
    """Filters of one or two fields, with one or two operators or a plain value each, and these combined."""

    def on(name: str) -> st.SearchStrategy[Any]:
        one = st.sampled_from(fields[name])
        two = st.builds(lambda first, second: first | second, one, one)
        equal = [each["$eq"] for each in fields[name] if "$eq" in each and not isinstance(each["$eq"], dict)]
        return one | two | st.sampled_from(equal) if equal else one

    leaf = st.sampled_from(sorted(fields)).flatmap(lambda name: on(name).map(lambda condition: {name: condition}))
    return combined(leaf | st.builds(lambda first, second: first | second, leaf, leaf))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=combinations(OF_DOCUMENTS))
def test_a_filter_matches_as_its_python_reading_does(stored: Session, where: dict[str, Any]) -> None:
    condition = compile_filter(where, Document)
    assert condition is not None
    found = stored.scalars(NUMBERED[Document].where(condition)).all()
    assert found == [i for i, row in enumerate(rows()) if matches(where, row)]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=combinations(OF_ITEMS))
def test_a_filter_of_a_hosts_model_does_so_too(stored: Session, where: dict[str, Any]) -> None:
    condition = compile_filter(where, Item)
    assert condition is not None
    found = stored.scalars(NUMBERED[Item].where(condition)).all()
    assert found == [i for i, row in enumerate(ITEMS) if matches(where, row)]


texts = st.text(max_size=12)
STRANGE: list[Any] = [
    10**1001, -(10**1001), 2**63, 1e308, 5e-324, float("nan"), float("inf"), np.float64(0.1), np.int64(3),
    np.bool_(True), Decimal("1.5"), Decimal("NaN"), Decimal("1E+5000"),
    "\0", "\ud800", "\\", "%\\", "\\\\\\", "a; DROP TABLE documents", "' OR 1=1 --", "$1", "%s", ":x", "%(x)s", "{x}",
    "0000-01-01", "2024-02-30", "99999-01-01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
    "12:00:00+23:59:59.5", "12:00+15:59", "24:00", "-infinity", "now", "RED", "Red", "s", "x", "boom", str(UUID(int=1)),
    date.max, datetime.max, datetime.min.replace(tzinfo=timezone(timedelta(hours=23))), time.max, timedelta.max,
    time(1, tzinfo=timezone(timedelta(hours=23))), Color.RED, Color, UUID(int=1), Document.key, sa.text("1"), object(),
    {1, 2}, frozenset(), range(3), (1, 2), ("x", None), np.zeros(2), OrderedDict(c=1), {10**1001: 1}, {None: 1},
    {b"x": 1}, [None], [[None]], [1, "x"], ["x", 1], [True], [2**31], [1e400],
]  # fmt: skip
OPERATORS = [
    "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$between", "$in", "$nin", "$exists", "$like", "$ilike", "$contains",
    "$any", "$all", "$and", "$or", "$not", "$where",
]  # fmt: skip
COLUMN_NAMES = set(sa.inspect(Item).column_attrs.keys()) | set(sa.inspect(Document).column_attrs.keys())
ITEM_NAMES = sorted(sa.inspect(Item).column_attrs.keys())
strange = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=3), st.sampled_from(STRANGE)
)
keys = st.one_of(
    texts,
    st.sampled_from(OPERATORS),
    st.sampled_from(
        [None, 5, 10**1001, b"$eq", ("$eq",), float("nan"), "\ud800", "$eq\0", "meta", "meta.", "metadata.a"]
    ),
)
anything = st.recursive(
    strange,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


def fuzzed(names: list[str], root: str) -> st.SearchStrategy[dict[Any, Any]]:
    """Filters, most with a known field, and many with a known operator: what is refused at once tells little."""
    fields = st.one_of(st.sampled_from(names), texts.map(lambda key: f"{root}.{key}"), st.just(f"{root}.a"))
    conditions = st.one_of(
        anything,
        st.dictionaries(st.sampled_from(OPERATORS), anything, max_size=2),
        st.dictionaries(st.sampled_from(OPERATORS), st.lists(strange, max_size=3), max_size=2),
    )
    return combined(
        st.one_of(
            st.dictionaries(fields, conditions, min_size=1, max_size=2),
            st.dictionaries(keys | fields, anything, max_size=2),
        )
    )


def check_fuzzed(session: Session, where: Any, model: type[Any]) -> None:
    try:
        condition = compile_filter(where, model)
    except FilterError as exc:
        str(exc).encode()
        return
    assert condition is not None
    statement = select(model.id).where(condition)
    with session.begin_nested() as savepoint:
        session.scalars(statement).all()
        savepoint.rollback()
    sql = str(statement.compile(session.get_bind()))
    for word in _words(where):
        assert word not in sql


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=fuzzed(["source", "id", "position", "created_at", "embedding"], "meta"))
def test_a_filter_is_answered_or_refused_and_nothing_of_it_is_sql(stored: Session, where: Any) -> None:
    check_fuzzed(stored, where, Document)


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=fuzzed(ITEM_NAMES, "settings"))
def test_so_is_a_filter_of_a_hosts_model(stored: Session, where: Any) -> None:
    check_fuzzed(stored, where, Item)


@pytest.mark.parametrize("name", [*ITEM_NAMES, "settings.a"])
def test_every_operator_answers_or_refuses_each_strange_value(stored: Session, name: str) -> None:
    for value in [*STRANGE, 10**5000, {10**5000: 1}, {(10**5000,): 1}, {"$eq": 10**5000}]:
        for operator in OPERATORS:
            for operand in (value, [value], [value, value]):
                check_fuzzed(stored, {name: {operator: operand}}, Item)


@pytest.mark.parametrize(
    "key",
    [10**5000, (10**5000,), "x" * 10_000, "\ud800", "$" + "\ud800", "meta" + ".a" * 5_000],
    ids=lambda key: type(key).__name__,
)
def test_a_strange_name_or_operator_is_refused_in_a_message_that_can_be_printed(key: Any) -> None:
    for where in ({key: 1}, {"meta.a": {key: 1}}, {"$not": {key: {}}}, {"source": {"$eq": {key: 1}}}):
        with pytest.raises(FilterError) as caught:
            compile_filter(where, Document)
        assert len(str(caught.value).encode()) < 1_000


def _words(value: Any) -> Iterator[str]:
    """Yield the texts of a filter that SQL of ours cannot contain by chance."""
    match value:
        case str():
            if len(value) > 4 and not value.isalpha():
                yield value
        case dict():
            for key, item in value.items():
                if isinstance(key, str) and key not in COLUMN_NAMES:
                    yield from _words(key.removeprefix("meta.").removeprefix("settings."))
                yield from _words(item)
        case list() | tuple():
            for item in value:
                yield from _words(item)


def deep(levels: int) -> dict[str, Any]:
    where: dict[str, Any] = {"source": "x"}
    for _ in range(levels):
        where = {"$not": where}
    return where


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"sauce": "x"}, "where.sauce: unknown field; the columns are"),
        ({"module": "json"}, "metadata is meta.KEY"),
        ({"embedding": "x"}, "where.embedding: a column of type Vector takes only \\$exists"),
        ({"meta": {}}, "an empty object"),
        ({"meta": {"a": 1}}, "where.meta.a: unknown operator"),
        ({"meta": 1}, "where.meta: a column of type JSONB takes only \\$exists"),
        ({"tsv": "x"}, "unknown field"),
        ({"content_hash": b"x"}, "takes only \\$exists"),
        ({"source": {"$regex": "x"}}, "where.source.\\$regex: unknown operator; there are \\$eq"),
        ({"$nor": []}, "where.\\$nor: unknown operator"),
        ({"source": 5}, "where.source: expected text, not an integer"),
        ({"position": "5"}, "expected an integer, not text"),
        ({"position": True}, "expected an integer, not true or false"),
        ({"id": 2**63}, "64-bit"),
        ({"position": 2**31}, "32-bit"),
        ({"id": 10**5000}, "over 1,000 digits"),
        ({"created_at": "yesterday"}, "ISO 8601"),
        ({"source": "a\0b"}, "null character"),
        ({"meta.a\0": 1}, "null character"),
        ({"meta.a": "\ud800"}, "lone surrogate"),
        ({"meta.a": float("nan")}, "not a JSON number"),
        ({"meta.a": 10**1001}, "over 1,000 digits"),
        ({"meta.a": {"$gt": [1]}}, "expected text or a number, not a list"),
        ({"meta.a": {"$gt": True}}, "expected text or a number"),
        ({"meta.": 1}, "empty key"),
        ({"meta.a..b": 1}, "empty key"),
        ({"meta.a": {}}, "an empty object"),
        ({"source": {"$in": "wiki"}}, "expected a list, not text"),
        ({"source": {"$in": ["x"] * 10_000}}, "10,000 elements; at most 1,000"),
        ({"meta.a": list(range(10_000))}, "10,000 elements"),
        ({"source": {"$exists": 1}}, "expected true or false"),
        ({"$or": {"source": "x"}}, "expected a list, not an object"),
        ({"$and": ["x"]}, "where.\\$and\\[0\\]: expected an object"),
        (deep(1000), "deeper than 32"),
        ([], "expected an object"),
        ({5: 1}, "a field name is text"),
        ({"meta.a": {5: 1}}, "where.meta.a: unknown operator"),
        ({"meta.a": {"$between": [1]}}, "where.meta.a.\\$between: expected two elements, \\[low, high\\], not 1"),
        ({"meta.a": {"$between": [1, None]}}, "where.meta.a.\\$between\\[1\\]: expected text or a number, not null"),
        ({"position": {"$between": [1, "x"]}}, "where.position.\\$between\\[1\\]: expected an integer, not text"),
        ({"source": {"$between": "ab"}}, "expected a list, not text"),
        ({"source": {"$like": "x\\"}}, "where.source.\\$like: the pattern ends in a backslash"),
        ({"meta.a": {"$ilike": "\\\\\\"}}, "ends in a backslash"),
        ({"meta.a": {"$like": 5}}, "expected text, not an integer"),
        ({"source": {"$contains": ["x"]}}, "where.source.\\$contains: expected text, not a list"),
        ({"source": {"$any": ["x"]}}, "where.source.\\$any: a column of type Text takes only \\$eq"),
        ({"position": {"$like": "1%"}}, "where.position.\\$like: a column of type Integer takes only"),
        ({"meta.a": {"$all": "x"}}, "where.meta.a.\\$all: expected a list, not text"),
        ({"meta.a": {"$any": [1, float("inf")]}}, "where.meta.a.\\$any\\[1\\]: inf is not a JSON number"),
        ({"meta.a": {"$any": ["x"] * 1_001}}, "1,001 elements"),
        ({"meta" + ".a" * 33: 1}, "deeper than 32"),
        ({"$or": [{"$or": [{"source": "x"}] * 1_000}] * 20}, "too long"),
        ({"created_at": "9999-12-31T23:59:59-23:59"}, "in UTC the year is not 1 to 9999"),
    ],
)
def test_a_filter_that_cannot_be_understood_names_the_place(where: Any, words: str) -> None:
    with pytest.raises(FilterError, match=words):
        compile_filter(where, Document)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"titel": "x"}, "the columns are .*title.*, and metadata is settings.KEY"),
        ({"title.x": "x"}, "unknown field"),
        ({"color": "PURPLE"}, "where.color: expected one of RED, GREEN, BLUE"),
        ({"color": "r"}, "expected one of RED, GREEN, BLUE"),
        ({"color": {"$like": "R%"}}, "takes only"),
        ({"size": 5}, "expected one of s, m, l"),
        ({"flag": 1}, "where.flag: expected true or false, not an integer"),
        ({"small": 40_000}, "16-bit"),
        ({"small": 1.0}, "expected an integer, not a number"),
        ({"price": "1"}, "expected a number, not text"),
        ({"price": True}, "expected a number, not true or false"),
        ({"price": Decimal("sNaN")}, "finite"),
        ({"price": Decimal("1E+2000")}, "over 1,000 digits"),
        ({"ratio": 10**400}, "beyond the range"),
        ({"weight": 1e39}, "beyond the range"),
        ({"weight": 1e-60}, "beyond the range"),
        ({"token": "x"}, "expected a UUID"),
        ({"day": "2024-02-30"}, "ISO 8601 date"),
        ({"day": datetime(2024, 1, 1)}, "ISO 8601 date"),
        ({"seen": date(2024, 1, 1)}, "ISO 8601 timestamp"),
        ({"local": "2024-01-01T12:00:00Z"}, "where.local: the column has no time zone; leave the offset out"),
        ({"at": "12:00+01:00"}, "the column has no time zone"),
        ({"lasted": "P1D"}, "expected a timedelta"),
        ({"shout": "boom"}, "where.shout: refused by the column's type Loud"),
        ({"shout": "nul"}, "where.shout: the text holds a null character"),
        ({"tags": "x"}, "where.tags: expected a list, not text"),
        ({"tags": {"$any": ["x", 1]}}, "where.tags.\\$any\\[1\\]: expected text, not an integer"),
        ({"tags": {"$all": [None]}}, "expected text, not null"),
        ({"tags": {"$gt": ["x"]}}, "where.tags.\\$gt: a column of type ARRAY takes only \\$eq, \\$ne, \\$exists"),
        ({"codes": {"$contains": "x"}}, "where.codes.\\$contains: expected an integer, not text"),
        ({"fixed": ["x"]}, "takes only \\$exists"),
        ({"embedding": [1, 2, 3]}, "a column of type HALFVEC takes only \\$exists"),
        ({"bits": "101"}, "takes only \\$exists"),
        ({"sparse": {"$eq": None}}, "takes only \\$exists"),
        ({"blob": b"x"}, "takes only \\$exists"),
        ({"words": "x"}, "takes only \\$exists"),
    ],
)
def test_a_value_that_a_hosts_column_cannot_have_is_refused(where: Any, words: str) -> None:
    with pytest.raises(FilterError, match=words):
        compile_filter(where, Item)


def test_a_hosts_column_takes_pythons_own_objects(stored: Session) -> None:
    moment = datetime(2024, 1, 1, 21, tzinfo=timezone(timedelta(hours=9)))
    for where, found in [
        ({"color": Color.RED}, [3]),
        ({"colors": {"$any": (Color.BLUE,)}}, [5]),
        ({"token": TOKENS[0]}, [6]),
        ({"price": Decimal("1.5")}, [1]),
        ({"seen": moment}, [7]),
        ({"seen": moment.astimezone(UTC).replace(tzinfo=None)}, [7]),
        ({"lasted": {"$gte": timedelta(hours=24)}}, [9]),
        ({"small": {"$in": (np.int64(1).item(), 7)}}, [1]),
    ]:
        condition = compile_filter(where, Item)  # type: ignore[arg-type]
        assert condition is not None
        assert stored.scalars(select(Item.id).where(condition)).all() == found, where


def test_a_json_that_nests_a_thousand_deep_is_refused() -> None:
    with pytest.raises(FilterError, match="deeper"):
        compile_filter({"meta.a": json.loads("[" * 900 + "]" * 900)}, Document)


def test_timestamps_compare_as_times(stored: Session) -> None:
    repository = DocumentRepository(stored, "filters")
    assert repository.count({"created_at": {"$lte": datetime.now(UTC).isoformat()}}) == len(METAS)
    assert repository.count({"created_at": {"$lt": "2020-01-01T00:00:00+00:00"}}) == 0
    assert repository.count({"created_at": {"$between": ["2020-01-01", "9999-12-31T23:59:59.999999"]}}) == len(METAS)


def test_an_expression_is_a_filter_too(stored: Session) -> None:
    expression = Document.source == "wiki"
    assert compile_filter(expression, Document) is expression
    found = DocumentRepository(stored, "filters").count(expression)
    assert found == sum(row["source"] == "wiki" for row in rows())


def test_the_deepest_and_the_longest_filter_are_answered(stored: Session) -> None:
    repository = DocumentRepository(stored, "filters")
    longest = {"meta" + ".a" * 32: {"$contains": {"a": 1}}}
    assert repository.count(deep(32) | longest) == 0
    assert repository.count({"$or": [longest] * 240}) == 0
    assert repository.count({"$or": [{"source": "wiki"}] * 1_000, "meta.a": {"$nin": ["x"] * 1_000}}) > 0


@pytest.mark.parametrize(
    "condition",
    [
        "x",
        {"$eq": {"d": [1]}},
        {"$in": ["x", ["y"]]},
        {"$contains": "x"},
        {"$contains": {"d": 1}},
        {"$any": ["x", {"d": 1}]},
        {"$all": ["x", ["y"]]},
    ],
    ids=str,
)
def test_what_compares_metadata_for_equality_can_use_the_gin_index(stored: Session, condition: Any) -> None:
    compiled = compile_filter({"meta.b.c": condition}, Document)
    assert compiled is not None
    statement = select(Document.id).where(compiled).compile(stored.get_bind())
    with stored.begin_nested() as savepoint:
        stored.execute(text("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off"))
        plan = stored.connection().exec_driver_sql(f"EXPLAIN {statement}", statement.params).scalars().all()
        savepoint.rollback()
    assert "Bitmap Index Scan on ix_documents_metadata" in "\n".join(plan)


@pytest.mark.parametrize("where", [{"source": {"$in": ["x"]}}, {"meta.a": {"$all": [["x"]], "$contains": {"c": 1}}}])
def test_a_filters_statement_is_compiled_once(where: dict[str, Any]) -> None:
    keys = [select(Document.id).where(compile_filter(where, Document))._generate_cache_key() for _ in range(2)]  # type: ignore[arg-type]
    assert keys[0] is not None
    assert keys[0] == keys[1]


def test_a_field_can_be_grouped_by(stored: Session) -> None:
    """Its parameters must be the same in SELECT and GROUP BY."""
    for name, groups in [("settings.c", {None, "x", ("x",)}), ("color", {None, *Color}), ("flag", {None, True, False})]:
        field = compile_field(name, Item)
        rows = stored.execute(select(field, func.count()).group_by(field)).all()
        assert {tuple(value) if isinstance(value, list) else value for value, _ in rows} == groups
        assert sum(count for _, count in rows) == len(ITEMS)


def test_a_field_is_found_by_the_filters_names() -> None:
    assert compile_field("source", Document) is Document.source
    assert str(compile_field("metadata.a.b", Document)) == str(compile_field("meta.a.b", Document))
    assert compile_field("source", aliased(Document, name="other")).compare(compile_field("source", Document)) is False
    for name, words in [
        ("sauce", "sauce: unknown field"), ("meta", "JSONB"), ("embedding", "Vector"), ("meta.", "empty key"),
        ("settings.a", "unknown field"), (5, "text"), ("meta.\0", "null character"),
    ]:  # fmt: skip
        with pytest.raises(FilterError, match=words):
            compile_field(name, Document)  # type: ignore[arg-type]
