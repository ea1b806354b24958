"""A host's own tables keep their vectors in the row, as ours does, however the model was declared."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from sqlalchemy import BigInteger, Column, Engine, MetaData, Table, insert, text
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from pgcorpus.database import create_async_engine, session_factory
from pgcorpus.models import DocumentMixin, Vector, VectorMapped, vector_column
from pgcorpus.models.storage import STORAGE, STORAGE_IN_ROW
from pgcorpus.repositories import DocumentRepository
from pgcorpus.vectors import Array
from tests.support.vectors import random_vectors

IN_ROW = ({"embedding": "m"}, ["toast_tuple_target=8160"])
ODD = 'Odd "Näme"; 100%'

Embedding = Annotated[Any, vector_column(8)]


class Base(DeclarativeBase):
    metadata = MetaData()


class Article(DocumentMixin, Base):
    __tablename__ = "articles"
    embedding: VectorMapped[Array | None] = vector_column(1536)


class Numbered:
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class Mixed(Numbered):
    embedding: Mapped[Any] = vector_column(8)


class Computed(Numbered):
    @declared_attr
    def embedding(cls) -> Mapped[Any]:  # noqa: N805 -- a declared_attr's convention
        return vector_column(8)  # type: ignore[no-any-return]


class FromMixin(Mixed, Base):
    __tablename__ = "from_mixin"


class FromFunction(Computed, Base):
    __tablename__ = "from_function"


class FromAnnotation(Numbered, Base):
    __tablename__ = "from_annotation"
    embedding: Mapped[Embedding]


class Two(Numbered, Base):
    __tablename__ = "two"
    title: VectorMapped[Array | None] = vector_column(8)
    body: VectorMapped[Array] = vector_column(8, nullable=False)


class Outside(Numbered, Base):
    __tablename__ = "outside"
    embedding: VectorMapped[Array | None] = vector_column(8, in_row=False)
    plain: Mapped[Any] = mapped_column(Vector(8))
    large: VectorMapped[Array | None] = vector_column(3072)


class Part(DocumentMixin, Base):
    __tablename__ = "parts"
    embedding: VectorMapped[Array | None] = vector_column(8)

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805
        return (*super().__table_args__, {"postgresql_partition_by": "HASH (collection_id)"})


def storage(engine: Engine, table: str) -> tuple[dict[str, str], list[str] | None]:
    """Return the modes of a table's vector columns, and the table's options."""
    columns = text(
        "SELECT attname, attstorage::text FROM pg_attribute"
        " WHERE attrelid = to_regclass(:table) AND atttypid = to_regtype('vector')"
    )
    options = text("SELECT reloptions FROM pg_class WHERE oid = to_regclass(:table)")
    with engine.connect() as connection:
        modes = {row.attname: row.attstorage for row in connection.execute(columns, {"table": table})}
        return modes, connection.scalar(options, {"table": table})


def test_a_hosts_vectors_lie_in_the_row(engine: Engine) -> None:
    Base.metadata.create_all(engine, [Article.__table__])
    assert storage(engine, "articles") == IN_ROW
    with session_factory(engine).begin() as session:
        articles = [Article(content="x " * 9_000, embedding=vector) for vector in random_vectors(5)]
        DocumentRepository(session, model=Article).add_many(articles)
    with engine.connect() as connection:
        sizes = "SELECT pg_relation_size('articles'), pg_relation_size(reltoastrelid) FROM pg_class"
        heap, toast = connection.execute(text(f"{sizes} WHERE relname = 'articles'")).one()
    assert (heap, toast) == (5 * 8192, 0)


@pytest.mark.parametrize("model", [FromMixin, FromFunction, FromAnnotation])
def test_it_is_so_however_the_column_came_to_the_table(engine: Engine, model: type[Base]) -> None:
    Base.metadata.create_all(engine, [model.__table__])
    assert storage(engine, model.__tablename__) == IN_ROW


def test_a_table_of_two_vectors_gets_both(engine: Engine) -> None:
    Base.metadata.create_all(engine, [Two.__table__])
    assert storage(engine, "two") == ({"title": "m", "body": "m"}, ["toast_tuple_target=8160"])


def test_who_asks_for_nothing_keeps_what_postgresql_does(engine: Engine) -> None:
    """A vector that is too long for a page would only be compressed in vain."""
    Base.metadata.create_all(engine, [Outside.__table__])
    assert storage(engine, "outside") == ({"embedding": "e", "plain": "e", "large": "e"}, None)


def test_a_translated_schema_is_followed(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA tenant"))
    translated = engine.execution_options(schema_translate_map={None: "tenant"})
    Base.metadata.create_all(translated, [Two.__table__])
    assert storage(engine, "tenant.two")[1] == ["toast_tuple_target=8160"]
    assert storage(engine, "public.two") == ({}, None)


def test_a_copy_of_the_table_is_stored_alike(engine: Engine) -> None:
    Two.__table__.to_metadata(MetaData(), name="copied").create(engine)
    assert storage(engine, "copied") == ({"title": "m", "body": "m"}, ["toast_tuple_target=8160"])


def test_odd_names_are_quoted(engine: Engine) -> None:
    column: Column[Any] = Column(f"{ODD}?", Vector(8), info={STORAGE: STORAGE_IN_ROW})
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "O\'dd"'))
    table = Table(ODD, MetaData(), column, schema="O'dd")
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(insert(table), {column.name: [1.0] * 8})
    quoted = '"O\'dd"."Odd ""Näme""; 100%"'
    assert storage(engine, quoted) == ({f"{ODD}?": "m"}, ["toast_tuple_target=8160"])


def test_a_table_that_is_there_is_left_alone(engine: Engine) -> None:
    Base.metadata.create_all(engine, [Two.__table__])
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE two RESET (toast_tuple_target)"))
    Base.metadata.create_all(engine, [Two.__table__])
    assert storage(engine, "two")[1] is None


def test_partitions_take_over_the_mode_and_the_target_is_theirs_to_set(engine: Engine) -> None:
    """A partitioned table refuses the target: it has no rows."""
    Base.metadata.create_all(engine, [Part.__table__])
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
                " WITH (toast_tuple_target = 8160)"
            )
        )
    assert storage(engine, "parts") == ({"embedding": "m"}, None)
    assert storage(engine, "parts_0") == IN_ROW


def test_an_async_engine_creates_the_same(engine: Engine) -> None:
    async def create() -> None:
        asynchronous = create_async_engine(engine.url.set(drivername="postgresql+psycopg"))
        async with asynchronous.begin() as connection:
            await connection.run_sync(Base.metadata.create_all, [Two.__table__])
        await asynchronous.dispose()

    asyncio.run(create())
    assert storage(engine, "two")[1] == ["toast_tuple_target=8160"]
