"""Autogenerate on a real database: what is equal says nothing, what differs becomes an operation that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from textwrap import dedent
from typing import Any

import pgvector.sqlalchemy
import pytest
import sqlalchemy
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import UpgradeOps
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Engine,
    Index,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    TypeDecorator,
    cast,
    func,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL
from sqlalchemy.types import UserDefinedType

from pgcorpus import autogenerate
from pgcorpus.autogenerate.operations import AlterVectorDimensionsOp
from pgcorpus.database import create_engine
from pgcorpus.errors import DatabaseError
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
        names = {
            "sa": sqlalchemy,
            "VECTOR": VECTOR,
            "HALFVEC": HALFVEC,
            "SPARSEVEC": SPARSEVEC,
            "BIT": BIT,
            "pgvector": pgvector,
        }
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


# What changes together


def columns(dimensions: int, *indexes: Index, type_: Any = VECTOR, more: tuple[Column[Any], ...] = ()) -> MetaData:
    metadata = MetaData()
    Table("items", metadata, Column("id", Integer, primary_key=True), Column("v", type_(dimensions)), *more, *indexes)
    return metadata


def plain() -> Index:
    return Index("ix_v", "v", postgresql_using="hnsw", postgresql_ops={"v": "vector_l2_ops"})


def as_halfvec(dimensions: int) -> Index:
    return Index("ix_v", text(f"(v::halfvec({dimensions})) halfvec_l2_ops"), postgresql_using="hnsw")


def legacy() -> Column[Any]:
    return Column("legacy", Integer)


TOGETHER: dict[str, tuple[Callable[[], MetaData], Callable[[], MetaData]]] = {
    "a dimension and the expression on it": (lambda: columns(30, as_halfvec(30)), lambda: columns(15, as_halfvec(15))),
    "too long for the index, which becomes halfvec": (
        lambda: columns(1500, plain()), lambda: columns(3000, as_halfvec(3000))
    ),
    "too long for the index, which goes": (lambda: columns(1500, plain()), lambda: columns(3000)),
    "another type, and the index goes": (lambda: columns(3, plain()), lambda: columns(3, type_=HALFVEC)),
    "a column that the predicate names goes": (
        lambda: columns(3, hnsw("v", "vector_l2_ops", where=text("legacy > 1")), more=(legacy(),)),
        lambda: columns(3, hnsw("v", "vector_l2_ops")),
    ),
    "a column that the predicate names comes": (
        lambda: columns(3, hnsw("v", "vector_l2_ops")),
        lambda: columns(3, hnsw("v", "vector_l2_ops", where=text("legacy > 1")), more=(legacy(),)),
    ),
    "a column and its index": (
        lambda: columns(3),
        lambda: columns(3, Index("ix_w", "w", postgresql_using="hnsw", postgresql_ops={"w": "halfvec_l2_ops"}),
                        more=(Column("w", HALFVEC(4)),)),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Expression.*operator clause")
@pytest.mark.parametrize(("before", "after"), TOGETHER.values(), ids=TOGETHER)
def test_there_and_back(forms_engine: Engine, before: Callable[[], MetaData], after: Callable[[], MetaData]) -> None:
    metadata = before()
    made(forms_engine, metadata)
    try:
        upgrade = found(forms_engine, after())
        apply(forms_engine, upgrade)
        assert found(forms_engine, after()).as_diffs() == []
        apply(forms_engine, upgrade.reverse())
        assert found(forms_engine, before()).as_diffs() == []
    finally:
        metadata.drop_all(forms_engine)


@pytest.mark.filterwarnings("ignore:Expression.*operator clause")
def test_a_dimension_and_the_expression_on_it_change_with_the_vectors(forms_engine: Engine) -> None:
    metadata = columns(4, as_halfvec(4))
    made(forms_engine, metadata)
    try:
        with forms_engine.begin() as connection:
            connection.execute(text("INSERT INTO items VALUES (1, '[3,4,0,0]')"))
        upgrade = found(forms_engine, columns(2, as_halfvec(2)))
        for op in upgrade.ops:
            if isinstance(op, AlterVectorDimensionsOp):
                op.how = "truncate"
        apply(forms_engine, upgrade)
        assert found(forms_engine, columns(2, as_halfvec(2))).as_diffs() == []
    finally:
        metadata.drop_all(forms_engine)


def test_a_column_that_goes_costs_an_index_on_another_nothing(forms_engine: Engine) -> None:
    """The index is changed while it serves, and not dropped and built under the lock of the table."""
    metadata = columns(3, hnsw("v", "vector_l2_ops"), more=(legacy(),))
    made(forms_engine, metadata)
    try:
        upgrade = found(forms_engine, columns(3, hnsw("v", "vector_l2_ops", **{"with": {"m": 8}})))
        name, *_, keywords = upgrade.as_diffs()[0]
        assert (name, keywords["replace"], keywords.get("concurrently", True)) == ("create_vector_index", True, True)
    finally:
        metadata.drop_all(forms_engine)


def test_under_another_name_the_new_index_comes_before_the_old_one_goes(forms_engine: Engine) -> None:
    metadata = columns(3, plain())
    made(forms_engine, metadata)
    try:
        renamed = Index("ix_z", "v", postgresql_using="hnsw", postgresql_ops={"v": "vector_l2_ops"})
        upgrade = found(forms_engine, columns(3, renamed))
        assert [diff[0] for diff in upgrade.as_diffs()] == ["create_vector_index", "drop_vector_index"]
    finally:
        metadata.drop_all(forms_engine)


@pytest.mark.parametrize("predicate", ["items.n > 3", "(items.n > 3)"])
def test_a_predicate_may_name_the_table(forms_engine: Engine, predicate: str) -> None:
    metadata = table_of(lambda _: where(text(predicate)))
    made(forms_engine, metadata)
    try:
        assert found(forms_engine, metadata).as_diffs() == []
    finally:
        metadata.drop_all(forms_engine)


# Types of the host's own


class Embedding(TypeDecorator[Any]):
    impl = VECTOR
    cache_ok = True


OWN_TYPES: dict[str, Callable[[int], Any]] = {
    "a decorator": Embedding,
    "a variant": lambda n: JSON().with_variant(VECTOR(n), "postgresql"),
    "with a variant": lambda n: VECTOR(n).with_variant(JSON(), "sqlite"),
}


@pytest.mark.parametrize("own", OWN_TYPES.values(), ids=OWN_TYPES)
def test_a_type_of_the_hosts_own_counts_as_what_it_stores(empty_engine: Engine, own: Callable[[int], Any]) -> None:
    upgrade = found(empty_engine, columns(3, type_=own))
    assert upgrade.as_diffs()[0][0] == "enable_extension"
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION vector"))
    columns(3, type_=own).create_all(empty_engine)
    assert found(empty_engine, columns(3, type_=own)).as_diffs() == []
    assert found(empty_engine, columns(4, type_=own)).as_diffs() == [
        ("alter_vector_dimensions", "items", "v", 4, {"existing_dimensions": 3})
    ]


def test_an_array_of_vectors_takes_the_extension(empty_engine: Engine) -> None:
    upgrade = found(empty_engine, columns(3, type_=lambda n: ARRAY(VECTOR(n))))
    assert upgrade.as_diffs()[0][0] == "enable_extension"


def test_a_plain_bit_is_alembics_business(forms_engine: Engine) -> None:
    metadata = columns(8, type_=postgresql.BIT)
    made(forms_engine, metadata)
    try:
        assert found(forms_engine, columns(16, type_=postgresql.BIT)).as_diffs()[0][0][0] == "modify_type"
    finally:
        metadata.drop_all(forms_engine)


def test_what_is_written_as_the_server_prints_it_takes_no_temporary_table(empty_engine: Engine) -> None:
    role = f"plain_{empty_engine.url.database}"
    metadata = columns(3, plain())
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION vector"))
        connection.execute(text(f"CREATE ROLE {role}"))
        connection.execute(text(f"REVOKE TEMPORARY ON DATABASE {empty_engine.url.database} FROM PUBLIC"))
    metadata.create_all(empty_engine)
    engine = create_engine(empty_engine.url, poolclass=NullPool, connect_args={"options": f"-c role={role}"})
    try:
        assert found(engine, metadata).as_diffs() == []
        with pytest.raises(DatabaseError, match="TEMPORARY on the database"):
            found(engine, columns(3, hnsw("v", "vector_l2_ops", where=text("id > 1")), plain()))
    finally:
        with empty_engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
