"""The operations by hand: what they do, what they refuse, and what autogenerate prints is what was meant."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import CreateTableOp, MigrateOperation
from pgvector.sqlalchemy import BIT, SPARSEVEC, VECTOR
from sqlalchemy import JSON, Column, Engine, NullPool, String, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import TypeEngine

from pgcorpus.autogenerate.arranging import Note
from pgcorpus.autogenerate.operations import (
    AlterVectorDimensionsOp,
    CreateVectorIndexOp,
    DropVectorIndexOp,
    EnableExtensionOp,
    SetVectorStorageOp,
)
from pgcorpus.autogenerate.rendering import render_types
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
        'CREATE TABLE "odd items" (id int PRIMARY KEY, v vector(4), h halfvec(4), b bit(4), s sparsevec(4))',
        'ALTER TABLE "odd items" ADD free vector',
        """INSERT INTO "odd items" VALUES (1, '[3,4,0,5]', '[1,0,0,0]', '1010', '{1:1}/4', '[1,2]')""",
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


@pytest.mark.parametrize("how", ["enable_extension", "see_extension"])
def test_in_autocommit_the_types_are_seen_by_the_statements_that_follow(empty_engine: Engine, how: str) -> None:
    run(empty_engine, 'CREATE SCHEMA "My Ext"', 'CREATE EXTENSION vector SCHEMA "My Ext"')
    engine = create_engine(empty_engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with operations(engine) as op:
        getattr(op, how)("vector")
        op.execute("CREATE TABLE items (v vector(3))")
    assert value(empty_engine, "SELECT to_regclass('items')") is not None


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


@pytest.mark.parametrize(("column", "type_"), [("v", "vector"), ("h", "halfvec"), ("b", "bit"), ("s", "sparsevec")])
@pytest.mark.parametrize("dimensions", [3, 5])
def test_no_vector_is_lost_unasked(items: Engine, column: str, type_: str, dimensions: int) -> None:
    before = value(items, f'SELECT {column}::text FROM "odd items" WHERE id = 1')
    way = "truncate" if dimensions == 3 else "pad"
    advice = f"Say how='{way}', or embed again into" if type_ in ("vector", "halfvec") else "Embed again into"
    refusal = f"odd items.{column} has vectors of 4 dimensions, which do not fit into {dimensions}. {advice}"
    with pytest.raises(DatabaseError, match=refusal), operations(items) as op:
        op.alter_vector_dimensions("odd items", column, dimensions, existing_dimensions=4, type_=type_)
    assert value(items, f'SELECT {column}::text FROM "odd items" WHERE id = 1') == before
    run(items, f'UPDATE "odd items" SET {column} = NULL')
    with operations(items) as op:
        op.alter_vector_dimensions("odd items", column, dimensions, existing_dimensions=4, type_=type_)


def test_equal_dimensions_are_left_as_they_are(items: Engine) -> None:
    with operations(items) as op:
        op.alter_vector_dimensions("odd items", "v", 4, existing_dimensions=4)
    assert value(items, 'SELECT v::text FROM "odd items" WHERE id = 1') == "[3,4,0,5]"


@pytest.mark.parametrize(("column", "type_"), [("v", "vector"), ("h", "halfvec")])
def test_no_vector_is_cut_to_zeros_which_no_search_would_find(items: Engine, column: str, type_: str) -> None:
    zeros, tail = "[0,0,0,0]", "[0,0,1,1]"
    run(items, f"""INSERT INTO "odd items" (id, {column}) VALUES (3, '{zeros}'), (4, '{tail}'), (5, '{tail}')""")
    refusal = f"2 vectors of odd items.{column} have only zeros in their first 2 dimensions"
    arguments = {"existing_dimensions": 4, "type_": type_, "how": "truncate"}
    with pytest.raises(DatabaseError, match=refusal), operations(items) as op:
        op.alter_vector_dimensions("odd items", column, 2, **arguments)
    run(items, f'UPDATE "odd items" SET {column} = NULL WHERE id > 3')
    with operations(items) as op:
        op.alter_vector_dimensions("odd items", column, 2, **arguments)
    assert value(items, f'SELECT {column}::text FROM "odd items" WHERE id = 3') == "[0,0]"


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
        {"dimensions": 3, "existing_dimensions": 3, "how": "truncate"},
        {"dimensions": 3, "existing_dimensions": 3, "how": "pad"},
        {"dimensions": 0},
        {"dimensions": "3"},
        {"dimensions": 3, "existing_dimensions": True},
        {"dimensions": 3, "type_": "text"},
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
def test_an_index_is_replaced_where_an_earlier_change_left_the_old_one(items: Engine, concurrently: bool) -> None:
    create = 'CREATE INDEX {} ON "odd items" USING hnsw (v vector_l2_ops)'
    run(items, create.format("ix"), create.format("ix__old"))
    with operations(items) as op:
        op.create_vector_index("ix", "odd items", "v", replace=True, concurrently=concurrently)
    left = "SELECT string_agg(indexdef, ';') FROM pg_indexes WHERE indexname LIKE 'ix%'"
    assert value(items, left).count("vector_cosine_ops") == 1
    assert value(items, left).count("CREATE INDEX") == 1


@pytest.mark.parametrize("name", ["ix", "ix__old"])
def test_the_index_of_another_table_is_not_replaced(items: Engine, name: str) -> None:
    run(items, "CREATE TABLE other (id int)", f"CREATE INDEX {name} ON other (id)")
    message = f"{name} is no index of odd items to drop: it is btree index of other"
    with pytest.raises(DatabaseError, match=message), operations(items) as op:
        op.create_vector_index("ix", "odd items", "v", replace=True, concurrently=False)
    assert value(items, f"SELECT to_regclass('{name}')") is not None


@pytest.mark.parametrize("concurrently", [True, False])
@pytest.mark.parametrize(
    ("name", "table", "is_"),
    [
        ("ix_btree", "odd items", 'btree index of "odd items"'),
        ("ix_btree", "other", 'btree index of "odd items"'),
        ("ix_vector", "other", 'hnsw index of "odd items"'),
        ("ix_vector", "nowhere", 'hnsw index of "odd items"'),
        ("other", "odd items", "table other"),
    ],
)
def test_only_a_vector_index_of_the_table_is_dropped(
    items: Engine, name: str, table: str, is_: str, concurrently: bool
) -> None:
    run(
        items,
        "CREATE TABLE other (id int)",
        'CREATE INDEX ix_btree ON "odd items" (id)',
        'CREATE INDEX ix_vector ON "odd items" USING hnsw (v vector_l2_ops)',
    )
    message = f"{name} is no vector index of {table} to drop: it is {is_}"
    with pytest.raises(DatabaseError, match=message), operations(items) as op:
        op.drop_vector_index(name, table, concurrently=concurrently)
    assert value(items, f"SELECT to_regclass('{name}')") is not None


@pytest.mark.parametrize("concurrently", [True, False])
def test_a_column_that_is_not_there_is_named(items: Engine, concurrently: bool) -> None:
    message = 'table "odd items" has no column nope to build ix on'
    with pytest.raises(DatabaseError, match=message), operations(items) as op:
        op.create_vector_index("ix", "odd items", "nope", concurrently=concurrently)


@pytest.mark.parametrize("concurrently", [True, False])
def test_an_index_is_built_in_the_tablespace_that_is_named(items: Engine, concurrently: bool) -> None:
    space = f"space_{items.url.database}"
    admin = create_engine(items.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("SET allow_in_place_tablespaces = true")
        connection.exec_driver_sql(f"CREATE TABLESPACE {space} LOCATION ''")
    with operations(items) as op:
        op.create_vector_index("ix", "odd items", "v", where="id > 0", tablespace=space, concurrently=concurrently)
        op.create_vector_index("ix", "odd items", "v", m=8, replace=True, tablespace=space, concurrently=concurrently)
    assert value(items, "SELECT tablespace FROM pg_indexes WHERE indexname = 'ix'") == space
    run(items, "DROP INDEX ix")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP TABLESPACE {space}")


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
        ({"column": "v", "m": 200}, "index ix of items: m must be"),
        ({"column": "v", "metric": "hamming"}, "index ix of items: pgvector has no"),
        ({"column": "v", "m": "16"}, "m must be a whole number, not '16'"),
        ({"column": "v", "m": True}, "m must be a whole number, not True"),
        ({"column": ["v"]}, r"column is a string, not \['v'\]"),
        ({"column": "v", "where": text("v IS NOT NULL")}, "where is a string"),
        ({"column": "v", "halfvec": "3"}, "halfvec is a number of dimensions, not '3'"),
        ({"column": "v", "maintenance_work_mem": 65536}, "maintenance_work_mem is a string with its unit"),
        ({"column": "v", "parallel_workers": "4"}, "parallel_workers is a whole number"),
        ({"column": "v", "parallel_workers": -1}, "parallel_workers is a whole number"),
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
        VectorIndex("ix", "t", "v", "vector_l2_ops", tablespace="fast"),
    ],
)
def test_what_is_printed_is_what_was_meant(index: VectorIndex) -> None:
    positional, keywords = to_arguments(index)
    options = {name: keywords.pop(name, None) for name in ("m", "ef_construction", "lists")}
    defaults: dict[str, Any] = {"metric": "cosine", "type_": "vector", "halfvec": None, "expression": None,
                                "opclass": None, "where": None, "schema": None}  # fmt: skip
    column = positional[2] if len(positional) == 3 else None
    made = from_arguments(positional[0], positional[1], column, options=options, **defaults | keywords)
    assert made == index


def test_what_was_before_is_needed_to_go_back() -> None:
    with pytest.raises(NotImplementedError, match="not known here"):
        DropVectorIndexOp("ix", "t").reverse()
    index = VectorIndex("ix", "t", "v", "vector_cosine_ops")
    there = CreateVectorIndexOp(index)
    assert isinstance(there.reverse(), DropVectorIndexOp)
    assert there.reverse().reverse().call() == there.call()  # type: ignore[union-attr]
    assert EnableExtensionOp("vector").reverse().reverse().call() == EnableExtensionOp("vector").call()


# What autogenerate prints


def rendered(op: MigrateOperation, imports: set[str] | None = None) -> str:
    """Return what a revision has of an operation."""
    options = {"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op.", "user_module_prefix": None}
    context = AutogenContext(
        MigrationContext.configure(dialect_name="postgresql"), opts=options | {"render_item": render_types(None)}
    )
    context.imports = set() if imports is None else imports
    return "\n".join(render_op(context, op))


@pytest.mark.parametrize(
    ("type_", "dimensions", "way"),
    [
        ("vector", 3, "truncate"),
        ("halfvec", 5, "pad"),
        ("bit", 3, None),
        ("sparsevec", 3, None),
        ("sparsevec", 5, None),
    ],
)
def test_only_what_can_be_chosen_is_offered(type_: str, dimensions: int, way: str | None) -> None:
    comment = rendered(AlterVectorDimensionsOp("t", "v", dimensions, existing_dimensions=4, type_=type_))
    assert [each for each in ("truncate", "pad") if f"how='{each}'" in comment] == ([] if way is None else [way])
    assert "# - another model" in comment


@pytest.mark.parametrize("newline", ["\n", "\r", "\x0c", "\u2028"])
def test_a_name_with_a_newline_stays_in_its_comment(newline: str) -> None:
    name = f"é' \"{newline}raise SystemExit"
    for op in (AlterVectorDimensionsOp(name, name, 3, existing_dimensions=4), Note(f"{name} is large")):
        body = rendered(op)
        assert {type(statement) for statement in ast.parse(body).body} <= {ast.Expr}
        assert "# é' \"" in body


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        (VECTOR(3), "VECTOR(3)"),
        (VECTOR(3).with_variant(JSON(), "sqlite"), "VECTOR(3).with_variant(sa.JSON(), 'sqlite')"),
        (JSON().with_variant(VECTOR(3), "postgresql"), "sa.JSON().with_variant(VECTOR(3), 'postgresql')"),
        (BIT(3).with_variant(String(3), "sqlite"), "BIT(3).with_variant(sa.String(length=3), 'sqlite')"),
        (SPARSEVEC(), "SPARSEVEC()"),
    ],
)
def test_a_type_is_printed_with_its_import_and_its_variants(type_: TypeEngine[Any], expected: str) -> None:
    imports: set[str] = set()
    table = CreateTableOp("t", [Column("v", type_, nullable=True)])
    assert f"sa.Column('v', {expected}, nullable=True)" in rendered(table, imports)
    assert len([line for line in imports if line.startswith("from pgvector.sqlalchemy import ")]) == 1


# The documentation


def test_the_example_of_the_documentation_runs(empty_engine: Engine) -> None:
    page = Path(__file__).parents[2] / "docs" / "autogenerate.md"
    revisions: list[dict[str, Any]] = []
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        revisions.append(dict(revisions[-1]) if revisions else {})  # what the first one imports
        exec(block, revisions[-1])  # noqa: S102 -- ours
    steps = [(each, "upgrade") for each in revisions] + [(each, "downgrade") for each in reversed(revisions)]
    count = "SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%hnsw%'"
    for (revision, step), indexes in zip(steps * 2, (1, 3, 1, 0) * 2, strict=True):
        with empty_engine.connect() as connection:
            context = MigrationContext.configure(connection)
            with context.begin_transaction(), Operations.context(context):
                revision[step]()
        assert value(empty_engine, count) == indexes
    assert value(empty_engine, HOME) is None
    assert value(empty_engine, "SELECT to_regclass('items')") is None
