"""A search is complete, in order and true: on hard data, under filters, with the index made to give up early."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event, func, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pgcorpus.database import autocommit, create_engine, session_factory
from pgcorpus.errors import (
    CollectionNotFoundError,
    DefinitionError,
    SearchError,
    SearchTimeoutError,
    VectorError,
)
from pgcorpus.models import Collection, Document, Metric, VectorMapped, hnsw_index, ivfflat_index, vector_column
from pgcorpus.repositories import DocumentRepository, DocumentView, Draft, Hit, VectorRepository
from pgcorpus.repositories.search.diversity import most_diverse
from pgcorpus.repositories.writing.indexes import build_missing, drop_for_first_load
from pgcorpus.vectors import Array
from tests.support.vectors import hard_vectors, random_vectors, unit

ROWS = 6_000
QUERIES = hard_vectors(20, seed=1)
# Every 1,000th, 100th, 10th, 2nd row, and all of them.
SELECTIVITIES = {"thousandth": 1_000, "hundredth": 100, "tenth": 10, "half": 2, "all": 1}
# Of different sizes in one table; the first is the largest.
SIZES = [3_000, *(10 * n for n in range(1, 20)), 1_100]

FORCE_HNSW = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"


@lru_cache
def stored() -> Array:
    """The vectors of the rows, made once: they take longer than a search."""
    return hard_vectors(ROWS)


@pytest.fixture(scope="module")
def hard(make_database: Callable[..., URL], template: str) -> Iterator[Engine]:
    """A database with hard data: all rows in one collection, and the same rows again over twenty others."""
    engine = create_engine(make_database(template))
    drop_for_first_load(engine, Document)
    vectors = stored()
    starts = np.cumsum([0, *SIZES])
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "hard").sync_sources({"s": drafts(vectors)})
        for number, (start, size) in enumerate(zip(starts, SIZES, strict=False)):
            some = drafts(vectors[start : start + size], start)
            DocumentRepository(session, f"part {number}").sync_sources({"s": some})
    build_missing(engine, Document)
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("ANALYZE pgcorpus.documents"))
    yield engine
    engine.dispose()


def drafts(vectors: Array, start: int = 0) -> list[Draft]:
    return [
        Draft(str(i), f"text {i}", {name: True for name, n in SELECTIVITIES.items() if i % n == 0}, vector)
        for i, vector in enumerate(vectors, start)
    ]


@pytest.fixture
def searching(hard: Engine) -> Iterator[Session]:
    with session_factory(hard)() as session:
        yield session


def truth(query: Array, k: int, every: int = 1, start: int = 0, size: int = ROWS) -> list[str]:
    vectors = stored()[start : start + size]
    numbers = np.arange(start, start + len(vectors))
    chosen = numbers % every == 0
    order = np.argsort(1 - vectors[chosen] @ query, kind="stable")[:k]
    return [str(n) for n in numbers[chosen][order]]


def keys(hits: Any) -> list[str]:
    return [hit.document.key for hit in hits]


def is_sorted(hits: list[Hit[Any]]) -> bool:
    distances = [hit.distance for hit in hits]
    return distances == sorted(distances)


# Complete, in order, true


@pytest.mark.parametrize("name", SELECTIVITIES)
def test_the_recall_is_095_by_default_at_every_selectivity(searching: Session, name: str) -> None:
    repository = DocumentRepository(searching, "hard")
    found = 0
    for query in QUERIES:
        hits = repository.search(query, 10, where={f"meta.{name}": True})
        expected = truth(query, 10, SELECTIVITIES[name])
        assert len(hits) == len(expected)
        assert is_sorted(hits)
        found += len(set(keys(hits)) & set(expected)) / len(expected)
    assert found / len(QUERIES) >= 0.95


@pytest.mark.parametrize("k", [10, 100])
def test_an_index_that_goes_on_in_a_relaxed_order_does_not_show(searching: Session, k: int) -> None:
    searching.execute(text(FORCE_HNSW))
    repository = DocumentRepository(searching, "hard")
    relaxed = 0
    for query in QUERIES:
        explained = repository.explain(query, k, where={"meta.tenth": True}, ef_search=20)
        hits = repository.search(query, k, where={"meta.tenth": True}, ef_search=20)
        assert len(hits) == k
        assert is_sorted(hits)
        relaxed += explained.index == "ix_documents_embedding"
    assert relaxed == len(QUERIES), "the index was not used, and nothing was shown"


def test_a_scan_that_stops_after_500_tuples_is_completed(searching: Session) -> None:
    searching.execute(text(FORCE_HNSW + "; SET LOCAL hnsw.max_scan_tuples = 500"))
    repository = DocumentRepository(searching, "hard")
    stopped = 0
    for query in QUERIES[:5]:
        explained = repository.explain(query, 10, where={"meta.hundredth": True}, ef_search=10)
        hits = repository.search(query, 10, where={"meta.hundredth": True}, ef_search=10)
        assert hits.exact is not explained.complete
        if hits.exact:
            assert "an exact scan completes the answer" in str(explained)
            assert keys(hits) == truth(query, 10, 100)
        stopped += hits.exact
    # A graph that is built by several workers is another one each time: now and then a scan is in luck.
    assert stopped >= 3


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2, 10, 19, 20])
def test_each_of_twenty_collections_in_one_table_is_searched_whole(
    searching: Session, number: int, forced: bool
) -> None:
    """The index knows nothing of collections: a small one is hidden behind the others' rows."""
    if forced:
        searching.execute(text(FORCE_HNSW + "; SET LOCAL hnsw.max_scan_tuples = 500"))
    start, size = int(np.cumsum([0, *SIZES])[number]), SIZES[number]
    repository = DocumentRepository(searching, f"part {number}")
    found = 0.0
    for query in QUERIES[:5]:
        for k in (1, 10, 50):
            hits = repository.search(query, k)
            expected = truth(query, k, 1, start, size)
            assert len(hits) == min(k, size)
            assert is_sorted(hits)
            found += len(set(keys(hits)) & set(expected)) / len(expected) / 15
    assert forced or found >= 0.95


@pytest.mark.parametrize("where", [None, {"meta.tenth": True}])
def test_pages_are_the_whole_cut_in_pieces(searching: Session, where: Any) -> None:
    repository = DocumentRepository(searching, "hard")
    whole = keys(repository.search(QUERIES[0], 60, where=where, exact=True))
    pages = [repository.search(QUERIES[0], 20, offset=offset, where=where, exact=True) for offset in (0, 20, 40)]
    assert [key for page in pages for key in keys(page)] == whole
    assert repository.search(QUERIES[0], 10, offset=ROWS) == []


def test_there_is_no_limit_of_a_thousand_hits(searching: Session) -> None:
    """A peer returns at most 1,000; the index keeps at most as many candidates."""
    for where, every in ((None, 1), ({"meta.half": True}, 2)):
        hits = DocumentRepository(searching, "hard").search(QUERIES[0], 2_500, where=where)
        assert len(hits) == 2_500
        assert is_sorted(hits)
        assert len(set(keys(hits)) & set(truth(QUERIES[0], 2_500, every))) / 2_500 > 0.95


def test_equal_distances_come_in_the_order_of_their_keys(session: Session) -> None:
    repository = DocumentRepository(session)
    repository.add_many([Document(content=str(i), embedding=unit(0)) for i in range(30)])
    pages = [repository.search(unit(0), 7, offset=offset, exact=True) for offset in range(0, 30, 7)]
    found = [hit.document.id for page in pages for hit in page]
    assert found == sorted(found)
    assert len(found) == 30


# Options


def test_an_exact_search_is_the_truth(searching: Session) -> None:
    for query in QUERIES[:5]:
        hits = DocumentRepository(searching, "hard").search(query, 10, exact=True)
        assert keys(hits) == truth(query, 10)
        assert hits.exact


def test_a_smaller_ef_search_finds_less(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    searching.execute(text(FORCE_HNSW))

    def recall(ef_search: int) -> float:
        found = [set(keys(repository.search(q, 10, ef_search=ef_search))) & set(truth(q, 10)) for q in QUERIES]
        return sum(map(len, found)) / 10 / len(QUERIES)

    assert recall(1) < recall(400)


def test_hits_below_the_score_are_left_out(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    whole = repository.search(QUERIES[0], 10, exact=True)
    for limit in (whole[4].score, whole[0].score, -1.0, 1.0):
        expected = [hit for hit in whole if hit.score >= limit]
        assert repository.search(QUERIES[0], 10, exact=True, min_score=limit) == expected


def test_the_embedding_comes_when_it_is_asked_for(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    vectors = stored()
    for hit in repository.search(QUERIES[0], 3, include_embedding=True):
        assert np.array_equal(hit.document.embedding, vectors[int(hit.document.key)])
    assert repository.search(QUERIES[0], 1)[0].document.embedding is None


def test_the_columns_wanted_come_as_a_named_tuple(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    hit = repository.search(QUERIES[0], 1, columns=["content", "version"])[0]
    assert hit.document._asdict() == {"content": hit.document.content, "version": 1}
    with_vector = repository.search(QUERIES[0], 1, columns=["key", "embedding"])[0].document
    assert np.array_equal(with_vector.embedding, stored()[int(with_vector.key)])


def test_entities_are_the_sessions_own_objects(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    light = repository.search(QUERIES[0], 5, where={"meta.half": True})
    hits = repository.search(QUERIES[0], 5, where={"meta.half": True}, entities=True)
    assert keys(hits) == keys(light)
    assert [hit.distance for hit in hits] == [hit.distance for hit in light]
    entity = hits[0].document
    assert isinstance(entity, Document)
    assert entity is repository.get(entity.id)
    assert "embedding" not in entity.__dict__
    assert np.array_equal(entity.embedding, stored()[int(entity.key)])
    loaded = repository.search(QUERIES[1], 1, entities=True, include_embedding=True)[0].document
    assert "embedding" in loaded.__dict__


def test_many_searches_are_one_statement(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    repository.search(QUERIES[0])
    sent: list[str] = []
    event.listen(searching.get_bind(), "before_cursor_execute", record := lambda *args: sent.append(args[2]))
    try:
        for where in (None, {"meta.tenth": True}):
            sent.clear()
            answers = repository.search_many(QUERIES, 10, where=where, exact=True)
            assert len(sent) == 1
            assert [keys(hits) for hits in answers] == [truth(query, 10, 10 if where else 1) for query in QUERIES]
    finally:
        event.remove(searching.get_bind(), "before_cursor_execute", record)


def test_many_searches_are_each_complete_and_in_order(searching: Session) -> None:
    searching.execute(text(FORCE_HNSW + "; SET LOCAL hnsw.max_scan_tuples = 500"))
    repository = DocumentRepository(searching, "hard")
    answers = repository.search_many(QUERIES, 10, where={"meta.hundredth": True}, ef_search=10)
    assert [len(hits) for hits in answers] == [10] * len(QUERIES)
    assert all(is_sorted(hits) for hits in answers)
    completed = [(query, hits) for query, hits in zip(QUERIES, answers, strict=True) if hits.exact]
    assert completed
    assert all(keys(hits) == truth(query, 10, 100) for query, hits in completed)
    assert repository.search_many([]) == []


def test_a_search_by_a_stored_document_is_without_itself(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    document = repository.get_by_key("77")
    hits = repository.search_like(document.id, 10, exact=True)
    assert keys(hits) == truth(stored()[77], 11)[1:]
    with pytest.raises(SearchError, match="no row 1000000000 with an embedding"):
        repository.search_like(10**9)


def test_diverse_hits_come_in_the_order_of_their_choice(session: Session) -> None:
    repository = DocumentRepository(session)
    near, twin, other = unit(0) + 0.1 * unit(1), unit(0) + 0.11 * unit(1), unit(0) + 0.6 * unit(2)
    repository.add_many(
        [Document(content=c, embedding=v) for c, v in (("near", near), ("twin", twin), ("other", other))]
    )
    contents = [hit.document.content for hit in repository.search(unit(0), 2, diversify=0.5)]
    assert contents == ["near", "other"]
    assert [hit.document.content for hit in repository.search(unit(0), 3, diversify=0)] == ["near", "twin", "other"]
    assert [hit.document.content for hit in repository.search(unit(0), 1, diversify=0.5, offset=1)] == ["other"]
    diverse = repository.search(unit(0), 3, diversify=0.9)
    assert not is_sorted(diverse), "marginal relevance has an order of its own"
    assert diverse[0].document.embedding is None


def test_the_most_diverse_are_chosen_by_their_definition() -> None:
    candidates, query = random_vectors(30, 8), random_vectors(1, 8, seed=1)[0]

    def cosine(a: Array, b: Array) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    chosen: list[int] = []
    while len(chosen) < 10:
        rest = [i for i in range(30) if i not in chosen]
        gains = [
            0.7 * cosine(query, candidates[i])
            - 0.3 * max((cosine(candidates[i], candidates[j]) for j in chosen), default=0)
            for i in rest
        ]
        chosen.append(rest[int(np.argmax(gains))])
    assert most_diverse(query, candidates, 10, 0.3) == chosen


def sourced(session: Session) -> DocumentRepository:
    repository = DocumentRepository(session)
    for source in ("a", "b", "c"):
        vectors = random_vectors(9, seed=ord(source))
        passages = [Draft(f"{source}{i}", f"{source}{i}", {"kind": i % 2}, vectors[i]) for i in range(9)]
        repository.sync_sources({source: passages})
    repository.add_many([Document(content=f"none{i}", embedding=random_vectors(1, seed=i)[0]) for i in range(3)])
    return repository


def test_a_group_gives_its_nearest_hit(session: Session) -> None:
    repository = sourced(session)
    query = random_vectors(1, seed=99)[0]
    everything = repository.search(query, 100, exact=True)
    expected: dict[Any, str] = {}
    for hit in everything:
        expected.setdefault(hit.document.source or hit.document.content, hit.document.content)
    for exact in (True, False):
        hits = repository.search(query, 10, group_by="source", exact=exact)
        assert [hit.document.content for hit in hits] == list(expected.values())
        assert is_sorted(hits)
    assert len(repository.search(query, 2, group_by="source")) == 2
    assert len(repository.search(query, 10, group_by="meta.kind", where={"source": {"$exists": True}})) == 2


def test_groups_are_complete_where_one_source_has_all_the_nearest(session: Session) -> None:
    repository = DocumentRepository(session)
    crowd = [Draft(f"x{i}", f"x{i}", {}, unit(0) + 0.001 * unit(1 + i)) for i in range(300)]
    repository.sync_sources({"crowd": crowd, "far": [Draft("y", "y", {}, unit(500))]})
    hits = repository.search(unit(0), 2, group_by="source")
    assert [hit.document.source for hit in hits] == ["crowd", "far"]


def test_context_brings_a_hits_neighbours_in_its_source(session: Session) -> None:
    repository = sourced(session)
    middle = repository.get_by_key("b4")
    hit = repository.search(middle.embedding, 1, context=2)[0]
    assert [view.content for view in hit.before] == ["b2", "b3"]
    assert [view.content for view in hit.after] == ["b5", "b6"]
    first = repository.search(repository.get_by_key("a0").embedding, 1, context=1)[0]
    assert (first.before, [view.content for view in first.after]) == ((), ["a1"])
    lonely = repository.search(random_vectors(1, seed=0)[0], 1, context=1)[0]
    assert (lonely.document.source, lonely.before, lonely.after) == (None, (), ())
    entity = repository.search(middle.embedding, 1, context=1, entities=True)[0]
    assert [view.content for view in entity.after] == ["b5"]


SLOW = func.pg_sleep(0.01 + 0 * Document.id).is_(None)


def test_a_timeout_gives_the_search_up_and_nothing_else(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    searching.execute(text("CREATE TEMPORARY TABLE mine (n int) ON COMMIT DROP"))
    with pytest.raises(SearchTimeoutError, match=r"longer than 0\.05 seconds"):
        repository.search(QUERIES[0], where=SLOW, timeout=0.05)
    assert searching.scalar(text("SELECT count(*) FROM mine")) == 0, "the transaction goes on"
    assert searching.scalar(text("SHOW statement_timeout")) == "0"
    assert len(repository.search(QUERIES[0], 5, timeout=30)) == 5
    with session_factory(autocommit(searching.get_bind()))() as reading:  # type: ignore[arg-type]
        with pytest.raises(SearchTimeoutError):
            DocumentRepository(reading, "hard").search(QUERIES[0], where=SLOW, timeout=0.05)
        assert len(DocumentRepository(reading, "hard").search(QUERIES[0], 5)) == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "k must be 1 to"),
        ({"k": 10_000_000}, "k must be 1 to"),
        ({"k": True}, "k must be 1 to"),
        ({"k": 1.5}, "k must be a whole number"),
        ({"k": "1; DROP TABLE documents"}, "k must be a whole number"),
        ({"offset": -1}, "offset must be"),
        ({"ef_search": 0}, "ef_search must be 1 to 1,000"),
        ({"ef_search": 1001}, "ef_search must be 1 to 1,000"),
        ({"probes": 0}, "probes must be"),
        ({"context": -1}, "context must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"diversify": 1.5}, "diversify must be"),
        ({"min_score": float("nan")}, "min_score must be"),
        ({"columns": []}, "no column"),
        ({"columns": ["content; DROP TABLE documents"]}, "unknown column"),
        ({"columns": ["content"], "entities": True}, "entities or columns"),
        ({"columns": ["content"], "context": 1}, "columns or context"),
        ({"group_by": "source", "diversify": 0.5}, "group_by or diversify"),
    ],
)
def test_an_impossible_search_is_refused_and_named(searching: Session, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SearchError, match=words):
        DocumentRepository(searching, "hard").search(QUERIES[0], **options)


def test_an_unknown_option_is_a_type_error(searching: Session) -> None:
    with pytest.raises(TypeError):
        DocumentRepository(searching, "hard").search_many(QUERIES, 5, ef=10)  # type: ignore[call-arg]


def test_a_query_among_many_that_cannot_be_compared_is_named(searching: Session) -> None:
    with pytest.raises(VectorError, match="query 1"):
        DocumentRepository(searching, "hard").search_many([unit(0), np.zeros(1536)])


# Tenants


def test_no_way_of_searching_shows_another_tenants_documents(session: Session) -> None:
    for tenant in ("mine", "theirs"):
        drafts_of_tenant = [Draft(f"k{i}", f"{tenant} word{i}", {"i": i}, unit(i)) for i in range(5)]
        DocumentRepository(session, "c", tenant).sync_sources({"s": drafts_of_tenant})
    mine, theirs = (DocumentRepository(session, "c", tenant) for tenant in ("mine", "theirs"))
    other = theirs.get_by_key("k0")
    assert other is not None
    everything: list[Any] = [
        *mine.search(unit(0), 50),
        *mine.search(unit(0), 50, exact=True),
        *mine.search(unit(0), 50, entities=True),
        *mine.search(unit(0), 50, group_by="meta.i"),
        *mine.search(unit(0), 50, diversify=0.5),
        *mine.search(unit(0), 50, where=Document.content.like("%")),
        *(hit for hits in mine.search_many([unit(0), unit(1)], 50) for hit in hits),
        *mine.search_text("word0 or word1"),
        *mine.search_hybrid("word0", unit(0), 50),
        *mine.search_like(mine.get_by_key("k1").id, 50),  # type: ignore[union-attr]
    ]
    assert len(everything) > 50
    assert {hit.document.content.split()[0] for hit in everything} == {"mine"}
    for hit in mine.search(unit(2), 1, context=3):
        assert [view.content for view in (*hit.before, *hit.after)] == [f"mine word{i}" for i in (0, 1, 3, 4)]
    with pytest.raises(SearchError, match="no row"):
        mine.search_like(other.id)
    assert mine.get(other.id) is None
    assert mine.delete(Document.id == other.id) == 0
    assert mine.update_meta(Document.id == other.id, {"x": 1}) == 0
    assert mine.delete(everything=True) == 5
    assert theirs.count() == 5


# What is known of a collection


def test_a_collection_that_was_made_anew_is_found(engine: Engine) -> None:
    """What one session remembers of a collection, another may have changed: the statement itself looks."""
    factory = session_factory(engine)
    for round_ in range(2):
        with factory.begin() as session:
            DocumentRepository(session, "c").add(Document(content=str(round_), embedding=unit(0)))
        with factory() as session:
            repository = DocumentRepository(session, "c")
            assert [hit.document.content for hit in repository.search(unit(0))] == [str(round_)]
            assert [hit.document.content for hit in repository.search_many([unit(0)])[0]] == [str(round_)]
        with factory.begin() as session:
            session.delete(DocumentRepository(session, "c").collection())
        with factory() as session, pytest.raises(CollectionNotFoundError):
            DocumentRepository(session, "c").search(unit(0))


def test_a_collection_whose_model_changed_is_not_searched_as_before(engine: Engine) -> None:
    from pgcorpus.errors import EmbeddingModelMismatchError

    factory = session_factory(engine)
    with factory.begin() as session:
        DocumentRepository(session, "c", embedding_model="old").add(Document(content="x", embedding=unit(0)))
    with factory() as session:
        assert DocumentRepository(session, "c", embedding_model="old").search(unit(0))
    with factory.begin() as session:
        DocumentRepository(session, "c").collection().embedding_model = "new"
    with factory() as session:
        with pytest.raises(EmbeddingModelMismatchError):
            DocumentRepository(session, "c", embedding_model="old").search(unit(0))
        assert DocumentRepository(session, "c", embedding_model="new").search(unit(0))


def test_a_collection_of_a_rolled_back_session_is_forgotten(engine: Engine) -> None:
    factory = session_factory(engine)
    with factory() as session:
        DocumentRepository(session, "c").add(Document(content="x", embedding=unit(0)))
        assert DocumentRepository(session, "c").search(unit(0))
    with factory() as session, pytest.raises(CollectionNotFoundError):
        DocumentRepository(session, "c").search(unit(0))


# Any mapped class


class HostBase(DeclarativeBase):
    """A host's models."""


class Product(HostBase):
    """A host's own table: no document, another vector column, another metric."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    look: VectorMapped[Array | None] = vector_column(8)
    __table_args__ = (hnsw_index("look", metric="l2"),)


class Photo(HostBase):
    """With a key of two columns, two vectors, and IVFFlat."""

    __tablename__ = "photos"

    album: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    scene: VectorMapped[Array | None] = vector_column(8)
    face: VectorMapped[Array | None] = vector_column(4)
    __table_args__ = (ivfflat_index("scene", lists=16, metric="inner_product"), hnsw_index("face", metric="l1"))


@pytest.fixture
def host(engine: Engine) -> Iterator[Session]:
    HostBase.metadata.create_all(engine)
    with session_factory(engine)() as session:
        vectors = random_vectors(200, 8)
        session.add_all([Product(name=f"p{i}", look=v) for i, v in enumerate(vectors)])
        session.add_all([Photo(album="ab"[i % 2], number=i, scene=v, face=v[:4]) for i, v in enumerate(vectors)])
        session.flush()
        yield session


def test_a_hosts_own_class_is_searched_by_the_metric_of_its_index(host: Session) -> None:
    repository = VectorRepository(host, Product)
    query = random_vectors(1, 8, seed=3)[0]
    hits = repository.search(query, 10, where={"name": {"$ne": "p0"}})
    distances = np.linalg.norm(random_vectors(200, 8)[1:] - query, axis=1)
    assert hits.metric is Metric.L2
    assert [hit.document.name for hit in hits] == [f"p{i + 1}" for i in np.argsort(distances)[:10]]
    assert hits[0].document._fields == ("id", "name")
    assert np.allclose([hit.distance for hit in hits], np.sort(distances)[:10], atol=1e-5)
    assert repository.search(query, 1, entities=True)[0].document.name == hits[0].document.name
    like = repository.search_like(hits[0].document.id, 200)
    assert len(like) == 199
    assert repository.count({"name": "p7"}) == 1


def test_a_class_with_two_vectors_wants_one_named(host: Session) -> None:
    with pytest.raises(DefinitionError, match=r"name the vector column of Photo .* it has scene, face"):
        VectorRepository(host, Photo)
    with pytest.raises(DefinitionError, match="not a mapped class"):
        VectorRepository(host, dict)
    query = random_vectors(1, 8, seed=3)[0]
    vectors = random_vectors(200, 8)
    scenes = VectorRepository(host, Photo, "scene").search(query, 5, exact=True)
    assert [hit.document.number for hit in scenes] == np.argsort(-(vectors @ query))[:5].tolist()
    faces = VectorRepository(host, Photo, "face").search(query[:4], 5)
    expected = np.abs(vectors[:, :4] - query[:4]).sum(axis=1)
    assert [hit.document.number for hit in faces] == np.argsort(expected)[:5].tolist()
    like = VectorRepository(host, Photo, "scene").search_like(("a", 4), 3)
    assert ("a", 4) not in [(hit.document.album, hit.document.number) for hit in like]


def test_ivfflat_is_searched_beyond_its_first_list(host: Session) -> None:
    host.execute(text(FORCE_HNSW))
    repository = VectorRepository(host, Photo, "scene")
    explained = repository.explain(unit(0, 8), 5)
    assert explained.index == "ix_photos_scene"
    assert explained.settings["ivfflat.probes"] == "4", "the root of its 16 lists"
    assert repository.explain(unit(0, 8), 5, probes=2).settings["ivfflat.probes"] == "2"
    assert len(repository.search(unit(0, 8), 200)) == 200


def test_a_metric_that_no_index_serves_is_exact_and_reported(host: Session, caplog: pytest.LogCaptureFixture) -> None:
    repository = VectorRepository(host, Product)
    query = random_vectors(1, 8, seed=3)[0]
    with caplog.at_level(logging.WARNING, "pgcorpus"):
        hits = repository.search(query, 3, metric="l1")
        repository.search(query, 3, metric="l1")
    assert not hits.indexed
    assert repository.search(query, 3).indexed
    assert not repository.explain(query, 3, metric="l1").indexed
    assert [record.message for record in caplog.records].count(
        "no index of products.look serves the metric l1: searches scan it all"
    ) <= 1
    expected = np.abs(random_vectors(200, 8) - query).sum(axis=1)
    assert [hit.document.name for hit in hits] == [f"p{i}" for i in np.argsort(expected)[:3]]


# Explaining


def test_explain_tells_the_index_and_what_was_scanned(searching: Session) -> None:
    repository = DocumentRepository(searching, "hard")
    searching.execute(text("SET LOCAL enable_sort = off"))
    explained = repository.explain(QUERIES[0], 10, ef_search=100)
    assert (explained.index, explained.exact, explained.complete, explained.indexed) == (
        "ix_documents_embedding", False, True, True,
    )  # fmt: skip
    assert explained.returned == 10
    assert explained.scanned >= 20
    assert explained.settings["hnsw.ef_search"] == "100"
    assert explained.milliseconds > 0
    exact = repository.explain(QUERIES[0], 10, exact=True)
    assert (exact.index, exact.exact, exact.complete) == (None, True, True)
    assert exact.scanned >= ROWS
    filtered = repository.explain(QUERIES[0], 10, where={"meta.thousandth": True})
    assert filtered.returned == ROWS // 1000


# The wire


def test_a_search_works_in_a_pipeline(engine: Engine) -> None:
    """Several commands in one message are refused there, so settings go one by one."""
    if engine.dialect.driver != "psycopg":
        assert engine.dialect.driver == "psycopg2", "which has no pipelines"
        return
    with session_factory(engine)() as session:
        repository = DocumentRepository(session)
        repository.add(Document(content="x", embedding=unit(0)))
        driver_connection: Any = session.connection().connection.driver_connection
        from pgcorpus.repositories.transactions import execute_batch

        with driver_connection.pipeline():
            execute_batch(session.connection(), ["SET LOCAL hnsw.ef_search = 7", "SET LOCAL ivfflat.probes = 3"])
        assert session.scalar(text("SHOW hnsw.ef_search")) == "7"


def test_views_are_values() -> None:
    left, right = (DocumentView(1, 2, "k", "c", "s", 0, {}, embedding=unit(i, 3)) for i in (0, 1))
    assert left == right
    assert hash(left) == hash(right)
    assert left != Collection(name="x")
