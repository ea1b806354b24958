"""A filter finds what a reading of its definition in Python finds, and never reaches SQL text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from pgcorpus.database import session_factory
from pgcorpus.errors import FilterError
from pgcorpus.models import Collection, Document
from pgcorpus.repositories import DocumentRepository, compile_filter

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
]
SOURCES = ["wiki", "faq", None, "it's"]


def rows() -> list[dict[str, Any]]:
    return [
        {"content": str(i), "source": SOURCES[i % len(SOURCES)], "position": i, "meta": meta}
        for i, meta in enumerate(METAS)
    ]


@pytest.fixture(scope="module")
def stored(shared_engine: Engine) -> Iterator[Session]:
    with session_factory(shared_engine)() as session:
        DocumentRepository(session, "filters").add_many([Document(**row) for row in rows()])
        yield session
        session.rollback()


_MISSING = object()


def field_value(row: dict[str, Any], name: str) -> Any:
    if not name.startswith("meta."):
        return _MISSING if row[name] is None else row[name]
    value: Any = row["meta"]
    for key in name.removeprefix("meta.").split("."):
        if not isinstance(value, dict) or key not in value:
            return _MISSING
        value = value[key]
    return value


def same(left: Any, right: Any) -> bool:
    """JSON equality: true is not 1, and 1 is 1.0."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return type(left) is type(right) and left == right if isinstance(left, str) else bool(left == right)


ORDER = {"$gt": "__gt__", "$gte": "__ge__", "$lt": "__lt__", "$lte": "__le__"}


def holds(  # noqa: C901 -- the whole definition in one place
    operator: str, value: Any, operand: Any, column: bool
) -> bool:
    match operator:
        case "$eq":
            return (value is _MISSING) if column and operand is None else value is not _MISSING and same(value, operand)
        case "$ne":
            return not holds("$eq", value, operand, column)
        case "$in":
            return any(holds("$eq", value, each, column) for each in operand)
        case "$nin":
            return not holds("$in", value, operand, column)
        case "$exists":
            return bool((value is not _MISSING) == operand)
        case _:
            comparable = (isinstance(value, str) and isinstance(operand, str)) or (
                isinstance(value, int | float) and not isinstance(value, bool) and isinstance(operand, int | float)
            )
            if not comparable:
                return False
            if isinstance(value, int) and isinstance(operand, float):
                value = float(value)
            if isinstance(value, float):
                operand = float(operand)
            return bool(getattr(value, ORDER[operator])(operand))


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
                operators = value if isinstance(value, dict) else {"$eq": value}
                column = not key.startswith("meta.")
                found = all(holds(op, field_value(row, key), operand, column) for op, operand in operators.items())
        if not found:
            return False
    return True


scalars = st.sampled_from([1, 1.0, 2, -3.5, "1", "x", "y", "", "é", "it's; DROP TABLE", True, False])
comparable = st.sampled_from([1, 1.5, -4, 2, "x", "", "0"])
json_values = st.one_of(scalars, st.sampled_from([None, ["x"], ["x", "y"], ["y"], {"c": 1, "d": 2}, {"c": 1}, [], {}]))
paths = st.sampled_from(["meta.a", "meta.b", "meta.b.c", "meta.a.c", "meta.a'b", "meta.{a}", "meta.missing"])

meta_conditions = st.one_of(
    st.fixed_dictionaries({}, optional={"$eq": json_values, "$ne": json_values}),
    st.builds(lambda op, value: {op: value}, st.sampled_from(sorted(ORDER)), comparable),
    st.builds(lambda op, value: {op: value}, st.sampled_from(["$in", "$nin"]), st.lists(json_values, max_size=3)),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
).filter(bool)
source_conditions = st.one_of(
    st.sampled_from(["wiki", "it's", None]),
    st.builds(lambda value: {"$in": value}, st.lists(st.sampled_from(["wiki", "faq", "x"]), max_size=3)),
    st.builds(lambda value: {"$ne": value}, st.sampled_from(["wiki", "x"])),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
)
leaves = st.one_of(
    st.dictionaries(paths, st.one_of(scalars, meta_conditions), min_size=1, max_size=2),
    st.fixed_dictionaries({"source": source_conditions}),
    st.builds(lambda value: {"position": {"$gte": value}}, st.integers(0, 20)),
)
wheres = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda each: {"$and": each}, st.lists(inner, max_size=3)),
        st.builds(lambda each: {"$or": each}, st.lists(inner, max_size=3)),
        st.builds(lambda each: {"$not": each}, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=wheres)
def test_a_filter_matches_as_its_python_reading_does(stored: Session, where: dict[str, Any]) -> None:
    condition = compile_filter(where, Document)
    assert condition is not None
    found = stored.scalars(
        select(Document.position).join(Collection).where(Collection.name == "filters", condition)
    ).all()
    assert sorted(position for position in found if position is not None) == [
        row["position"] for row in rows() if matches(where, row)
    ]


texts = st.text(max_size=12)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(texts, st.sampled_from(["source", "meta.a", "$and", "$or", "$not", "$eq", "$in", "$gt"])),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.dictionaries(texts | st.sampled_from(["source", "id", "meta.a", "$or", "$not"]), anything, max_size=3))
def test_a_filter_is_answered_or_refused_and_nothing_of_it_is_sql(stored: Session, where: dict[str, Any]) -> None:
    try:
        condition = compile_filter(where, Document)
    except FilterError:
        return
    assert condition is not None
    statement = select(Document.id).where(condition)
    with stored.begin_nested() as savepoint:
        stored.scalars(statement).all()
        savepoint.rollback()
    sql = str(statement.compile(stored.get_bind()))
    for word in _words(where):
        assert word not in sql


def _words(value: Any) -> Iterator[str]:
    """Yield the texts of a filter that SQL of ours cannot contain by chance."""
    match value:
        case str():
            if len(value) > 4 and not value.isalpha():
                yield value
        case dict():
            for key, item in value.items():
                if key.startswith("meta."):
                    yield from _words(key.removeprefix("meta."))
                yield from _words(item)
        case list():
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
        ({"embedding": "x"}, "unknown field"),
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
    ],
)
def test_a_filter_that_cannot_be_understood_names_the_place(where: Any, words: str) -> None:
    with pytest.raises(FilterError, match=words):
        compile_filter(where, Document)


def test_a_json_that_nests_a_thousand_deep_is_refused() -> None:
    with pytest.raises(FilterError, match="deeper"):
        compile_filter({"meta.a": json.loads("[" * 900 + "]" * 900)}, Document)


def test_timestamps_compare_as_times(stored: Session) -> None:
    repository = DocumentRepository(stored, "filters")
    assert repository.count({"created_at": {"$lte": datetime.now(UTC).isoformat()}}) == len(METAS)
    assert repository.count({"created_at": {"$lt": "2020-01-01T00:00:00+00:00"}}) == 0


def test_an_expression_is_a_filter_too(stored: Session) -> None:
    assert DocumentRepository(stored, "filters").count(Document.source == "wiki") == 5


def test_equality_in_the_metadata_can_use_the_gin_index(stored: Session) -> None:
    condition = compile_filter({"meta.b.c": "x"}, Document)
    assert "metadata @>" in str(select(Document.id).where(condition).compile(stored.get_bind()))  # type: ignore[arg-type]
