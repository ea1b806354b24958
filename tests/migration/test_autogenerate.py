"""Autogenerate on a real database: what is equal says nothing, what differs becomes an operation that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import UpgradeOps
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy import Boolean, Column, Engine, Index, Integer, MetaData, NullPool, String, Table, cast, func, text
from sqlalchemy.engine import URL
from sqlalchemy.types import UserDefinedType

from pgcorpus import autogenerate
from pgcorpus.database import create_engine
from pgcorpus.models import Vector, hnsw_index, ivfflat_index

autogenerate.setup()  # the one line for Alembic before 1.18

Form = Callable[[Table], Index | None]

CONVENTION = {"ix": "ix_%(table_name)s_%(column_0_N_name)s"}


def hnsw(column: str, opclass: str, **options: Any) -> Index:
    kept = {f"postgresql_{name}": value for name, value in options.items()}
    return Index("ix_a", column, postgresql_using="hnsw", postgresql_ops={column: opclass}, **kept)


def on_expression(expression: Any, opclass: str) -> Index:
    return Index("ix_a", expression.label("e"), postgresql_using="hnsw", postgresql_ops={"e": opclass})


def where(predicate: Any) -> Index:
    return hnsw("v", "vector_l2_ops", where=predicate)


FORMS: dict[str, Form] = {
    "none": lambda _: None,
    **{
        f"hnsw vector {opclass}": lambda _, opclass=opclass: hnsw("v", f"vector_{opclass}_ops")  # type: ignore[misc]
        for opclass in ("cosine", "l2", "ip", "l1")
    },
    **{
        f"{method} {column}": lambda _, m=method, c=column, o=opclass: Index(  # type: ignore[misc]
            "ix_a", c, postgresql_using=m, postgresql_ops={c: o}
        )
        for method in ("hnsw", "ivfflat")
        for column, opclass in (("h", "halfvec_l2_ops"), ("b", "bit_hamming_ops"))
    },
    "hnsw bit jaccard": lambda _: hnsw("b", "bit_jaccard_ops"),
    "hnsw sparsevec": lambda _: hnsw("s", "sparsevec_ip_ops"),
    "hnsw m": lambda _: hnsw("v", "vector_l2_ops", **{"with": {"m": 8}}),
    "hnsw m as text": lambda _: hnsw("v", "vector_l2_ops", **{"with": {"m": "8", "ef_construction": "32"}}),
    "hnsw by its helper": lambda _: hnsw_index("v", m=4, ef_construction=20, name="ix_a"),
    "ivfflat by its helper": lambda _: ivfflat_index("v", lists=3, name="ix_a"),
    "ivfflat's own default": lambda _: Index("ix_a", "v", postgresql_using="ivfflat"),
    "method in capitals": lambda _: Index("ix_a", "v", postgresql_using="HNSW", postgresql_ops={"v": "vector_l2_ops"}),
    "halfvec cast": lambda t: on_expression(cast(t.c.v, HALFVEC(3)), "halfvec_l2_ops"),
    "halfvec cast by hand": lambda _: Index(
        "ix_a", text("(v::halfvec(3)) halfvec_cosine_ops"), postgresql_using="hnsw"
    ),
    "quantized": lambda t: on_expression(cast(func.binary_quantize(t.c.v), BIT(3)), "bit_hamming_ops"),
    "quantized by hand": lambda _: Index(
        "ix_a", text("(binary_quantize(v)::bit(3)) bit_jaccard_ops"), postgresql_using="hnsw"
    ),
    "subvector": lambda t: on_expression(cast(func.subvector(t.c.v, 1, 2), VECTOR(2)), "vector_cosine_ops"),
    "where text": lambda _: where(text("active AND n > 3")),
    "where expression": lambda t: where(t.c.active & (t.c.n > 3)),
    "where in": lambda t: where(t.c.n.in_([1, 2])),
    "where like": lambda t: where(t.c.name.like("a%")),
    "where percent": lambda _: where(text("name LIKE '100%'")),
    "where null": lambda t: where(t.c.name.is_(None)),
    "where quotes": lambda t: where(t.c.name == 'it\'s : \\ "so"'),
    "odd column": lambda _: hnsw("Em bed%ding", "vector_l2_ops"),
    "named by a convention": lambda _: hnsw_index("v"),
}


def table_of(form: Form | None = None, *, name: str = "items", schema: str | None = None,
             dimensions: int = 3, vector: UserDefinedType[Any] | None = None) -> MetaData:  # fmt: skip
    metadata = MetaData(naming_convention=CONVENTION, schema=schema)
    table = Table(
        name,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("active", Boolean),
        Column("n", Integer),
        Column("name", String(20)),
        Column("v", vector or VECTOR(dimensions)),
        Column("h", HALFVEC(3)),
        Column("b", BIT(3)),
        Column("s", SPARSEVEC(3)),
        Column("Em bed%ding", Vector(3)),
    )
    if form is not None:
        index = form(table)
        if index is not None and index.table is None:
            table.append_constraint(index)  # type: ignore[arg-type]  # any of a table's items; it has no public name
    return metadata


def made(engine: Engine, metadata: MetaData) -> None:
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL search_path = public, extensions"))
        metadata.create_all(connection)


def found(engine: Engine, metadata: MetaData) -> UpgradeOps:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        upgrade = produce_migrations(context, metadata).upgrade_ops
    assert upgrade is not None
    return upgrade


def engine_with(url: URL, home: str) -> Engine:
    """Return an engine of ours on a database that has the extension in that schema."""
    plain = sqlalchemy.create_engine(url, poolclass=NullPool)
    with plain.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {home}"))
        connection.execute(text(f"CREATE EXTENSION vector SCHEMA {home}"))
    return create_engine(url)


@pytest.fixture(scope="module")
def forms_engine(make_database: Callable[[], URL]) -> Iterator[Engine]:
    engine = engine_with(make_database(), "public")
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def off_path_engine(make_database: Callable[[], URL]) -> Iterator[Engine]:
    engine = engine_with(make_database(), "extensions")
    yield engine
    engine.dispose()


# Alembic itself gives up on an operator class that stands in the expression, and says so.
@pytest.mark.filterwarnings("ignore:Expression.*operator clause")
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("home", ["forms_engine", "off_path_engine"], ids=["on the path", "off the path"])
def test_no_difference_no_output(request: pytest.FixtureRequest, home: str, form: Form) -> None:
    engine = request.getfixturevalue(home)
    metadata = table_of(form)
    made(engine, metadata)
    try:
        assert found(engine, table_of(form)).as_diffs() == []
    finally:
        metadata.drop_all(engine)


CHANGES: dict[str, tuple[Form, Form]] = {
    "method": (FORMS["hnsw vector l2"], FORMS["ivfflat by its helper"]),
    "operator class": (FORMS["hnsw vector l2"], FORMS["hnsw vector ip"]),
    "m": (FORMS["hnsw vector l2"], FORMS["hnsw m"]),
    "ef_construction": (FORMS["hnsw m"], FORMS["hnsw m as text"]),
    "lists": (FORMS["ivfflat by its helper"], lambda _: ivfflat_index("v", lists=4, name="ix_a")),
    "a predicate comes": (FORMS["hnsw vector l2"], FORMS["where text"]),
    "a predicate changes": (FORMS["where like"], FORMS["where percent"]),
    "a predicate goes": (FORMS["where quotes"], FORMS["hnsw vector l2"]),
    "a column becomes an expression": (FORMS["hnsw vector l2"], FORMS["halfvec cast"]),
    "the dimension in an expression": (
        FORMS["subvector"],
        lambda t: on_expression(cast(func.subvector(t.c.v, 1, 1), VECTOR(1)), "vector_cosine_ops"),
    ),
    "an expression": (FORMS["halfvec cast by hand"], FORMS["quantized by hand"]),
    "the column": (FORMS["hnsw vector l2"], FORMS["odd column"]),
    "a btree becomes one": (lambda _: Index("ix_a", "n"), FORMS["hnsw m"]),
    "it becomes a btree": (FORMS["hnsw m"], lambda _: Index("ix_a", "n")),
    "it comes": (FORMS["none"], FORMS["where in"]),
    "it goes": (FORMS["quantized"], FORMS["none"]),
}


def apply(engine: Engine, upgrade: UpgradeOps) -> None:
    """Run what was found as a revision does: from its text."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": MetaData()})
        code = render_python_code(upgrade, migration_context=context)
        names = {"sa": sqlalchemy, "VECTOR": VECTOR, "HALFVEC": HALFVEC, "SPARSEVEC": SPARSEVEC, "BIT": BIT}
        with context.begin_transaction(), Operations.context(context) as op:
            exec(dedent("    " + code), names | {"op": op})  # noqa: S102 -- our own text


@pytest.mark.filterwarnings("ignore:Expression.*operator clause")
@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_found_and_mended(
    request: pytest.FixtureRequest, forms_engine: Engine, before: Form, after: Callable[[Table], Index]
) -> None:
    metadata = table_of(before)
    made(forms_engine, metadata)
    try:
        upgrade = found(forms_engine, table_of(after))
        assert len(upgrade.as_diffs()) == (2 if "btree" in request.node.name else 1)
        apply(forms_engine, upgrade)
        assert found(forms_engine, table_of(after)).as_diffs() == []
        apply(forms_engine, upgrade.reverse())  # type: ignore[arg-type]  # it takes either direction
        assert found(forms_engine, table_of(before)).as_diffs() == []
    finally:
        metadata.drop_all(forms_engine)


def test_an_invalid_index_is_found_and_mended(forms_engine: Engine) -> None:
    metadata = table_of(FORMS["hnsw m"])
    made(forms_engine, metadata)
    try:
        with forms_engine.begin() as connection:
            connection.execute(text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_a'::regclass"))
        upgrade = found(forms_engine, metadata)
        ((name, *_, keywords),) = upgrade.as_diffs()
        assert (name, keywords["replace"]) == ("create_vector_index", True)
        apply(forms_engine, upgrade)
        assert found(forms_engine, metadata).as_diffs() == []
    finally:
        metadata.drop_all(forms_engine)
