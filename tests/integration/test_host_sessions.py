"""A search is a guest in the host's session: it loses, hides and breaks nothing of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import Computed, Engine, Text, bindparam, event, func, select, text
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, with_loader_criteria

from pgcorpus.database import (
    async_autocommit,
    async_session_factory,
    autocommit,
    create_async_engine,
    create_engine,
    session_factory,
)
from pgcorpus.errors import SearchError
from pgcorpus.models import Document, Metric, VectorMapped, hnsw_index, vector_column
from pgcorpus.repositories import AsyncDocumentRepository, DocumentRepository, VectorRepository
from pgcorpus.vectors import Array
from tests.support.vectors import random_vectors, unit


class HostBase(DeclarativeBase):
    """A host's models."""


class Thing(HostBase):
    """With a type that psycopg reads as text only, a computed column, a large one, and two vectors."""

    __tablename__ = "things"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(CITEXT)
    lower: Mapped[str | None] = mapped_column(Text, Computed("lower(body)"))
    body: Mapped[str | None] = mapped_column(Text, deferred=True)
    vector: VectorMapped[Array | None] = vector_column(3)
    other: VectorMapped[Array | None] = vector_column(3)
    __table_args__ = (hnsw_index("vector"),)


class Chunk(HostBase):
    """Whose key repeats in its last column."""

    __tablename__ = "chunks"

    document: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    author: Mapped[str | None]
    vector: VectorMapped[Array | None] = vector_column(3)


@pytest.fixture
def host(engine: Engine) -> Engine:
    with engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION citext"))
    HostBase.metadata.create_all(engine)
    with session_factory(engine).begin() as session:
        vectors = random_vectors(6, 3)
        session.add_all([Thing(name=f"Thing {i}", body=f"B{i}", vector=v, other=-v) for i, v in enumerate(vectors)])
        session.add_all([Chunk(document=d, number=1, vector=v) for d, v in zip("abcdef", vectors, strict=True)])
    return engine


def things(session: Session) -> VectorRepository[Thing]:
    return VectorRepository(session, Thing, "vector")


# What the session has pending


@pytest.mark.parametrize("options", [{}, {"timeout": 30}, {"ef_search": 99}])
@pytest.mark.parametrize("entities", [False, True])
@pytest.mark.parametrize("view", [lambda engine: engine, autocommit])
def test_a_search_sees_what_is_pending_and_does_not_lose_it(
    engine: Engine, options: dict[str, Any], entities: bool, view: Callable[[Engine], Engine]
) -> None:
    with session_factory(engine).begin() as session:
        stored = DocumentRepository(session, "c").add(Document(key="stored", content="s", embedding=unit(0)))
    with session_factory(view(engine))() as session:
        repository = DocumentRepository(session, "c")
        repository.search(unit(0))
        session.add(Document(collection_id=stored.collection_id, key="pending", content="p", embedding=unit(0)))
        found = repository.search(unit(0), entities=entities, **options)
        assert {hit.document.key for hit in found} == {"stored", "pending"}
        session.commit()
    with session_factory(engine)() as session:
        assert DocumentRepository(session, "c").count() == 2
        session.delete(DocumentRepository(session, "c").get_by_key("stored"))
        assert [hit.document.key for hit in DocumentRepository(session, "c").search(unit(0))] == ["pending"]


def test_a_session_without_autoflush_is_not_flushed(engine: Engine) -> None:
    with Session(engine, autoflush=False) as session:
        stored = DocumentRepository(session, "c").add(Document(key="stored", content="s", embedding=unit(0)))
        session.add(Document(collection_id=stored.collection_id, key="pending", content="p", embedding=unit(0)))
        for entities in (False, True):
            hits = DocumentRepository(session, "c").search(unit(0), entities=entities)
            assert [hit.document.key for hit in hits] == ["stored"]


# What stands between the session and the driver


def test_criteria_of_the_session_hide_rows_from_every_search(host: Engine) -> None:
    with session_factory(host)() as session:

        @event.listens_for(session, "do_orm_execute")
        def _hide(state: Any) -> None:
            state.statement = state.statement.options(with_loader_criteria(Thing, Thing.id <= 2))

        for options in ({}, {"exact": True}, {"entities": True}, {"where": {"id": {"$gt": 0}}}):
            assert {hit.document.id for hit in things(session).search(unit(0, 3), **options)} == {1, 2}


def test_whoever_listens_to_statements_hears_the_searches(engine: Engine) -> None:
    with session_factory(engine)() as session:
        repository = DocumentRepository(session)
        repository.add(Document(content="x", embedding=unit(0)))
        quiet = repository.search(unit(0))
        heard: list[str] = []
        event.listen(engine, "before_cursor_execute", record := lambda *args: heard.append(args[2]))
        assert repository.search(unit(0)) == quiet
        event.remove(engine, "before_cursor_execute", record)
        assert len([each for each in heard if "<=>" in each]) >= 1


def test_a_session_with_a_database_for_each_class_searches_the_right_one(
    host: Engine, make_database: Callable[..., URL], template: str
) -> None:
    other = create_engine(make_database(template))
    with other.begin() as connection:
        connection.execute(text("CREATE EXTENSION citext"))
    HostBase.metadata.create_all(other)
    with Session(host, binds={Thing: other}) as session:
        session.add(Thing(name="there", vector=unit(0, 3)))
        session.flush()
        for options in ({}, {"entities": True}, {"where": {"name": "there"}}, {"ef_search": 9}):
            assert [hit.document.name for hit in things(session).search(unit(0, 3), **options)] == ["there"]
        assert things(session).explain(unit(0, 3), 1).returned == 1
    with Session(binds={Thing: host}) as session:
        assert len(things(session).search(unit(0, 3))) == 6
    other.dispose()


def test_a_schema_for_each_tenant_is_searched(host: Engine) -> None:
    with host.begin() as connection:
        connection.execute(text("CREATE SCHEMA ta"))
        connection.execute(text("CREATE TABLE ta.things (LIKE things INCLUDING ALL)"))
        connection.execute(text("INSERT INTO ta.things (id, name, vector) VALUES (1, 'theirs', '[1,0,0]')"))
    for schema, count in ((None, 6), ("ta", 1)):
        with Session(host.execution_options(schema_translate_map={None: schema})) as session:
            for options in ({}, {"entities": True}, {"where": {"id": {"$gt": 0}}}):
                assert len(things(session).search(unit(0, 3), **options)) == count


# When the connection is lost


def terminate(url: URL, pid: int) -> None:
    killer = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with killer.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    killer.dispose()


@pytest.mark.parametrize("options", [{}, {"timeout": 30}, {"ef_search": 99}])
def test_after_a_lost_connection_the_session_goes_on(engine: Engine, options: dict[str, Any]) -> None:
    with session_factory(engine).begin() as session:
        DocumentRepository(session).add(Document(content="x", embedding=unit(0)))
    with session_factory(engine)() as session:
        repository = DocumentRepository(session)
        repository.search(unit(0))
        terminate(engine.url, session.scalar(text("SELECT pg_backend_pid()")) or 0)
        with pytest.raises(DBAPIError) as caught:
            repository.search(unit(0), **options)
        assert caught.value.connection_invalidated
        session.rollback()
        assert len(repository.search(unit(0), **options)) == 1


@pytest.mark.parametrize("without_transaction", [False, True])
@pytest.mark.parametrize("options", [{}, {"timeout": 50.0}, {"ef_search": 200}])
def test_a_cancelled_search_is_a_cancellation(url: URL, without_transaction: bool, options: dict[str, Any]) -> None:
    slow = func.pg_sleep(0.5 + 0 * Document.id).is_not(None)

    async def main() -> None:
        engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
        async with async_session_factory(engine).begin() as session:
            await AsyncDocumentRepository(session).add_many(
                [Document(content=str(i), embedding=v) for i, v in enumerate(random_vectors(20))]
            )
        view = async_autocommit(engine) if without_transaction else engine
        async with async_session_factory(view)() as session:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await AsyncDocumentRepository(session).search(unit(0), exact=True, where=slow, **options)
        async with async_session_factory(view)() as session:
            assert len(await AsyncDocumentRepository(session).search(unit(0), 5)) == 5
        await engine.dispose()

    asyncio.run(main())


# Classes of every kind


def test_a_type_that_psycopg_reads_as_text_comes_as_text(host: Engine) -> None:
    with session_factory(host)() as session:
        for _ in range(2):
            names = [hit.document.name for hit in things(session).search(unit(0, 3))]
            assert sorted(names) == [f"Thing {i}" for i in range(6)]


def test_rows_without_a_group_are_each_their_own_whatever_their_key(host: Engine) -> None:
    with session_factory(host)() as session:
        for exact in (False, True):
            hits = VectorRepository(session, Chunk).search(unit(0, 3), group_by="author", exact=exact)
            assert len(hits) == 6


def test_what_is_exported_can_be_loaded_again(host: Engine) -> None:
    with session_factory(host)() as session:
        rows = [dict(row) for row in things(session).export()]
        assert set(rows[0]) == {"id", "name", "body", "vector", "other"}
        things(session).delete(everything=True)
        assert things(session).bulk_load(rows) == 6
        again = [dict(row) for row in things(session).export()]
        assert [row["body"] for row in again] == [row["body"] for row in rows]
        assert all(np.array_equal(a["other"], b["other"]) for a, b in zip(again, rows, strict=True))


def test_documents_that_are_exported_can_be_loaded_into_another_collection(session: Session) -> None:
    source = DocumentRepository(session, "one")
    source.add_many([Document(key=str(i), content=str(i), meta={"i": i}, embedding=unit(i)) for i in range(5)])
    DocumentRepository(session, "two").bulk_load(source.export(), index="keep")
    assert DocumentRepository(session, "three").upsert(source.export()).inserted == 5
    for name in ("two", "three"):
        hit = DocumentRepository(session, name).search(unit(3), 1, include_embedding=True)[0]
        assert (hit.document.key, hit.document.meta) == ("3", {"i": 3})
        assert np.array_equal(hit.document.embedding, unit(3))


# Names and values


def test_a_hosts_own_parameters_do_not_meet_ours(host: Engine) -> None:
    with session_factory(host)() as session:
        repository = things(session)
        close = Thing.vector.l2_distance(unit(0, 3)) < 1_000
        assert [len(hits) for hits in repository.search_many([unit(0, 3), unit(1, 3)], where=close)] == [6, 6]
        for name in ("vector", "query", "scope_id", "language", "hits"):
            assert len(repository.search(unit(0, 3), where=Thing.id >= bindparam(name, 1))) == 6


def test_one_form_of_filter_with_other_values_is_another_search(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.add_many([Document(content=str(i), meta={"i": i}, embedding=unit(i)) for i in range(4)])
    for i in range(4):
        for where in (
            {"meta.i": i},
            {"meta.i": {"$in": [i]}},
            Document.content == str(i),
            Document.content.in_([str(i)]),
            Document.content.in_(select(func.cast(str(i), Text))) if i < 0 else Document.content.like(str(i)),
        ):
            assert [hit.document.content for hit in repository.search(unit(0), where=where)] == [str(i)]


@pytest.mark.parametrize(
    "use",
    [
        lambda r: r.search(unit(0), columns=["id", "id"]),
        lambda r: r.search(unit(0), group_by=["source"]),
        lambda r: r.list(after="abc"),
        lambda r: r.get("abc"),
        lambda r: r.search_like("abc"),
        lambda r: r.search_text(5),
        lambda r: r.search_text("x", highlight=("a", "b", "c")),
    ],
)
def test_nonsense_is_refused_before_the_server_is_asked(session: Session, use: Callable[[Any], Any]) -> None:
    repository = DocumentRepository(session)
    repository.add(Document(content="x", embedding=unit(0)))
    with pytest.raises(SearchError):
        use(repository)
    assert repository.count() == 1, "the transaction goes on"


def test_a_score_may_be_any_number_and_holds_before_diversity_chooses(session: Session) -> None:
    repository = DocumentRepository(session)
    near = [unit(0) + 0.01 * unit(1 + i) for i in range(10)]
    far = [unit(100 + i) for i in range(10)]
    repository.add_many([Document(content=str(i), embedding=v) for i, v in enumerate([*near, *far])])
    for options in ({}, {"diversify": 0.7}):
        assert len(repository.search(unit(0), 5, min_score=0.5, **options)) == 5  # type: ignore[arg-type]
    assert len(repository.search(unit(0), 20, min_score=np.float32(0.5))) == 10  # type: ignore[arg-type]


def test_a_collection_whose_metric_or_language_changed_is_searched_by_it(engine: Engine) -> None:
    factory = session_factory(engine)
    with factory.begin() as session:
        DocumentRepository(session, "c").add(Document(content="Die Häuser", language="german", embedding=unit(0)))
    with factory() as session:
        assert DocumentRepository(session, "c").search(unit(0)).metric is Metric.COSINE
        assert DocumentRepository(session, "c").search_text("Häusern") == []
    with factory.begin() as session:
        collection = DocumentRepository(session, "c").collection()
        collection.distance, collection.language = "l2", "german"
    with factory() as session:
        assert DocumentRepository(session, "c").search(unit(0)).metric is Metric.L2
        assert len(DocumentRepository(session, "c").search_text("Häusern")) == 1


def test_a_hybrid_searchs_vectors_are_complete_too(session: Session) -> None:
    """The words alone would fill the answer, and nobody would see that the index gave up."""
    crowd = unit(0) + 0.001 * random_vectors(600)
    DocumentRepository(session, "crowd").add_many([Document(content="x", embedding=v) for v in crowd])
    mine = DocumentRepository(session, "mine")
    mine.add_many([Document(key=f"k{i}", content=f"word {i}", embedding=unit(5 + i)) for i in range(60)])
    session.execute(
        text(
            "SET LOCAL hnsw.max_scan_tuples = 1; SET LOCAL enable_seqscan = off; "
            "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_indexscan = on"
        )
    )
    hits = mine.search_hybrid("word", unit(0) + unit(15), 5, ef_search=1, weights=(100, 1))
    assert (hits[0].document.key, hits[0].vector_rank) == ("k10", 1)


# What is kept


@pytest.fixture
def small_engine(url: URL) -> Iterator[Engine]:
    engine = create_engine(url, pool_size=1)
    yield engine
    engine.dispose()


def test_the_first_search_of_its_kind_works_in_a_pipeline(small_engine: Engine) -> None:
    if small_engine.dialect.driver != "psycopg":
        assert small_engine.dialect.driver == "psycopg2", "which has no pipelines"
        return
    with session_factory(small_engine)() as session:
        repository = DocumentRepository(session)
        repository.add(Document(content="x", embedding=unit(0)))
        repository.search(unit(0))
        driver_connection: Any = session.connection().connection.driver_connection
        with driver_connection.pipeline():
            for options in ({}, {"ef_search": 9}, {"where": {"content": "x"}}, {"timeout": 9}):
                assert len(repository.search(unit(0), 77, exact=True, **options)) == 1


def test_a_large_result_is_not_kept(small_engine: Engine) -> None:
    with session_factory(small_engine)() as session:
        repository = DocumentRepository(session)
        repository.bulk_load([{"content": "x", "embedding": v} for v in random_vectors(1_200)], index="keep")
        assert len(repository.search(unit(0), 1_100, include_embedding=True)) == 1_100
        assert "pgcorpus_cursor" not in session.connection().info


def test_an_engine_that_is_gone_is_not_kept(url: URL) -> None:
    engine = create_engine(url)
    with session_factory(engine)() as session:
        repository = DocumentRepository(session)
        repository.add(Document(content="x", embedding=unit(0)))
        repository.search(unit(0))
    engine.dispose()
    pool = weakref.ref(engine.pool)
    del engine, session, repository
    gc.collect()
    assert pool() is None
