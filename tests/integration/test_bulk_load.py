"""A bulk load is as fast as COPY, whole or not at all, and leaves indexes and settings as its policy says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Engine,
    Enum,
    LargeBinary,
    NullPool,
    Numeric,
    SmallInteger,
    String,
    TypeDecorator,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import INT4RANGE, JSONB, REAL, TSVECTOR, Range
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pgcorpus.database import async_session_factory, create_async_engine, create_engine, session_factory
from pgcorpus.errors import DefinitionError, DocumentError, VectorError
from pgcorpus.models import Collection, Document, Vector, hnsw_index
from pgcorpus.repositories.scope import Scope
from pgcorpus.repositories.writing.drafts import Draft
from pgcorpus.repositories.writing.indexes import build_missing, is_missing
from pgcorpus.repositories.writing.loading import load
from pgcorpus.repositories.writing.writer import DocumentWriter
from pgcorpus.vectors import Array
from tests.support.vectors import random_vectors, unit

INDEX = "ix_documents_embedding"
SETTINGS = ("lock_timeout", "statement_timeout", "search_path", "maintenance_work_mem", "synchronous_commit")


def drafts(count: int, start: int = 0, dimensions: int = 1536) -> Iterator[Draft]:
    vectors = random_vectors(min(count, 50), dimensions, seed=start)
    for i in range(start, start + count):
        yield Draft(f"k{i}", f"text {i}", {"i": i}, vectors[i % len(vectors)])


def writer(session: Session) -> DocumentWriter:
    return DocumentWriter(session, Scope("c"))


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Document)) or 0


def index_oid(session: Session, name: str = INDEX) -> int | None:
    """The number of an index, which is another after a rebuild."""
    return session.scalar(text("SELECT to_regclass(:name)::oid"), {"name": f'pgcorpus."{name}"'})


def index_definition(session: Session) -> str | None:
    return session.scalar(text("SELECT indexdef FROM pg_indexes WHERE indexname = :name"), {"name": INDEX})


def settings(session: Session) -> list[Any]:
    return [session.scalar(text(f"SHOW {name}")) for name in SETTINGS]


@pytest.fixture
def own(engine: Engine) -> Iterator[Session]:
    """A session on a database of the test's own."""
    with session_factory(engine)() as session:
        yield session


# What is loaded


def test_documents_are_loaded_from_a_generator(session: Session) -> None:
    calls: list[int] = []
    assert writer(session).bulk_load(drafts(2_500), source="s", progress=calls.append) == 2_500
    assert calls == [1_000, 2_000, 2_500]
    row = session.scalars(select(Document).where(Document.key == "k7")).one()
    assert (row.content, row.meta, row.source, row.language, row.version) == ("text 7", {"i": 7}, "s", "english", 1)
    assert np.array_equal(row.embedding, random_vectors(50)[7])
    assert len(row.content_hash) == 32
    assert row.created_at is not None


def test_every_form_and_gaps_in_it_are_loaded(session: Session) -> None:
    mixed = [
        Draft(content="no key, no embedding"),
        Document(content="an instance", embedding=unit(1)),
        {"content": "a mapping", "key": "k", "position": 5, "source": "other"},
        Draft("l", "in a language", language="german"),
    ]
    assert writer(session).bulk_load(mixed, source="s") == 4
    rows = session.scalars(select(Document).order_by(Document.id)).all()
    assert [row.content for row in rows] == ["no key, no embedding", "an instance", "a mapping", "in a language"]
    assert [row.source for row in rows] == ["s", "s", "other", "s"]
    assert [row.language for row in rows] == ["english", "english", "english", "german"]
    assert [row.embedding is None for row in rows] == [True, False, True, True]
    assert UUID(rows[0].key)


def test_a_bad_document_stops_the_load_and_nothing_of_it_stays(session: Session) -> None:
    each = writer(session)
    for bad, kind, words in (
        (Draft("x", "\0"), DocumentError, "document 1500: the content holds a null character"),
        (Draft("x", "x", embedding=unit(0, 8)), VectorError, "document 1500: expected 1536 dimensions, not 8"),
        (Draft("k3", "x"), DocumentError, "stored already, or twice among these. upsert"),
        (Draft("x", "x", position="first"), DocumentError, "document 1500: the position"),  # type: ignore[arg-type]
    ):
        with pytest.raises(kind, match=words):
            each.bulk_load([*drafts(1_500), bad, *drafts(100, 2_000)])
        assert count(session) == 0
        assert session.scalar(select(func.count()).select_from(Collection)) == 0
    assert each.bulk_load(drafts(10)) == 10
    with pytest.raises(DocumentError, match="stored already"):
        each.bulk_load(drafts(1, 5))
    assert count(session) == 10


def test_a_duplicate_is_named_by_its_position_where_copy_tells_it(session: Session) -> None:
    if session.get_bind().dialect.driver != "psycopg":
        pytest.skip("an INSERT does not tell")
    with pytest.raises(DocumentError, match=r"^document 12: it is stored already.*\(c?.*k3"):
        writer(session).bulk_load([*drafts(12), Draft("k3", "x")])


def test_an_error_of_the_generator_or_of_the_callback_leaves_nothing(session: Session) -> None:
    def broken() -> Iterator[Draft]:
        yield from drafts(1_200)
        raise OSError("the disk is gone")

    def callback(_number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(OSError, match="the disk is gone"):
        writer(session).bulk_load(broken())
    with pytest.raises(KeyboardInterrupt):
        writer(session).bulk_load(drafts(1_200), progress=callback)
    assert count(session) == 0
    assert writer(session).bulk_load(drafts(3)) == 3


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_database_error_of_the_generators_own_is_raised_as_it_is(session: Session, wrapped: bool) -> None:
    """It reads from another database, by a driver or by SQLAlchemy."""
    error: Exception = psycopg.errors.UniqueViolation("of another database")
    if wrapped:
        error = IntegrityError("INSERT", {}, error)
    error.__cause__ = cause = OSError("the cause")

    def broken() -> Iterator[Draft]:
        yield from drafts(3)
        raise error

    with pytest.raises(type(error)) as caught:
        writer(session).bulk_load(broken())
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (cause, None)
    assert writer(session).bulk_load(drafts(3)) == 3


def test_what_was_pending_in_the_session_stays(session: Session) -> None:
    collection = Collection(name="pending", tenant_id="t")
    session.add(collection)
    with pytest.raises(DocumentError):
        writer(session).bulk_load([Draft("k")])
    assert collection in session
    assert collection.id


def test_a_table_with_row_security_is_loaded_by_insert(engine: Engine) -> None:
    with session_factory(engine).begin() as session:
        role = f"limited_{os.getpid()}"
        session.execute(text("ALTER TABLE pgcorpus.documents ENABLE ROW LEVEL SECURITY"))
        session.execute(text("CREATE POLICY everything ON pgcorpus.documents USING (true)"))
        session.execute(text(f"CREATE ROLE {role}"))
        session.execute(text(f"GRANT USAGE ON SCHEMA pgcorpus TO {role}"))
        session.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA pgcorpus TO {role}"))
        session.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA pgcorpus TO {role}"))
        session.execute(text(f"SET LOCAL ROLE {role}"))
        before = index_oid(session)
        assert writer(session).bulk_load(drafts(20)) == 20
        assert index_oid(session) == before  # not the owner's to drop
        session.rollback()


# The indexes


def test_an_empty_table_is_loaded_without_its_index_which_is_rebuilt_as_it_was(own: Session) -> None:
    oid, definition = index_oid(own), index_definition(own)
    writer(own).bulk_load(drafts(30))
    assert index_oid(own) not in (None, oid)
    assert index_definition(own) == definition
    own.rollback()
    assert index_oid(own) == oid
    assert count(own) == 0


@pytest.mark.parametrize(
    ("new", "known", "dropped"),
    [(24, True, False), (30, True, True), (30, False, False)],
)
def test_a_table_that_has_rows_is_loaded_without_the_index_only_if_it_pays(
    own: Session, new: int, known: bool, dropped: bool
) -> None:
    """What is new must be more than a quarter of what is there."""
    writer(own).bulk_load(drafts(100))
    own.commit()
    oid = index_oid(own)
    for analyze in (False, True):
        if analyze:
            own.execute(text("ANALYZE pgcorpus.documents"))
        writer(own).bulk_load(drafts(new, 1_000), expected=new if known else None)
        assert (index_oid(own) != oid) is dropped
        own.rollback()
    writer(own).bulk_load(list(drafts(60, 2_000)))
    assert index_oid(own) != oid


def test_keep_never_drops_and_defer_does_not_rebuild(own: Session, engine: Engine) -> None:
    oid = index_oid(own)
    writer(own).bulk_load(drafts(10), index="keep")
    assert index_oid(own) == oid
    writer(own).bulk_load(drafts(10, 100), index="defer")
    assert index_oid(own) is None
    own.commit()
    assert is_missing(engine, Document)
    build_missing(engine, Document)
    assert index_oid(own) is not None
    with pytest.raises(DefinitionError, match="auto, keep, defer, not 'drop'"):
        writer(own).bulk_load([], index="drop")


def test_a_failed_load_leaves_the_index(own: Session) -> None:
    oid = index_oid(own)
    for policy in ("auto", "defer"):
        with pytest.raises(DocumentError):
            writer(own).bulk_load([*drafts(20), Draft("bad")], index=policy)
        assert index_oid(own) == oid


def test_indexes_of_the_hosts_own_are_rebuilt_as_they_were(own: Session) -> None:
    name = 'my "%s" index'
    quoted = name.replace('"', '""')
    create = f'CREATE INDEX "{quoted}" ON pgcorpus.documents USING hnsw ((embedding::halfvec(1536)) halfvec_l2_ops)'
    own.connection().exec_driver_sql(create, execution_options={"no_parameters": True})
    own.commit()
    definitions = "SELECT indexdef FROM pg_indexes WHERE tablename = 'documents' ORDER BY indexname"
    before = own.scalars(text(definitions)).all()
    oid = own.scalar(select(func.to_regclass(f'pgcorpus."{quoted}"')))
    writer(own).bulk_load(drafts(20))
    assert own.scalars(text(definitions)).all() == before
    own.rollback()
    writer(own).bulk_load(drafts(20), index="defer")  # nobody could build that one again
    assert len(own.scalars(text(definitions)).all()) == len(before) - 1
    assert own.scalar(select(func.to_regclass(f'pgcorpus."{quoted}"'))) == oid


def test_a_rebuilt_index_has_its_comment_and_its_tablespace(own: Session, server_url: URL) -> None:
    space, comment = f"place {os.getpid()}", "the team's \\ 100 %s :index"
    admin = create_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("SET allow_in_place_tablespaces = on"))
        connection.execute(text(f"CREATE TABLESPACE \"{space}\" LOCATION ''"))
    own.execute(text(f'ALTER INDEX pgcorpus.{INDEX} SET TABLESPACE "{space}"'))
    own.execute(text("COMMENT ON INDEX pgcorpus.ix_documents_embedding IS 'the team''s \\ 100 %s \\:index'"))
    own.execute(text("CREATE INDEX plain ON pgcorpus.documents USING hnsw (embedding vector_l2_ops)"))
    own.execute(text(f"SET LOCAL default_tablespace = '{space}'"))
    oid = index_oid(own)
    writer(own).bulk_load(drafts(10))
    assert index_oid(own) != oid
    found = "SELECT obj_description(oid), (SELECT spcname FROM pg_tablespace WHERE oid = reltablespace) FROM pg_class"
    rows = own.execute(text(f"{found} WHERE relname IN ('{INDEX}', 'plain') ORDER BY relname")).all()
    assert [tuple(row) for row in rows] == [(comment, space), (None, None)]
    assert own.scalar(text("SHOW default_tablespace")) == space
    own.rollback()
    with admin.connect() as connection:
        connection.execute(text(f'DROP TABLESPACE "{space}"'))


def test_where_somebody_uses_the_table_the_index_stays(own: Session, engine: Engine) -> None:
    oid = index_oid(own)
    own.rollback()
    with session_factory(engine)() as reader:
        reader.execute(select(Document)).all()
        assert writer(own).bulk_load(drafts(10)) == 10
        assert index_oid(own) == oid
    own.rollback()
    cursor = own.connection().exec_driver_sql("DECLARE mine CURSOR FOR SELECT * FROM pgcorpus.documents")
    cursor.close()
    assert writer(own).bulk_load(drafts(10)) == 10
    assert index_oid(own) == oid


@pytest.mark.parametrize("policy", ["auto", "keep", "defer"])
def test_no_setting_is_left_behind(own: Session, policy: str) -> None:
    own.execute(text("SET LOCAL statement_timeout = '7s'"))
    own.execute(text("SET LOCAL lock_timeout = '9s'"))
    before = settings(own)
    writer(own).bulk_load(drafts(10), index=policy)
    assert settings(own) == before
    with pytest.raises(DocumentError):
        writer(own).bulk_load([*drafts(10, 100), Draft("bad")], index=policy)
    assert settings(own) == before
    own.rollback()
    assert settings(own)[:2] == ["0", "0"]


def test_a_load_may_take_longer_than_a_statement(own: Session) -> None:
    def slow() -> Iterator[Draft]:
        for each in drafts(4):
            threading.Event().wait(0.1)
            yield each

    own.execute(text("SET LOCAL statement_timeout = '150ms'"))
    assert writer(own).bulk_load(slow()) == 4


def test_two_loads_at_once_both_arrive(engine: Engine) -> None:
    failures: list[Exception] = []
    barrier = threading.Barrier(3)

    def work(number: int) -> None:
        try:
            barrier.wait()
            with session_factory(engine).begin() as session:
                writer(session).bulk_load(drafts(300, number * 1_000))
        except Exception as exc:  # noqa: BLE001 -- handed to the test
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with session_factory(engine)() as session:
        assert count(session) == 900
        assert index_oid(session) is not None


# Any mapped class


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Upper(TypeDecorator[str]):
    """Stores text in capitals."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Any) -> str | None:
        return value and value.upper()


class HostBase(DeclarativeBase):
    pass


class Product(HostBase):
    __tablename__ = "products"
    __table_args__ = (hnsw_index("embedding"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    embedding: Mapped[Array | None] = mapped_column(Vector(8))


class Wide(HostBase):
    __tablename__ = "wide"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    small: Mapped[int | None] = mapped_column(SmallInteger)
    big: Mapped[int | None] = mapped_column(BigInteger)
    single: Mapped[float | None] = mapped_column(REAL)
    double: Mapped[float | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    short: Mapped[str | None] = mapped_column(String(5))
    upper: Mapped[str | None] = mapped_column(Upper)
    colour: Mapped[Colour | None] = mapped_column(Enum(Colour))
    day: Mapped[date | None]
    flag: Mapped[bool | None]
    data: Mapped[bytes | None] = mapped_column(LargeBinary)
    token: Mapped[UUID | None]
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    numbers: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    extra: Mapped[Any] = mapped_column(JSONB, nullable=True)
    half: Mapped[Any] = mapped_column(HALFVEC(3), nullable=True)
    sparse: Mapped[Any] = mapped_column(SPARSEVEC(3), nullable=True)
    double_of_small: Mapped[int] = mapped_column(default=lambda context: 2 * context.get_current_parameters()["small"])
    embedding: Mapped[Array | None] = mapped_column(Vector(3))


class Odd(HostBase):
    """Columns that only SQLAlchemy's own INSERT can send."""

    __tablename__ = "odd"
    id: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[Any] = mapped_column(TSVECTOR, nullable=True)
    span: Mapped[Range[int] | None] = mapped_column(INT4RANGE)
    made: Mapped[Any] = mapped_column(String, default=func.current_user())
    embedding: Mapped[Array | None] = mapped_column(Vector(2))


@pytest.fixture
def host(own: Session, engine: Engine) -> Session:
    """A session on a database with the host's tables."""
    HostBase.metadata.create_all(engine)
    return own


def test_rows_of_any_mapped_class_are_loaded(host: Session) -> None:
    products: list[Any] = [
        {"name": "a", "embedding": unit(0, 8)},
        Product(name="b", embedding=unit(1, 8)),
        {"name": "c"},
        {"name": "d", "id": 77},
    ]
    oid = host.scalar(text("SELECT 'ix_products_embedding'::regclass::oid"))
    assert load(host, Product, products) == 4
    assert host.scalar(text("SELECT 'ix_products_embedding'::regclass::oid")) != oid
    rows = host.scalars(select(Product).order_by(Product.name)).all()
    assert [(row.id, row.name) for row in rows] == [(1, "a"), (2, "b"), (3, "c"), (77, "d")]
    assert np.array_equal(rows[1].embedding, unit(1, 8))


@pytest.mark.parametrize(
    ("bad", "kind", "words"),
    [
        ({"name": "a\0"}, DocumentError, "row 1: name holds a null character"),
        ({}, DocumentError, "row 1: there is no name"),
        ({"name": "x", "nam": 1}, DocumentError, "row 1: 'nam' is no attribute"),
        ({"name": 5}, DocumentError, "row 1"),
        ({"name": "x", "id": "five"}, DocumentError, ""),
        ({"name": "x", "embedding": [0.0] * 8}, VectorError, "row 1: a vector of length zero"),
        ({"name": "x", "id": 2**40}, DocumentError, ""),
        (5, DocumentError, "row 1: expected a Product or a mapping, not an integer"),
    ],
)
def test_a_row_that_cannot_be_stored_is_named(host: Session, bad: Any, kind: type[Exception], words: str) -> None:
    if bad == {"name": 5} and host.get_bind().dialect.driver == "psycopg2":
        pytest.skip("psycopg2 lets the server convert")
    with pytest.raises(kind) as caught:
        load(host, Product, [{"name": "first"}, bad])
    assert words in str(caught.value)
    assert load(host, Product, [{"name": "first"}]) == 1


def test_a_schema_for_each_tenant_is_loaded(host: Session, engine: Engine) -> None:
    host.execute(text("CREATE SCHEMA ta"))
    host.commit()
    theirs = engine.execution_options(schema_translate_map={None: "ta"})
    HostBase.metadata.create_all(theirs)
    find = text("SELECT to_regclass('ta.ix_products_embedding')::oid, to_regclass('ix_products_embedding')::oid")
    theirs_before, ours = host.execute(find).one()
    host.rollback()
    with Session(theirs) as session:
        assert load(session, Product, [{"name": "a", "embedding": unit(0, 8)}]) == 1
        rebuilt, untouched = session.execute(find).one()
        assert rebuilt not in (None, theirs_before)
        assert untouched == ours
        assert load(session, Product, [{"name": "b"}, {"name": "c"}], index="defer") == 2
        assert session.execute(find).one() == (None, ours)
        session.commit()
    assert is_missing(theirs, Product)
    build_missing(theirs, Product)
    assert not is_missing(theirs, Product)
    assert host.scalar(text("SELECT count(*) FROM ta.products")) == 3
    assert host.scalar(text("SELECT count(*) FROM public.products")) == 0


def test_row_security_is_looked_for_in_the_schema_of_the_tenant(host: Session, engine: Engine) -> None:
    theirs, role = engine.execution_options(schema_translate_map={None: "ta"}), f"tenant_{os.getpid()}"
    host.execute(text("CREATE SCHEMA ta"))
    host.commit()
    HostBase.metadata.create_all(theirs)
    with Session(theirs) as session:
        session.execute(text("ALTER TABLE ta.products ENABLE ROW LEVEL SECURITY"))
        session.execute(text("CREATE POLICY everything ON ta.products USING (true)"))
        session.execute(text(f"CREATE ROLE {role}"))
        session.execute(text(f"GRANT ALL ON SCHEMA ta TO {role}"))
        session.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA ta TO {role}"))
        session.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA ta TO {role}"))
        session.execute(text(f"SET LOCAL ROLE {role}"))
        assert load(session, Product, [{"name": "a"}]) == 1
        session.rollback()


def test_a_session_with_a_database_for_each_class_loads_into_the_right_one(
    host: Session, engine: Engine, empty_engine: Engine
) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION vector"))
    HostBase.metadata.create_all(empty_engine)
    with Session(engine, binds={Product: empty_engine}) as session, session.begin():
        assert load(session, Product, [{"name": "there", "embedding": unit(0, 8)}]) == 1
    with Session(empty_engine) as session:
        assert session.scalars(select(Product.name)).all() == ["there"]
    assert host.scalars(select(Product.name)).all() == []


def test_columns_of_every_kind_come_back_as_they_went(host: Session) -> None:
    values: dict[str, Any] = {
        "small": 7, "big": 2**40, "single": 0.5, "double": 0.1, "price": Decimal("9.90"), "short": "éé", "upper": "up",
        "colour": Colour.BLUE, "day": date(2026, 1, 31), "flag": True, "data": b"\0\xff", "token": uuid4(),
        "tags": ["a", None, 'b"'], "numbers": [1, 2**40], "extra": {"a": [1, None]},
    }  # fmt: skip
    vectors = {"half": [1.0, 0.5, 2.0], "sparse": [0.0, 0.0, 3.0], "embedding": [1.0, 2.0, 3.0]}
    assert load(host, Wide, [values | vectors, {"small": 1, "price": 1.5, "double": 2}]) == 2
    first, second = host.scalars(select(Wide).order_by(Wide.id)).all()
    assert {name: getattr(first, name) for name in values} == values | {"upper": "UP"}
    assert first.half == [1.0, 0.5, 2.0] or first.half.to_list() == [1.0, 0.5, 2.0]
    assert first.sparse.to_list() == [0.0, 0.0, 3.0]
    assert (first.double_of_small, second.double_of_small) == (14, 2)
    assert (second.price, second.double, second.extra) == (Decimal("1.50"), 2.0, None)
    with pytest.raises(DocumentError):
        load(host, Wide, [{"small": 1, "short": "too long"}])


def test_columns_without_a_binary_form_are_inserted(host: Session) -> None:
    rows = [{"words": "a b", "span": Range(1, 5), "embedding": [1, 0]}, {"embedding": [0, 1]}]
    assert load(host, Odd, rows) == 2
    first = host.scalars(select(Odd).order_by(Odd.id)).first()
    assert first is not None
    assert (first.words, first.span, first.made) == ("'a' 'b'", Range(1, 5), host.scalar(func.current_user()))


def test_copy_is_what_loads(host: Session) -> None:
    """Row by row it would be INSERTs, a thousandth as fast."""
    seen: list[str] = []
    event.listen(host.get_bind(), "before_cursor_execute", lambda *args: seen.append(args[2]))
    load(host, Product, ({"name": str(i), "embedding": unit(0, 8)} for i in range(1_000)))
    inserts = sum("INSERT" in each for each in seen)
    assert inserts == (0 if host.get_bind().dialect.driver == "psycopg" else 3)


# Async, memory, sudden death


def test_an_async_session_loads_by_copy(url: URL) -> None:
    async def main() -> None:
        engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
        async with async_session_factory(engine).begin() as session:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0)
                    ticks += 1

            task = asyncio.create_task(tick())
            assert await session.run_sync(lambda s: writer(s).bulk_load(drafts(3_000))) == 3_000
            task.cancel()
            assert ticks > 10  # the loop was not blocked
            with pytest.raises(DocumentError, match="document 1: it is stored already"):
                await session.run_sync(lambda s: writer(s).bulk_load([*drafts(1, 5_000), *drafts(1)]))
            assert await session.run_sync(count) == 3_000
        await engine.dispose()

    asyncio.run(main())


LOAD = """
    import resource, sys
    import numpy as np
    from pgcorpus.database import create_engine, session_factory
    from pgcorpus.repositories.writing.drafts import Draft
    from pgcorpus.repositories.scope import Scope
    from pgcorpus.repositories.writing.writer import DocumentWriter

    def drafts(count):
        random = np.random.default_rng(0)
        for i in range(count):
            yield Draft(f"k{i}", f"text {i}", {"i": i}, random.standard_normal(1536, dtype=np.float32))

    engine = create_engine(sys.argv[1])
    with session_factory(engine).begin() as session:
        writer = DocumentWriter(session, Scope("c"))
        print(writer.bulk_load(drafts(int(sys.argv[2])), index="defer", progress=lambda n: print(n, flush=True)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_hundred_thousand_documents_take_less_than_500_megabytes(url: URL) -> None:
    if "psycopg2" in url.drivername:
        pytest.skip("as text it takes minutes, in the same pages")
    command = [sys.executable, "-c", textwrap.dedent(LOAD), url.render_as_string(hide_password=False), "100000"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert lines[-2] == "100000"
    assert int(lines[-1]) < 500


def test_a_loader_that_is_killed_leaves_table_and_index_as_they_were(url: URL, own: Session) -> None:
    oid = index_oid(own)
    own.rollback()
    command = [sys.executable, "-c", textwrap.dedent(LOAD), url.render_as_string(hide_password=False), "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    assert index_oid(own) == oid
    assert count(own) == 0


def test_a_second_engine_with_prepared_statements_off_loads_too(url: URL) -> None:
    engine = create_engine(url, pgbouncer=True)
    with session_factory(engine).begin() as session:
        assert writer(session).bulk_load(drafts(100)) == 100
    engine.dispose()
