"""The operations by hand: what they do, what they refuse, and what autogenerate prints is what was meant."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, NullPool, text
from sqlalchemy.exc import OperationalError

from pgcorpus.autogenerate.operations import (
    AlterVectorDimensionsOp,
    CreateVectorIndexOp,
    DropVectorIndexOp,
    EnableExtensionOp,
    SetVectorStorageOp,
)
from pgcorpus.autogenerate.spec import VectorIndex, from_arguments, to_arguments
from pgcorpus.database import create_engine
from pgcorpus.errors import DatabaseError, DefinitionError, ExtensionError
from tests.support.waiting import wait_until

HOME = "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"


@contextmanager
def operations(engine: Engine) -> Iterator[Any]:
    """``op`` in a transaction that is committed."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        with context.begin_transaction():
            yield Operations(context)


def value(engine: Engine, sql: str) -> Any:
    with engine.begin() as connection:
        return connection.scalar(text(sql))


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.fixture
def items(empty_engine: Engine) -> Engine:
    """A database with a table of two vectors and an odd name."""
    run(
        empty_engine,
        "CREATE EXTENSION vector",
        'CREATE TABLE "odd items" (id int PRIMARY KEY, v vector(4), h halfvec(4), b bit(4), free vector)',
        """INSERT INTO "odd items" VALUES (1, '[3,4,0,5]', '[1,0,0,0]', '1010', '[1,2]')""",
        'INSERT INTO "odd items" VALUES (2)',
    )
    return empty_engine


# The extension


def test_an_extension_is_created_where_it_is_asked_for_and_seen_at_once(empty_engine: Engine) -> None:
    with operations(empty_engine) as op:
        op.enable_extension("vector", schema="extensions")
        op.execute("CREATE TABLE items (v vector(3))")
    assert value(empty_engine, HOME) == "extensions"
    with operations(empty_engine) as op:
        op.enable_extension("vector", schema="public")  # it is there, and stays where it is
        op.disable_extension("vector")  # the table uses it
    assert value(empty_engine, HOME) == "extensions"
    with operations(empty_engine) as op:
        op.drop_table("items")
        op.disable_extension("vector")
    assert value(empty_engine, HOME) is None


def test_a_role_that_may_not_create_it_gets_the_statement(empty_engine: Engine) -> None:
    role = f"plain_{empty_engine.url.database}"
    run(empty_engine, f"CREATE ROLE {role}")
    engine = create_engine(empty_engine.url, poolclass=NullPool, connect_args={"options": f"-c role={role}"})
    try:
        with (
            pytest.raises(ExtensionError, match=r"a superuser to run in .*: CREATE EXTENSION vector;"),
            operations(engine) as op,
        ):
            op.enable_extension("vector")
        run(empty_engine, "CREATE EXTENSION vector")
        with operations(engine) as op:
            op.enable_extension("vector")
    finally:
        run(empty_engine, f"DROP ROLE {role}")


def test_an_extension_that_the_server_lacks_is_named(empty_engine: Engine) -> None:
    with pytest.raises(ExtensionError, match="no extension vectorz"), operations(empty_engine) as op:
        op.enable_extension("vectorz")


# Dimensions


@pytest.mark.parametrize("column", ["v", "h"])
def test_vectors_are_cut_and_renormalised_or_padded(items: Engine, column: str) -> None:
    run(items, f"""UPDATE "odd items" SET {column} = '[3,4,0,5]' WHERE id = 1""")
    type_ = {"v": "vector", "h": "halfvec"}[column]
    with operations(items) as op:
        op.alter_vector_dimensions("odd items", column, 2, existing_dimensions=4, type_=type_, how="truncate")
    assert value(items, f"""SELECT l2_distance({column}, '[0.6,0.8]') < 0.001 FROM "odd items" WHERE id = 1""")
    with operations(items) as op:
        op.alter_vector_dimensions("odd items", column, 3, existing_dimensions=2, type_=type_, how="pad")
    assert value(items, f"""SELECT l2_distance({column}, '[0.6,0.8,0]') < 0.001 FROM "odd items" WHERE id = 1""")


@pytest.mark.parametrize(("column", "type_"), [("v", "vector"), ("h", "halfvec"), ("b", "bit")])
@pytest.mark.parametrize("dimensions", [3, 5])
def test_no_vector_is_lost_unasked(items: Engine, column: str, type_: str, dimensions: int) -> None:
    before = value(items, f'SELECT {column}::text FROM "odd items" WHERE id = 1')
    refusal = f"odd items.{column} has vectors of 4 dimensions.*how='truncate'"
    with pytest.raises(DatabaseError, match=refusal), operations(items) as op:
        op.alter_vector_dimensions("odd items", column, dimensions, existing_dimensions=4, type_=type_)
    assert value(items, f'SELECT {column}::text FROM "odd items" WHERE id = 1') == before
    run(items, f'UPDATE "odd items" SET {column} = NULL')
    with operations(items) as op:
        op.alter_vector_dimensions("odd items", column, dimensions, existing_dimensions=4, type_=type_)


def test_a_dimension_may_be_stated_where_all_vectors_have_it(items: Engine) -> None:
    with operations(items) as op:
        op.alter_vector_dimensions("odd items", "free", 2)
        op.alter_vector_dimensions("odd items", "free", None, existing_dimensions=2)
    assert value(items, 'SELECT free::text FROM "odd items" WHERE id = 1') == "[1,2]"


@pytest.mark.parametrize(
    "arguments",
    [
        {"dimensions": 3, "existing_dimensions": 4, "how": "pad"},
        {"dimensions": 5, "existing_dimensions": 4, "how": "truncate"},
        {"dimensions": 5, "how": "pad"},
        {"dimensions": 3, "existing_dimensions": 4, "how": "guess"},
        {"dimensions": 3, "existing_dimensions": 4, "how": "truncate", "type_": "bit"},
    ],
)
def test_what_cannot_be_is_refused_before_the_server_is_asked(arguments: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        AlterVectorDimensionsOp("items", "v", **arguments)


# Storage


def test_storage_is_set_and_put_back(items: Engine) -> None:
    storage = """SELECT attstorage::text || coalesce(array_to_string(reloptions, ','), '') FROM pg_attribute
        JOIN pg_class c ON c.oid = attrelid WHERE relname = 'odd items' AND attname = 'v'"""
    operation = SetVectorStorageOp("odd items", "v")
    with operations(items) as op:
        op.invoke(operation)
    assert value(items, storage) == "mtoast_tuple_target=8160"
    with operations(items) as op:
        op.invoke(operation.reverse())
    assert value(items, storage) == "e"
    with pytest.raises(DefinitionError, match="storage is one of"):
        SetVectorStorageOp("items", "v", storage="attic")


# Indexes


def test_an_index_in_the_transaction_goes_with_it(items: Engine) -> None:
    def fail(op: Any) -> None:
        op.create_vector_index("ix", "odd items", "v", metric="l2", concurrently=False)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), operations(items) as op:
        fail(op)
    assert value(items, "SELECT to_regclass('ix')") is None


@pytest.mark.parametrize("concurrently", [True, False])
def test_an_index_is_made_replaced_and_dropped(items: Engine, concurrently: bool) -> None:
    with operations(items) as op:
        op.create_vector_index("ix", "odd items", "v", concurrently=concurrently)
        op.create_vector_index("ix", "odd items", halfvec=4, column="v", m=8, replace=True, concurrently=concurrently)
    definition = value(items, "SELECT pg_get_indexdef('ix'::regclass)")
    assert "((v)::halfvec(4)) halfvec_cosine_ops" in definition
    assert "m='8'" in definition
    assert value(items, "SELECT count(*) FROM pg_class WHERE relname LIKE 'ix%'") == 1
    with operations(items) as op:
        op.drop_vector_index("ix", "odd items", concurrently=concurrently)
        op.drop_vector_index("ix", "odd items", concurrently=concurrently)
    assert value(items, "SELECT to_regclass('ix')") is None


def test_a_connection_that_dies_in_a_build_says_so(items: Engine) -> None:
    """And not only that something has to be rolled back, which is what Alembic comes upon."""
    failures: list[BaseException] = []
    building = create_engine(items.url, poolclass=NullPool, connect_args={"application_name": "building"})

    def build() -> None:
        try:
            with operations(building) as op:
                op.create_vector_index("ix", "odd items", "v")
        except BaseException as exc:  # noqa: BLE001 -- handed to the test
            failures.append(exc)

    thread = threading.Thread(target=build)
    with items.connect() as older:  # the build waits for it
        older.execute(text('LOCK TABLE "odd items" IN ROW EXCLUSIVE MODE'))
        thread.start()
        kill = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'building' AND query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"""
        wait_until(lambda: value(items, kill))
    thread.join(60)
    assert [type(failure) for failure in failures] == [OperationalError]
    assert value(items, "SELECT to_regclass('ix')") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"column": "v", "m": 1}, "m must be 2 to 100"),
        ({"column": "v", "m": 40}, "at least 2"),
        ({"column": "v", "lists": 3}, "hnsw has no parameter 'lists'"),
        ({"column": "v", "method": "btree"}, "method is one of"),
        ({"column": "v", "metric": "hamming"}, "no operator class"),
        ({"column": "v", "metric": "cosine", "type_": "bit"}, "no operator class"),
        ({"column": "v", "expression": "v"}, "the column to index, or an expression"),
        ({}, "the column to index, or an expression"),
        ({"expression": "v", "halfvec": 3}, "halfvec is the number"),
    ],
)
def test_an_impossible_index_is_refused_before_the_server_is_asked(arguments: dict[str, Any], message: str) -> None:
    operations = Operations(MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True}))
    with pytest.raises(DefinitionError, match=message):
        operations.create_vector_index("ix", "items", **arguments)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "index",
    [
        VectorIndex("ix", "t", "v", "vector_cosine_ops"),
        VectorIndex("ix", "t", '"odd ""name"', "vector_l2_ops", "hnsw", {"m": 8}, "active", "app"),
        VectorIndex("ix", "t", "((v)::halfvec(3))", "halfvec_l2_ops"),
        VectorIndex("ix", "t", "((v)::halfvec(3))", "bit_hamming_ops"),
        VectorIndex("ix", "t", "(f(v))", "bit_jaccard_ops"),
        VectorIndex("ix", "t", "v", None, "ivfflat", {"lists": 7}),
        VectorIndex("ix", "t", "v", "my_ops"),
    ],
)
def test_what_is_printed_is_what_was_meant(index: VectorIndex) -> None:
    positional, keywords = to_arguments(index)
    options = {name: keywords.pop(name, None) for name in ("m", "ef_construction", "lists")}
    defaults: dict[str, Any] = {"metric": "cosine", "type_": "vector", "halfvec": None, "expression": None,
                                "opclass": None, "where": None, "schema": None}  # fmt: skip
    column = positional[2] if len(positional) == 3 else None
    made = from_arguments(*positional[:2], column, options=options, **defaults | keywords)
    assert made == index


def test_what_was_before_is_needed_to_go_back() -> None:
    with pytest.raises(NotImplementedError, match="not known here"):
        DropVectorIndexOp("ix", "t").reverse()
    index = VectorIndex("ix", "t", "v", "vector_cosine_ops")
    there = CreateVectorIndexOp(index)
    assert isinstance(there.reverse(), DropVectorIndexOp)
    assert there.reverse().reverse().call() == there.call()  # type: ignore[union-attr]
    assert EnableExtensionOp("vector").reverse().reverse().call() == EnableExtensionOp("vector").call()
