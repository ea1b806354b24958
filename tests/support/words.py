"""An embedder for tests that knows a few words, and a collection about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from pgcorpus.database import create_async_engine, session_factory
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.answering import Answerer, AsyncAnswerer, AsyncOpenAIChat, OpenAIChat
from pgcorpus.services.embedding import pad
from pgcorpus.services.embedding.base import Vectors
from pgcorpus.services.retrieval import AsyncRetriever, Retriever
from tests.support.openai_server import OpenAIServer

WORDS = ("apple", "pear", "tree", "car", "engine", "dog", "bark", "rust")

FRUIT = {
    "apples": "Apples are picked in autumn. Every apple grows on a tree. Many people like them.",
    "pears": "A pear is softer. Pears grow on a tree too, as everybody knows.",
    "cars": "A car has an engine. The engine of a car wants oil.",
    "dogs": "A dog can bark. The neighbour's dog does bark all night.",
}


class WordEmbedder:
    """Counts the words it knows; texts with none of them are alike and unlike all others. It remembers the texts.

    Args:
        model: Its identity.
        before: Called with the texts of each call, before they are answered.
    """

    dimensions = len(WORDS) + 1

    def __init__(self, model: str = "words", before: Callable[[Sequence[str]], object] = len) -> None:
        self.model = model
        self.texts: list[str] = []
        self._before = before

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the counts of the words."""
        self._before(texts)
        self.texts += texts
        return np.array([[*(text.lower().count(word) for word in WORDS), 0.1] for text in texts], np.float32)


class AsyncWordEmbedder(WordEmbedder):
    """The same, to be awaited."""

    async def embed(self, texts: Sequence[str]) -> Vectors:  # type: ignore[override]
        return super().embed(texts)


def store(
    session: Session,
    texts: Mapping[str, str] = FRUIT,
    collection: str = "fruit",
    embedder: Any = None,
    **meta: Any,
) -> None:
    """Store texts by their sources, in the session's transaction."""
    embedder = embedder or WordEmbedder()
    vectors = pad(embedder.embed(list(texts.values())))
    DocumentRepository(session, collection, embedding_model=embedder.model).add_many(
        [
            Document(
                key=source,
                content=text,
                source=source,
                position=0,
                meta={"heading": source.title(), **meta},
                embedding=vector,
            )
            for (source, text), vector in zip(texts.items(), vectors, strict=True)
        ]
    )


class Sync:
    """The sync classes, for a test that is written once for both."""

    embedder, retriever, answerer, chat = WordEmbedder, Retriever, Answerer, OpenAIChat

    def __init__(self, bind: Any) -> None:
        self.bind = bind

    def run(self, outcome: Any) -> Any:
        """Return what a method returned."""
        return outcome

    def read(self, stream: Any) -> list[str]:
        """Return the pieces of a stream."""
        return list(stream)

    def connections(self) -> int:
        """Return how many connections of the pool are in use."""
        return int(self.bind.pool.checkedout())


class Async(Sync):
    """The async classes; ``run`` waits for what a method returned."""

    embedder, retriever, answerer, chat = AsyncWordEmbedder, AsyncRetriever, AsyncAnswerer, AsyncOpenAIChat  # type: ignore[assignment]

    def __init__(self, bind: Any, runner: asyncio.Runner) -> None:
        super().__init__(bind)
        self._runner = runner

    def run(self, outcome: Any) -> Any:
        async def wait() -> Any:
            return await outcome

        return self._runner.run(wait())

    def read(self, stream: Any) -> list[str]:
        async def read() -> list[str]:
            return [piece async for piece in stream]

        return self._runner.run(read())


@contextmanager
def each_way(name: str, engine: Engine, url: URL) -> Iterator[Sync]:
    """Give the sync or the async classes, with an engine of theirs on the same database."""
    with session_factory(engine).begin() as session:
        store(session)
    if name == "sync":
        yield Sync(engine)
        return
    with asyncio.Runner() as runner:
        async_engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
        yield Async(async_engine, runner)
        runner.run(async_engine.dispose())


@contextmanager
def openai_server(monkeypatch: Any) -> Iterator[OpenAIServer]:
    """Give a server that nothing of the environment leads around."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as running:
        yield running
