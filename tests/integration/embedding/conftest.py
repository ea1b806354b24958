"""A server that speaks the OpenAI API, and both embedders of it behind one face."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pgcorpus.errors import EmbeddingError
from pgcorpus.services.embedding import AsyncOpenAIEmbedder, EmbeddedBatch, OpenAIEmbedder
from pgcorpus.services.embedding.base import Vectors
from tests.support.openai_server import OpenAIServer


class Blocking:
    """The sync embedder; ``embedder`` is the object itself."""

    def __init__(self, embedder: OpenAIEmbedder) -> None:
        self.embedder: Any = embedder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.embedder, name)

    def gather(self, texts: Sequence[str]) -> tuple[list[EmbeddedBatch], EmbeddingError | None]:
        """Return what ``embed_batches`` yields, and the error that ends it."""
        batches: list[EmbeddedBatch] = []
        try:
            batches.extend(self.embedder.embed_batches(texts))
        except EmbeddingError as exc:
            return batches, exc
        return batches, None

    def first_batch(self, texts: Sequence[str]) -> EmbeddedBatch:
        """Take one batch, and then no more."""
        batches = self.embedder.embed_batches(texts)
        first = next(batches)
        batches.close()
        return first

    def embed_at_once(self, lists: Sequence[Sequence[str]]) -> list[Vectors]:
        """Call ``embed`` for several lists at the same time."""
        with ThreadPoolExecutor(len(lists)) as threads:
            return list(threads.map(self.embedder.embed, lists))


class Awaited:
    """The async embedder, with the methods of :class:`Blocking`."""

    def __init__(self, embedder: AsyncOpenAIEmbedder) -> None:
        self.embedder: Any = embedder
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.embedder, name)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._runner.run(self.embedder.embed(texts))

    def close(self) -> None:
        self._runner.run(self.embedder.close())

    def close_loop(self) -> None:
        self.close()
        self._runner.close()

    def gather(self, texts: Sequence[str]) -> tuple[list[EmbeddedBatch], EmbeddingError | None]:
        batches: list[EmbeddedBatch] = []

        async def collect() -> None:
            async for batch in self.embedder.embed_batches(texts):
                batches.append(batch)

        try:
            self._runner.run(collect())
        except EmbeddingError as exc:
            return batches, exc
        return batches, None

    def first_batch(self, texts: Sequence[str]) -> EmbeddedBatch:
        async def take() -> EmbeddedBatch:
            batches = self.embedder.embed_batches(texts)
            first: EmbeddedBatch = await anext(batches)
            await batches.aclose()
            return first

        return self._runner.run(take())

    def embed_at_once(self, lists: Sequence[Sequence[str]]) -> list[Vectors]:
        async def gather() -> list[Vectors]:
            return await asyncio.gather(*map(self.embedder.embed, lists))

        return self._runner.run(gather())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def connect(server: OpenAIServer, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make embedders of the server, sync and async, and close them."""
    made: list[Any] = []

    def make(model: str = "tiny-8", **options: Any) -> Any:
        arguments: dict[str, Any] = {"base_url": server.base_url, "api_key": "sk-test"} | options
        is_sync = request.param == "sync"
        made.append(
            Blocking(OpenAIEmbedder(model, **arguments))
            if is_sync
            else Awaited(AsyncOpenAIEmbedder(model, **arguments))
        )
        return made[-1]

    yield make
    for embedder in made:
        embedder.close_loop() if isinstance(embedder, Awaited) else embedder.close()
