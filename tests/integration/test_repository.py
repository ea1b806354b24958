"""The repository: searches are complete and in order, writes change what differs, tenants are apart."""

from __future__ import annotations

import threading
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations.ops import CreateTableOp
from sqlalchemy import Engine, event, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session

from pgcorpus.database import autocommit, session_factory
from pgcorpus.errors import (
    CollectionNotFoundError,
    DatabaseError,
    DefinitionError,
    DocumentError,
    EmbeddingModelMismatchError,
    FilterError,
    SearchError,
    VectorError,
)
from pgcorpus.models import Collection, Document, DocumentMixin, VectorMapped, vector_column
from pgcorpus.repositories import DocumentRepository, Draft, SyncPlan, SyncReport
from pgcorpus.vectors import Array
from tests.support.vectors import random_vectors, unit


def documents(count: int, seed: int = 0, **fields: Any) -> list[Document]:
    vectors = random_vectors(count, seed=seed)
    return [
        Document(content=f"text {i}", position=i, meta={"i": i, "tenth": i % 10 == 0}, embedding=vectors[i], **fields)
        for i in range(count)
    ]


def drafts(*contents: str, start: int = 0) -> list[Draft]:
    return [Draft(f"key {each}", each, {"c": each}, unit(start + i)) for i, each in enumerate(contents)]


def without_embedding(items: list[Draft]) -> list[Draft]:
    return [Draft(each.key, each.content, each.meta) for each in items]


# Searching


def test_a_search_returns_the_nearest_in_order(session: Session) -> None:
    repository = DocumentRepository(session)
    stored = documents(200)
    repository.add_many(stored)
    query = random_vectors(1, seed=9)[0]
    hits = repository.search(query, 10)
    matrix = random_vectors(200)
    cosine = 1 - matrix @ query / np.linalg.norm(matrix, axis=1) / np.linalg.norm(query)
    assert [hit.document.meta["i"] for hit in hits] == np.argsort(cosine)[:10].tolist()
    assert np.allclose([hit.distance for hit in hits], np.sort(cosine)[:10], atol=1e-5)
    assert all(hit.score == 1 - hit.distance for hit in hits)


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product", "l1"])
def test_every_metric_finds_the_nearest_though_one_has_an_index(session: Session, metric: str) -> None:
    repository = DocumentRepository(session)
    repository.add_many(documents(50))
    target = random_vectors(50)[17]
    hit = repository.search(target, 1, metric=metric)[0]
    assert hit.document.meta["i"] == 17


def test_a_filtered_search_is_never_short(session: Session) -> None:
    """HNSW alone would look at 40 neighbours and keep the few that match."""
    repository = DocumentRepository(session)
    repository.add_many(documents(1_000))
    session.execute(
        text("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
    )
    query = random_vectors(1, seed=5)[0]
    assert len(repository.search(query, 10, where={"meta.i": {"$gte": 995}})) == 5
    assert len(repository.search(query, 20, where={"meta.tenth": True})) == 20
    assert len(repository.search(query, 500, where={"meta.tenth": True})) == 100
    assert repository.search(query, 10, where={"meta.i": -1}) == []


def test_a_scan_that_stops_early_is_completed_exactly(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.add_many(documents(1_000))
    session.execute(text("SET LOCAL hnsw.max_scan_tuples = 1"))
    session.execute(
        text("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
    )
    hits = repository.search(random_vectors(1, seed=5)[0], 10, where={"meta.i": {"$gte": 990}}, ef_search=1)
    assert len(hits) == 10
    assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)


def test_pages_follow_each_other(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.add_many(documents(100))
    query = random_vectors(1, seed=5)[0]
    whole = repository.search(query, 20)
    assert repository.search(query, 10, offset=10) == whole[10:]


def test_a_document_without_an_embedding_is_no_match(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.add_many([Document(content="waiting"), Document(content="ready", embedding=unit(0))])
    assert [hit.document.content for hit in repository.search(unit(0), 10)] == ["ready"]
    assert repository.count() == 2


def test_a_search_does_not_fetch_embeddings_and_sends_the_vector_once(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.add_many(documents(20))
    statements: list[tuple[str, Any]] = []

    @event.listens_for(session.get_bind(), "before_cursor_execute")
    def record(_c: Any, _cur: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    repository.search(unit(0), 5)
    event.remove(session.get_bind(), "before_cursor_execute", record)
    statement, parameters = statements[-1]
    assert sum("vector" in str(name) for name in parameters) == 1
    assert "embedding <=>" in statement
    assert ".embedding," not in statement.partition("FROM")[0]


@pytest.mark.parametrize("k", [0, -1])
def test_a_search_wants_at_least_one(session: Session, k: int) -> None:
    DocumentRepository(session).ensure_collection()
    with pytest.raises(SearchError, match="k must be 1 to"):
        DocumentRepository(session).search(unit(0), k)


@pytest.mark.parametrize("vector", [[1.0], np.zeros(1536), np.full(1536, np.nan)])
def test_a_query_that_cannot_be_compared_is_refused(session: Session, vector: Any) -> None:
    DocumentRepository(session).ensure_collection()
    with pytest.raises(VectorError):
        DocumentRepository(session).search(vector)


# Collections and tenants


def test_a_collection_is_made_on_first_write_and_remembers_its_model(session: Session) -> None:
    with pytest.raises(CollectionNotFoundError, match="no collection 'news'"):
        DocumentRepository(session, "news").search(unit(0))
    DocumentRepository(session, "news", embedding_model="a").add(Document(content="x", embedding=unit(0)))
    assert DocumentRepository(session, "news").collection().embedding_model == "a"
    for use in (lambda r: r.search(unit(0)), lambda r: r.add(Document(content="y")), lambda r: r.sync_sources({})):
        with pytest.raises(EmbeddingModelMismatchError, match="was embedded with a, not b"):
            use(DocumentRepository(session, "news", embedding_model="b"))


def test_a_collection_made_without_a_model_takes_the_first(session: Session) -> None:
    DocumentRepository(session, "c").add(Document(content="x"))
    DocumentRepository(session, "c", embedding_model="a").add(Document(content="y", embedding=unit(0)))
    assert DocumentRepository(session, "c").collection().embedding_model == "a"


def test_one_tenant_never_sees_anothers(session: Session) -> None:
    for tenant in ("a", "b"):
        DocumentRepository(session, "c", tenant).add(Document(content=tenant, key="k", source="s", embedding=unit(0)))
    mine = DocumentRepository(session, "c", "a")
    other = DocumentRepository(session, "c", "b").get_by_key("k")
    assert [hit.document.content for hit in mine.search(unit(0), 10)] == ["a"]
    assert mine.count() == 1
    assert mine.get(other.id) is None
    assert [each.tenant_id for each in mine.collections()] == ["a"]
    assert mine.delete_sources(["s"]) == 1
    assert DocumentRepository(session, "c", "b").count() == 1


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 2001])
def test_a_name_that_cannot_be_stored_is_refused(session: Session, name: str) -> None:
    with pytest.raises(DocumentError):
        DocumentRepository(session, name)


def test_an_unknown_metric_is_refused(session: Session) -> None:
    with pytest.raises(DefinitionError, match="unknown metric"):
        DocumentRepository(session, metric="manhattan")


# Writing


def test_nothing_is_committed(engine: Engine) -> None:
    with session_factory(engine)() as session:
        DocumentRepository(session).add(Document(content="x", embedding=unit(0)))
        DocumentRepository(session).sync_sources({"s": drafts("a")})
    with session_factory(engine)() as session:
        assert session.scalar(select(func.count()).select_from(Collection)) == 0


def test_a_source_is_added_then_left_alone_then_changed(session: Session) -> None:
    repository = DocumentRepository(session)
    first = drafts("a", "b", "c")
    assert repository.sync_sources({"s": first}) == SyncReport(added=3)
    assert repository.plan_sources({"s": without_embedding(first)}) == SyncPlan({"s": []}, SyncReport(unchanged=3))
    assert repository.sync_sources({"s": without_embedding(first)}) == SyncReport(unchanged=3)
    second = [*drafts("x", start=9), *without_embedding(first[1:])]
    plan = repository.plan_sources({"s": without_embedding(second)})
    assert plan == SyncPlan({"s": [0]}, SyncReport(added=1, unchanged=2, deleted=1))
    assert repository.sync_sources({"s": second}) == plan.report
    rows = session.scalars(select(Document).order_by(Document.position)).all()
    assert [(row.content, row.version, row.source) for row in rows] == [("x", 1, "s"), ("b", 1, "s"), ("c", 1, "s")]
    assert np.array_equal(rows[1].embedding, unit(1))


def test_changed_metadata_and_content_are_updates(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.sync_sources({"s": [Draft("k", "one", {"n": 1}, unit(0)), Draft("l", "two", {}, unit(1))]})
    report = repository.sync_sources({"s": [Draft("k", "one", {"n": 2}), Draft("l", "three", {}, unit(2))]})
    assert report == SyncReport(updated=2)
    touched, rewritten = repository.get_by_key("k"), repository.get_by_key("l")
    assert (touched.meta, touched.version) == ({"n": 2}, 2)
    assert (rewritten.content, rewritten.version, rewritten.embedding[2]) == ("three", 2, 1)
    assert rewritten.updated_at >= rewritten.created_at


def test_a_source_that_is_empty_now_loses_its_documents(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.sync_sources({"s": drafts("a", "b"), "t": drafts("c", start=5)})
    assert repository.sync_sources({"s": []}) == SyncReport(deleted=2)
    assert repository.sources() == ["t"]


def test_a_new_document_without_an_embedding_writes_nothing(session: Session) -> None:
    repository = DocumentRepository(session)
    with pytest.raises(VectorError, match="'key b' is new or changed and has no embedding"):
        repository.sync_sources({"s": [*drafts("a"), *without_embedding(drafts("b"))]})
    assert repository.count() == 0


@pytest.mark.parametrize("embedding", [unit(0, 3), np.zeros(1536, np.float32), np.full(1536, np.inf, np.float32)])
def test_an_embedding_that_cannot_be_stored_is_named_and_writes_nothing(session: Session, embedding: Any) -> None:
    repository = DocumentRepository(session)
    with pytest.raises(VectorError, match="'bad'"):
        repository.sync_sources({"s": [*drafts("a"), Draft("bad", "x", {}, embedding)]})
    assert repository.count() == 0


def test_two_that_sync_one_source_take_turns(engine: Engine) -> None:
    """Without turns, each would insert what it has and delete nothing of the other's."""
    factory = session_factory(engine)
    with factory.begin() as session:
        DocumentRepository(session).sync_sources({"s": drafts("old")})
    barrier, failures = threading.Barrier(4), []

    def work(number: int) -> None:
        try:
            barrier.wait()
            for round_ in range(5):
                with factory.begin() as session:
                    items = drafts(f"{number}-{round_}-a", f"{number}-{round_}-b", "shared", start=number)
                    DocumentRepository(session).sync_sources({"t": drafts("t"), "s": items})
        except Exception as exc:  # noqa: BLE001 -- handed to the test
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with factory() as session:
        rows = session.scalars(select(Document).where(Document.source == "s").order_by(Document.position)).all()
    assert len(rows) == 3
    assert rows[0].content[:3] == rows[1].content[:3]
    assert rows[2].content == "shared"


def test_two_that_make_one_collection_share_it(engine: Engine) -> None:
    barrier, ids = threading.Barrier(6), []

    def work() -> None:
        barrier.wait()
        with session_factory(engine).begin() as session:
            ids.append(DocumentRepository(session, "new").ensure_collection().id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1


def test_the_orm_guards_against_lost_updates(engine: Engine) -> None:
    from sqlalchemy.orm.exc import StaleDataError

    factory = session_factory(engine)
    with factory.begin() as session:
        key = DocumentRepository(session).add(Document(content="x", embedding=unit(0))).key
    with factory() as one, factory() as two:
        left, right = (DocumentRepository(each).get_by_key(key) for each in (one, two))
        left.content = "left"
        one.commit()
        right.content = "right"
        with pytest.raises(StaleDataError):
            two.commit()


def test_a_document_has_its_primary_key_and_can_be_got_by_it(session: Session) -> None:
    document = DocumentRepository(session).add(Document(content="x", embedding=unit(0)))
    session.expunge_all()
    assert session.get(Document, (document.collection_id, document.id)).content == "x"  # type: ignore[union-attr]
    assert DocumentRepository(session).get(document.id).content == "x"


def test_thousands_of_orm_inserts_are_few_statements(session: Session) -> None:
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *args: statements.append(args[2]))
    DocumentRepository(session).add_many(documents(600))
    assert sum("INSERT INTO pgcorpus.documents" in statement for statement in statements) <= 2


def test_the_hosts_own_query_uses_the_column(session: Session) -> None:
    DocumentRepository(session).add_many([Document(content=str(i), embedding=unit(i)) for i in range(3)])
    nearest = select(Document.content).order_by(Document.embedding.cosine_distance(unit(2))).limit(1)
    assert session.scalar(nearest) == "2"


@pytest.mark.parametrize("change", [{"n": True}, {"n": 1.5}, {"n": "1"}, {"n": None}, {"n": [1]}, {}])
def test_metadata_that_is_another_json_value_is_written(session: Session, change: dict[str, Any]) -> None:
    repository = DocumentRepository(session)
    repository.sync_sources({"s": [Draft("k", "x", {"n": 1}, unit(0))]})
    assert repository.sync_sources({"s": [Draft("k", "x", change)]}) == SyncReport(updated=1)
    assert repository.get_by_key("k").meta == change  # type: ignore[union-attr]


@pytest.mark.parametrize("meta", [{"n": 6.02e23}, {"n": 1e-9}, {"n": 0.1}, {"n": 2.0}, {"n": (1, 2)}, {"n": 10**30}])
def test_metadata_that_is_the_same_json_value_is_left_alone(session: Session, meta: dict[str, Any]) -> None:
    repository = DocumentRepository(session)
    repository.sync_sources({"s": [Draft("k", "x", meta, unit(0))]})
    session.expire_all()
    assert repository.sync_sources({"s": [Draft("k", "x", meta)]}) == SyncReport(unchanged=1)


def test_a_documents_language_is_the_collections_unless_it_says_so(session: Session) -> None:
    repository = DocumentRepository(session, language="german")
    repository.sync_sources({"s": [Draft("a", "x", {}, unit(0)), Draft("b", "y", {}, unit(1), "french")]})
    assert [repository.get_by_key(key).language for key in "ab"] == ["german", "french"]  # type: ignore[union-attr]
    changed = [Draft("a", "x", {}, None, "english"), Draft("b", "y", {}, None, "french")]
    assert repository.sync_sources({"s": changed}) == SyncReport(updated=1, unchanged=1)
    session.expire_all()
    assert repository.get_by_key("a").language == "english"  # type: ignore[union-attr]


def test_a_document_may_move_to_another_source(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.sync_sources({"a": [Draft("k", "x", {}, unit(0))]})
    report = repository.sync_sources({"b": [Draft("k", "x", {}, unit(0))], "a": []})
    assert report == SyncReport(added=1, deleted=1)


def test_too_many_sources_at_once_are_refused(session: Session) -> None:
    with pytest.raises(DocumentError, match="1,001 sources at once: at most 1,000"):
        DocumentRepository(session).sync_sources({str(i): [] for i in range(1_001)})


def test_a_key_that_another_source_holds_is_a_document_error_with_the_drivers_as_its_cause(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.sync_sources({"a": drafts("x")})
    with pytest.raises(DocumentError, match="another source's document") as caught:
        repository.sync_sources({"b": drafts("x")})
    assert isinstance(caught.value.__cause__, IntegrityError)
    assert repository.sources() == ["a"]


@pytest.mark.parametrize("ef_search", [0, -5, 1001])
def test_an_ef_search_out_of_range_is_refused(session: Session, ef_search: int) -> None:
    DocumentRepository(session).ensure_collection()
    with pytest.raises(SearchError, match="1 to 1,000"):
        DocumentRepository(session).search(unit(0), ef_search=ef_search)


# AUTOCOMMIT


def test_writes_in_autocommit_are_refused(engine: Engine) -> None:
    with session_factory(autocommit(engine))() as session:
        repository = DocumentRepository(session)
        for write in (lambda: repository.add(Document(content="x")), lambda: repository.sync_sources({"s": []})):
            with pytest.raises(DatabaseError, match="AUTOCOMMIT"):
                write()


def test_a_search_in_autocommit_leaves_a_transaction_that_the_host_began_by_hand(engine: Engine) -> None:
    with session_factory(engine).begin() as session:
        DocumentRepository(session).add(Document(content="x", embedding=unit(0)))
        session.execute(text("CREATE TABLE host (n int)"))
    with session_factory(autocommit(engine))() as session:
        session.execute(text("BEGIN"))
        session.execute(text("INSERT INTO host VALUES (1)"))
        assert len(DocumentRepository(session).search(unit(0), 1)) == 1
        session.execute(text("COMMIT"))
        assert session.scalar(text("SELECT count(*) FROM host")) == 1


# A host's own model


class HostBase(DeclarativeBase):
    pass


class Article(DocumentMixin, HostBase):
    __tablename__ = "articles"
    author: Mapped[str | None]
    rating: Mapped[float | None]
    price: Mapped[Decimal | None]
    day: Mapped[date | None]
    token: Mapped[UUID | None]
    embedding: VectorMapped[Array | None] = vector_column(8)


def test_a_hosts_own_model_is_created_written_and_searched(engine: Engine) -> None:
    HostBase.metadata.create_all(engine)
    token = uuid4()
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, "articles", model=Article)
        repository.add_many(
            [
                Article(content="one", embedding=unit(0, 8), rating=4.5, price=Decimal("9.90"), token=token),
                Article(content="two", embedding=unit(1, 8), author="me", day=date(2026, 1, 31)),
            ]
        )
        assert repository.sync_sources({"s": [Draft("k", "three", {}, unit(2, 8))]}) == SyncReport(added=1)
        assert [hit.document.content for hit in repository.search(unit(2, 8), 1)] == ["three"]
        for where in ({"rating": {"$gt": 4}}, {"price": 9.9}, {"price": {"$lt": 10}}, {"token": str(token)}):
            assert [hit.document.content for hit in repository.search(unit(0, 8), where=where)] == ["one"]
        for where in ({"day": "2026-01-31"}, {"author": "me"}):
            assert repository.count(where) == 1
        for where in (
            {"day": "tomorrow"},
            {"token": "x"},
            {"rating": "x"},
            {"rating": 10**5000},
            {"rating": float("nan")},
            {"price": True},
        ):
            with pytest.raises(FilterError):
                repository.count(where)


@pytest.mark.parametrize("embedding", [np.zeros(8), unit(0, 7)])
def test_a_hosts_own_model_refuses_what_cannot_be_searched(embedding: Any) -> None:
    with pytest.raises(VectorError):
        Article(content="x", embedding=embedding)


def test_alembic_can_autogenerate_a_hosts_own_model(engine: Engine) -> None:
    with engine.connect() as connection:
        operations = produce_migrations(MigrationContext.configure(connection), HostBase.metadata).upgrade_ops
    assert operations is not None
    created = [each for each in operations.ops if isinstance(each, CreateTableOp)]
    assert [table.table_name for table in created] == ["articles"]
