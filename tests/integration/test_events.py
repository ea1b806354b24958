"""What the repositories and services do is told to who listens, once, with figures that are right, and no contents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus import events
from pgcorpus.database import async_session_factory, create_async_engine, session_factory
from pgcorpus.errors import AnswerError, CollectionNotFoundError, DocumentError
from pgcorpus.events import AnswerEvent, EmbedEvent, IngestEvent, SearchEvent, WriteEvent, subscribe
from pgcorpus.repositories import AsyncDocumentRepository, DocumentRepository
from pgcorpus.repositories.search.requests import Request
from pgcorpus.repositories.search.telling import told_search
from pgcorpus.services.chunking import Passage
from pgcorpus.services.embedding import AsyncCachedEmbedder, AsyncOpenAIEmbedder, CachedEmbedder, OpenAIEmbedder
from pgcorpus.services.ingesting import AsyncIngestor, Ingestor
from pgcorpus.services.sources import Source
from tests.support.openai_server import OpenAIServer, cut_stream, failure
from tests.support.words import FRUIT, AsyncWordEmbedder, Sync, WordEmbedder, each_way, openai_server

KEY = "sk-secret"
VECTOR = np.eye(1, 1536)[0]

Listen = Callable[..., list[Any]]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with openai_server(monkeypatch) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest, engine: Engine, url: URL) -> Iterator[Sync]:
    with each_way(request.param, engine, url) as way:
        yield way


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Subscribe a list to kinds of events for the time of a test."""
    ends: list[Callable[[], None]] = []

    def listen(*kinds: Any) -> list[Any]:
        heard: list[Any] = []
        ends.append(subscribe(heard.append, *kinds))
        return heard

    yield listen
    for end in ends:
        end()


# Searches


def test_without_a_listener_no_event_is_made(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, *_arguments: Any, **_options: Any) -> None:
        raise AssertionError(f"a {type(self).__name__} was made")

    for kind in events.KINDS:
        monkeypatch.setattr(kind, "__init__", refuse)
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, "handbook")
        repository.add({"content": "a pear", "embedding": VECTOR})
        assert len(repository.search(VECTOR)) == 1
        assert len(repository.search_many([VECTOR, VECTOR])) == 2
        assert len(repository.search_text("pear")) == 1
        assert len(repository.search_hybrid("pear", VECTOR)) == 1
    WordEmbedder().embed(["a"])
    end = subscribe(len, SearchEvent)
    with session_factory(engine)() as session, pytest.raises(AssertionError, match="a SearchEvent was made"):
        DocumentRepository(session, "handbook").search(VECTOR)
    end()


def test_a_search_is_told_by_kind_with_its_rows(engine: Engine, listen: Listen) -> None:
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, "handbook", "acme")
        repository.add_many({"content": f"pear {i}", "embedding": v} for i, v in enumerate(np.eye(3, 1536)))
        heard = listen(SearchEvent)
        repository.search(VECTOR, 2, where={"version": 1})
        repository.search_many([VECTOR, VECTOR], 3)
        repository.search_text("pear", 1)
        repository.search_hybrid("pear", VECTOR, 2)
    told = [(each.kind, each.collection, each.tenant, each.k, each.rows, each.filtered) for each in heard]
    assert told == [
        ("vector", "handbook", "acme", 2, 2, True),
        ("many", "handbook", "acme", 3, 6, False),
        ("text", "handbook", "acme", 1, 1, False),
        ("hybrid", "handbook", "acme", 2, 2, False),
    ]
    assert all(each.seconds > 0 and each.error is None for each in heard)


def test_a_search_that_fails_is_told_with_the_class_of_its_error(engine: Engine, listen: Listen) -> None:
    heard = listen(SearchEvent)
    with session_factory(engine)() as session, pytest.raises(CollectionNotFoundError):
        DocumentRepository(session, "nowhere").search(VECTOR)
    assert [(each.rows, each.error) for each in heard] == [(0, "CollectionNotFoundError")]


def test_a_hybrid_search_is_told_with_the_index_of_its_vectors(engine: Engine, listen: Listen) -> None:
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, "handbook")
        repository.add_many({"content": f"pear {i}", "embedding": v} for i, v in enumerate(np.eye(3, 1536)))
        heard = listen(SearchEvent)
        repository.search_hybrid("pear", VECTOR, 2)
        repository.search_hybrid("pear", VECTOR, 2, exact=True)
        repository.search_text("pear", 2)
    told = [(each.form, each.ef_search, each.indexed, each.complete, each.exact) for each in heard]
    assert told == [
        ("vector", 160, True, False, True),
        (None, None, True, True, True),
        (None, None, False, True, False),
    ]


def test_a_search_that_is_interrupted_is_not_told(listen: Listen) -> None:
    def interrupt() -> list[Any]:
        raise KeyboardInterrupt

    heard = listen(SearchEvent)
    with pytest.raises(KeyboardInterrupt):
        told_search("vector", ("handbook", "acme"), Request(), False, interrupt)
    assert heard == []


# Writes


def test_every_write_is_told_once_with_the_documents_it_concerned(engine: Engine, listen: Listen) -> None:
    heard = listen(WriteEvent)
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, "handbook", "acme")
        repository.add({"content": "a", "key": "a", "embedding": VECTOR})
        repository.add_many([{"content": "b", "key": "b"}, {"content": "c", "key": "c"}])
        repository.upsert([{"content": "b", "key": "b"}, {"content": "C", "key": "c"}, {"content": "d", "key": "d"}])
        repository.bulk_load([{"content": "e"}] * 4, source="wiki")
        repository.sync_source("s", [{"content": "f", "key": "f", "embedding": VECTOR}])
        repository.sync_sources({"s": []})
        repository.update_meta({"source": "wiki"}, {"year": 2024})
        repository.delete({"key": "a"})
        repository.delete_sources(["wiki"])
    assert [(each.operation, each.rows) for each in heard] == [
        ("add_many", 1), ("add_many", 2), ("upsert", 2), ("bulk_load", 4), ("sync_sources", 1), ("sync_sources", 1),
        ("update_meta", 4), ("delete", 1), ("delete_sources", 4),
    ]  # fmt: skip
    assert {(each.collection, each.tenant, each.error) for each in heard} == {("handbook", "acme", None)}
    assert all(each.seconds > 0 for each in heard)


def test_a_write_that_fails_is_told_with_the_class_of_its_error(engine: Engine, listen: Listen) -> None:
    heard = listen(WriteEvent)
    with session_factory(engine)() as session, pytest.raises(DocumentError):
        DocumentRepository(session, "handbook").add({"content": ""})
    assert [(each.operation, each.rows, each.error) for each in heard] == [("add_many", 0, "DocumentError")]


def test_an_awaited_write_is_told_too(url: URL, listen: Listen, engine: Engine) -> None:
    heard = listen(WriteEvent, SearchEvent)

    async def write() -> None:
        async_engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
        async with async_session_factory(async_engine).begin() as session:
            repository = AsyncDocumentRepository(session, "handbook")
            await repository.add({"content": "a", "embedding": VECTOR})
            await repository.search(VECTOR)
        await async_engine.dispose()

    asyncio.run(write())
    assert [type(each) for each in heard] == [WriteEvent, SearchEvent]


# Embeddings


def test_a_call_tells_its_requests_and_tokens_and_what_the_cache_had(
    way: Sync, service: OpenAIServer, listen: Listen
) -> None:
    asynchronous = way.answerer.__name__.startswith("Async")
    inner: Any = (AsyncOpenAIEmbedder if asynchronous else OpenAIEmbedder)(
        "tiny-8", base_url=service.base_url, api_key=KEY, max_inputs=2, max_retries=0
    )
    cached: Any = (AsyncCachedEmbedder if asynchronous else CachedEmbedder)(inner, way.bind)
    heard = listen(EmbedEvent)
    way.run(inner.embed(["a", "b", "c"]))
    way.run(cached.embed(["d", "d", "e"]))
    way.run(cached.embed(["e", "f", "g", "h"]))
    way.run(inner.close())
    figures = [(each.model, each.texts, each.requests, each.tokens, each.cached) for each in heard]
    assert figures == [("tiny-8", 3, 2, 3, 0), ("tiny-8", 3, 1, 2, 1), ("tiny-8", 4, 2, 3, 1)]


def test_a_question_that_is_retrieved_is_one_call_of_any_embedder(way: Sync, listen: Listen) -> None:
    heard = listen(EmbedEvent, SearchEvent)
    way.run(way.retriever(way.bind, way.embedder(), "fruit").retrieve("apple"))
    assert [type(each) for each in heard] == [EmbedEvent, SearchEvent]
    assert (heard[0].model, heard[0].texts, heard[0].tokens) == ("words", 1, None)


# Ingests


def source(name: str, *contents: str) -> Source:
    return Source(name, len(contents), lambda: [Passage(content) for content in contents])


def ingestor_of(way: Sync, **options: Any) -> Any:
    if way.answerer.__name__.startswith("Async"):
        return AsyncIngestor(way.bind, AsyncWordEmbedder(), "books", **options)
    return Ingestor(way.bind, WordEmbedder(), "books", **options)


def test_an_ingest_is_told_once_with_what_it_changed(way: Sync, listen: Listen) -> None:
    heard = listen(IngestEvent)
    ingestor = ingestor_of(way)
    way.run(ingestor.ingest([source("a", "apple", "pear"), source("b", "car")]))
    way.run(ingestor.ingest([source("a", "apple", "dog")], prefix="b"))
    way.run(ingestor.ingest([source("a", "rust")], dry_run=True))
    figures = [
        (each.sources, each.passages, each.embedded, each.added, each.unchanged, each.deleted, each.dry_run)
        for each in heard
    ]
    assert figures == [
        (2, 3, 3, 3, 0, 0, False),
        (1, 2, 1, 1, 1, 2, False),
        (1, 1, 1, 1, 0, 2, True),
    ]
    first = heard[0]
    assert (first.collection, first.tenant, first.error) == ("books", "default", None)
    assert min(first.seconds, first.read_seconds, first.embed_seconds, first.write_seconds) > 0


def test_its_embeddings_and_writes_are_told_as_they_happen(way: Sync, listen: Listen) -> None:
    heard = listen(EmbedEvent, WriteEvent)
    way.run(ingestor_of(way).ingest([source("a", "apple", "pear")]))
    assert [type(each) for each in heard] == [EmbedEvent, WriteEvent]
    assert (heard[0].texts, heard[1].operation, heard[1].rows) == (2, "sync_sources", 2)


def test_an_ingest_that_fails_is_told_with_the_class_of_its_error(way: Sync, listen: Listen) -> None:
    heard = listen(IngestEvent)

    def broken() -> Iterator[Source]:
        yield source("a", "apple")
        raise ValueError("no such disk")

    with pytest.raises(ValueError, match="no such disk"):
        way.run(ingestor_of(way).ingest(broken()))
    assert [(each.error, each.added) for each in heard] == [("ValueError", 0)]


# Answers


@pytest.fixture
def answerer(way: Sync, service: OpenAIServer) -> Iterator[Any]:
    """An answerer whose chat model is the service."""
    chat = way.chat(base_url=service.base_url, api_key=KEY, max_retries=0)
    yield way.answerer(way.bind, way.embedder(), "fruit", chat=chat)
    way.run(chat.close())


def test_an_answer_is_told_with_its_tokens_and_its_times(way: Sync, answerer: Any, listen: Listen) -> None:
    heard = listen(AnswerEvent)
    answer = way.run(answerer.answer("Where do apples grow?"))
    (event,) = heard
    assert (event.collection, event.tenant, event.kind, event.error) == ("fruit", "default", "generated", None)
    assert (event.hits, event.passages, event.citations) == (len(answer.hits), len(answer.passages), 1)
    assert (event.model, event.prompt_tokens, event.completion_tokens) == (
        answer.model, answer.usage.prompt_tokens, answer.usage.completion_tokens,
    )  # fmt: skip
    assert event.seconds == answer.timings.total
    assert event.seconds >= event.generate_seconds > 0


def test_a_streamed_answer_is_told_when_it_is_whole(way: Sync, answerer: Any, listen: Listen) -> None:
    heard = listen(AnswerEvent)
    stream = way.run(answerer.stream("Where do apples grow?"))
    assert heard == []
    way.read(stream)
    assert [(each.kind, each.citations) for each in heard] == [("generated", 1)]


def test_one_without_a_chat_model_and_one_that_is_not_known_are_told(way: Sync, listen: Listen) -> None:
    heard = listen(AnswerEvent, EmbedEvent)
    extractive = way.answerer(way.bind, way.embedder(), "fruit", extractive=True, min_score=0.5)
    way.run(extractive.answer("apple"))
    way.run(extractive.answer("zebra"))
    way.read(way.run(extractive.stream("zebra")))
    answers = [each for each in heard if isinstance(each, AnswerEvent)]
    assert [(each.kind, each.model, each.prompt_tokens) for each in answers] == [
        ("extractive", None, None), ("unknown", None, None), ("unknown", None, None),
    ]  # fmt: skip
    assert sum(each.texts > 1 for each in heard if isinstance(each, EmbedEvent)) == 1  # the sentences


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_that_fails_is_told_once(
    way: Sync, service: OpenAIServer, answerer: Any, listen: Listen, streamed: bool
) -> None:
    heard = listen(AnswerEvent)
    service.chat_script.append(cut_stream if streamed else failure(500, KEY))
    with pytest.raises(AnswerError):
        way.read(way.run(answerer.stream("apple"))) if streamed else way.run(answerer.answer("apple"))
    assert [(each.kind, each.error) for each in heard] == [(None, "AnswerError")]
    assert heard[0].seconds > 0


def test_no_event_tells_what_was_asked_or_found(
    way: Sync, service: OpenAIServer, answerer: Any, listen: Listen
) -> None:
    heard = listen()
    way.run(answerer.answer("Where do apples grow?"))
    way.run(ingestor_of(way).ingest([source("a", "apple")]))
    assert {type(each) for each in heard} == set(events.KINDS)
    told = repr(heard)
    for secret in ("Where do", "grow", "Apples are", "handbook", KEY, service.base_url, "apple", *FRUIT):
        assert secret not in told
