"""A question finds its documents, sync and async, also while the collection's model is switched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import async_scoped_session
from sqlalchemy.orm import DeclarativeBase, Session, scoped_session

from pgcorpus.database import async_session_factory, session_factory
from pgcorpus.errors import (
    CollectionNotFoundError,
    ConfigError,
    EmbeddingError,
    EmbeddingModelMismatchError,
    FilterError,
    SearchError,
)
from pgcorpus.models import Collection, Document, DocumentMixin, Metric, VectorMapped, vector_column
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.embedding import pad
from pgcorpus.services.retrieval import AsyncRetriever, Retriever
from pgcorpus.vectors import Array
from tests.support.words import FRUIT, AsyncWordEmbedder, Sync, WordEmbedder, each_way, store


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest, engine: Engine, url: URL) -> Iterator[Sync]:
    with each_way(request.param, engine, url) as way:
        yield way


def keys(hits: Sequence[Any]) -> list[str]:
    return [hit.document.key for hit in hits]


def test_the_nearest_come_first_with_similarity_and_distance(way: Sync) -> None:
    embedder = way.embedder()
    hits = way.run(way.retriever(way.bind, embedder, "fruit").retrieve("an apple tree", 2))
    assert keys(hits) == ["apples", "pears"]
    assert hits[0].document.content == FRUIT["apples"]
    assert [hit.score for hit in hits] == pytest.approx([1 - hit.distance for hit in hits])
    assert 1 >= hits[0].score > hits[1].score > 0
    assert embedder.texts == ["an apple tree"]
    assert (hits.metric, hits.embedder, len(hits.vector)) == (Metric.COSINE, embedder, embedder.dimensions)
    assert set(hits.seconds) == {"embed", "search"}


def test_a_filter_and_the_options_of_a_search_are_passed_on(way: Sync) -> None:
    retriever = way.retriever(way.bind, way.embedder(), "fruit")
    hits = way.run(retriever.retrieve("apple", 9, where={"source": {"$ne": "apples"}}, exact=True, min_score=0.5))
    assert keys(hits) == []
    assert keys(way.run(retriever.retrieve("tree", 1, offset=1))) in (["apples"], ["pears"])
    for hybrid in (False, True):
        assert keys(way.run(retriever.retrieve("dog", 1, hybrid=hybrid, timeout=30, metric="l2"))) == ["dogs"]


def test_what_only_the_words_find_has_no_similarity(way: Sync) -> None:
    retriever = way.retriever(way.bind, way.embedder(), "fruit", hybrid=True)
    hits = way.run(retriever.retrieve("a car with oil", 4, candidates=1))
    assert [(hit.document.key, hit.score is None) for hit in hits] == [("cars", False)]
    hits = way.run(retriever.retrieve("pineapple for the neighbour", 4, candidates=1))
    assert [(hit.document.key, hit.score is None, hit.distance is None) for hit in hits] == [
        ("apples", False, False),
        ("dogs", True, True),
    ]
    assert hits[0].fused > hits[1].fused
    assert keys(way.run(retriever.retrieve("pineapple for the neighbour", 1, hybrid=False))) == ["apples"]


@pytest.mark.parametrize(
    ("question", "options", "error"),
    [
        ("x", {"where": {"nothing": 1}}, FilterError),
        ("x", {"k": 0}, SearchError),
        ("x", {"k": 0, "hybrid": True}, SearchError),
        ("x", {"hybrid": True, "weights": (0, 0)}, SearchError),
        ("x", {"hybrid": True, "diversify": 0.5}, TypeError),
        ("x", {"nonsense": 1}, TypeError),
        (" ", {}, SearchError),
        ("a\0b", {}, SearchError),
        ("\ud800", {"hybrid": True}, SearchError),
        (b"x", {}, SearchError),
    ],
)
def test_what_is_wrong_is_refused_before_the_question_is_embedded(
    way: Sync, question: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    embedder = way.embedder()
    with pytest.raises(error):
        way.run(way.retriever(way.bind, embedder, "fruit").retrieve(question, **options))
    with pytest.raises(CollectionNotFoundError):
        way.run(way.retriever(way.bind, embedder, "nowhere").retrieve("x"))
    assert embedder.texts == []


def test_no_connection_is_held_while_the_question_is_embedded(way: Sync) -> None:
    held: list[int] = []
    embedder = way.embedder(before=lambda _: held.append(way.connections()))
    way.run(way.retriever(way.bind, embedder, "fruit").retrieve("apple"))
    assert held == [0]
    assert way.connections() == 0


def test_the_embedder_of_the_collections_model_is_used(way: Sync) -> None:
    others, fitting = [way.embedder("one"), way.embedder("two")], way.embedder()
    assert keys(way.run(way.retriever(way.bind, [*others, fitting], "fruit").retrieve("apple", 1))) == ["apples"]
    with pytest.raises(EmbeddingModelMismatchError, match="was embedded with words, not one or two"):
        way.run(way.retriever(way.bind, others, "fruit").retrieve("apple"))
    assert [embedder.texts for embedder in (*others, fitting)] == [[], [], ["apple"]]


def switch(engine: Engine) -> None:
    """Put a collection of another model in the place of the first, as a change of the model ends."""
    with session_factory(engine).begin() as session:
        store(session, {"new": "A newer text about an apple."}, "next", WordEmbedder("newer"))
        for name, becomes in (("fruit", "past"), ("next", "fruit")):
            session.execute(update(Collection).where(Collection.name == name).values(name=becomes))


def test_a_switch_of_the_model_in_the_middle_of_a_question_is_followed(way: Sync, engine: Engine) -> None:
    old, new = way.embedder(before=lambda _: switch(engine)), way.embedder("newer")
    retriever = way.retriever(way.bind, [old, new], "fruit")
    assert keys(way.run(retriever.retrieve("apple"))) == ["new"]
    assert (old.texts, new.texts) == (["apple"], ["apple"])
    assert keys(way.run(retriever.retrieve("pear", hybrid=True))) == ["new"]
    assert (old.texts, new.texts) == (["apple"], ["apple", "pear"])


def test_a_switch_to_a_model_that_nobody_gave_is_told(way: Sync, engine: Engine) -> None:
    retriever = way.retriever(way.bind, way.embedder(before=lambda _: switch(engine)), "fruit")
    with pytest.raises(EmbeddingModelMismatchError, match="newer, not words"):
        way.run(retriever.retrieve("apple"))


@pytest.mark.parametrize("vectors", [[], [[1.0] * 9] * 2, [[]], [[float("nan")] * 9], [[0.0] * 9]])
def test_an_embedder_that_does_not_answer_one_vector_is_the_fault(engine: Engine, vectors: Any) -> None:
    embedder = WordEmbedder()
    embedder.embed = lambda _texts: np.array(vectors, np.float32)  # type: ignore[method-assign]
    with session_factory(engine).begin() as session:
        store(session)
    with pytest.raises(EmbeddingError):
        Retriever(engine, embedder, "fruit").retrieve("apple")


def test_a_vector_may_be_a_plain_list(engine: Engine) -> None:
    embedder = WordEmbedder()
    with session_factory(engine).begin() as session:
        store(session)
    vectors: Any = embedder.embed(["apple"]).tolist()
    embedder.embed = lambda _texts: vectors  # type: ignore[method-assign]
    assert keys(Retriever(engine, embedder, "fruit").retrieve("apple", 1)) == ["apples"]


class HostBase(DeclarativeBase):
    """A host's own classes."""


class Article(DocumentMixin, HostBase):
    __tablename__ = "articles_retrieved"
    embedding: VectorMapped[Array | None] = vector_column(12)


def test_a_hosts_own_class_is_searched_with_vectors_of_its_own_length(engine: Engine) -> None:
    HostBase.metadata.create_all(engine)
    embedder = WordEmbedder()
    with session_factory(engine).begin() as session:
        (vector,) = pad(embedder.embed(["an apple"]), 12)
        DocumentRepository(session, "articles", model=Article).add(Article(key="one", content="x", embedding=vector))
    hits = Retriever(engine, embedder, "articles", model=Article).retrieve("apple")
    assert (keys(hits), hits[0].score) == (["one"], pytest.approx(1))


def test_in_the_hosts_session_what_it_has_written_is_found_and_nothing_is_committed(
    session: Session, shared_engine: Engine
) -> None:
    store(session, collection="mine")
    assert keys(Retriever(session, WordEmbedder(), "mine").retrieve("apple", 1)) == ["apples"]
    assert session.in_transaction()
    with session_factory(shared_engine)() as other:
        number = select(func.count()).select_from(Document).join(Collection).where(Collection.name == "mine")
        assert other.scalar(number) == 0


def test_a_scoped_session_is_the_session_of_the_moment(engine: Engine, url: URL) -> None:
    scoped = scoped_session(session_factory(engine))
    store(scoped(), collection="mine")
    assert keys(Retriever(scoped, WordEmbedder(), "mine").retrieve("apple", 1)) == ["apples"]
    scoped.commit()
    scoped.remove()
    with each_way("async", engine, url) as way:
        scope = async_scoped_session(async_session_factory(way.bind), asyncio.current_task)
        retriever = AsyncRetriever(scope, WordEmbedder(), "fruit")

        async def retrieve() -> Any:
            try:
                return await retriever.retrieve("dog", 1)
            finally:
                await scope.remove()

        assert keys(way.run(retrieve())) == ["dogs"]


@pytest.mark.parametrize("kind", [Retriever, AsyncRetriever])
def test_what_is_neither_an_engine_nor_a_session_is_refused(engine: Engine, kind: Any) -> None:
    with engine.connect() as connection:
        for bind in (connection, session_factory(engine), str(engine.url), None):
            with pytest.raises(ConfigError, match="give an"):
                kind(bind, WordEmbedder(), "fruit")


def test_a_sync_embedder_serves_an_async_retriever_and_not_the_other_way_round(engine: Engine, url: URL) -> None:
    with each_way("async", engine, url) as way:
        assert keys(way.run(AsyncRetriever(way.bind, WordEmbedder(), "fruit").retrieve("dog", 1))) == ["dogs"]
        with pytest.raises(ConfigError, match="use AsyncRetriever"):
            Retriever(engine, AsyncWordEmbedder(), "fruit")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="is async"):
            Retriever(way.bind, WordEmbedder(), "fruit")
        with pytest.raises(ConfigError, match="not async"):
            AsyncRetriever(engine, WordEmbedder(), "fruit")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="at least one embedder"):
            Retriever(engine, [], "fruit")
