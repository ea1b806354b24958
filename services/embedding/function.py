"""Any function as an embedder, and any embedder in async code."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from numpy.typing import ArrayLike

from pgcorpus.errors import ConfigError, EmbeddingError
from pgcorpus.services.embedding.base import (
    BATCH_SIZE,
    AsyncEmbedder,
    EmbeddedBatch,
    Embedder,
    Vectors,
    check_embeddings,
    check_texts,
    in_order,
)
from pgcorpus.services.embedding.telling import embedding


class _FunctionEmbedder:
    """What both kinds of function need: a name, a length, and batches."""

    _asynchronous: bool

    def __init__(self, function: Callable[..., Any], model: str, dimensions: int, batch_size: int) -> None:
        if not model:
            raise ConfigError(
                "name the model (model='my-model-v1'): the name is stored with each collection, so that "
                "vectors of another model are never compared with these"
            )
        if min(dimensions, batch_size) < 1:
            raise ConfigError("dimensions and batch_size must be at least 1")
        if inspect.iscoroutinefunction(function) is not self._asynchronous:
            other = "FunctionEmbedder" if self._asynchronous else "AsyncFunctionEmbedder"
            raise ConfigError(f"the function is of the other kind: give it to {other}")
        self._function = function
        self.model, self.dimensions, self.batch_size = model, dimensions, batch_size

    def _slices(self, texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        check_texts(texts)
        for first in range(0, len(texts), self.batch_size):
            yield first, list(texts[first : first + self.batch_size])

    def _checked(self, answer: object, first: int, count: int) -> EmbeddedBatch:
        if not isinstance(answer, Iterable):
            raise EmbeddingError(f"the function of {self.model} answered a {type(answer).__name__} instead of vectors")
        return EmbeddedBatch(first, check_embeddings(list(answer), count, self.dimensions, first=first))


class FunctionEmbedder(_FunctionEmbedder):
    """Embeds with any function: a model of sentence-transformers, a client of another provider, a service of one's own.

    Args:
        function: Takes a list of at most ``batch_size`` texts, returns one vector for each, in order: an array of shape
            ``(len(texts), dimensions)``, or a list of arrays or lists. What it raises is raised by ``embed``.
        model: The identity stored with a collection. Change it when the vectors change: another version of the
            model, another prefix or another length.
        dimensions: The length of a vector.
        batch_size: Texts in a call.

    Raises:
        ConfigError: There is no name, or the function is async.
    """

    _asynchronous = False

    def __init__(
        self,
        function: Callable[[list[str]], Iterable[ArrayLike]],
        *,
        model: str = "",
        dimensions: int,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        super().__init__(function, model, dimensions, batch_size)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order.

        Args:
            texts: Any number of texts, none of them empty.

        Returns:
            Shape ``(len(texts), dimensions)``.

        Raises:
            EmbeddingError: A text cannot be embedded, or the function's answer cannot be used.
        """
        with embedding(self.model, len(texts)):
            return in_order(self.embed_batches(texts), len(texts), self.dimensions)

    def embed_batches(self, texts: Sequence[str]) -> Iterator[EmbeddedBatch]:
        """Yield the vectors of each call of the function.

        Args:
            texts: Any number of texts, none of them empty.
        """
        for first, batch in self._slices(texts):
            yield self._checked(self._function(batch), first, len(batch))


class AsyncFunctionEmbedder(_FunctionEmbedder):
    """The async twin of :class:`FunctionEmbedder`: the function is awaited, one call after another."""

    _asynchronous = True

    def __init__(
        self,
        function: Callable[[list[str]], Awaitable[Iterable[ArrayLike]]],
        *,
        model: str = "",
        dimensions: int,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        super().__init__(function, model, dimensions, batch_size)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order: see :meth:`FunctionEmbedder.embed`."""
        with embedding(self.model, len(texts)):
            return in_order([batch async for batch in self.embed_batches(texts)], len(texts), self.dimensions)

    async def embed_batches(self, texts: Sequence[str]) -> AsyncIterator[EmbeddedBatch]:
        """Yield the vectors of each call of the function.

        Args:
            texts: Any number of texts, none of them empty.
        """
        for first, batch in self._slices(texts):
            yield self._checked(await self._function(batch), first, len(batch))


def as_async(embedder: Embedder | AsyncEmbedder) -> AsyncEmbedder:
    """Return an embedder for async code that runs a sync one in a thread; an async one is returned as it is.

    Args:
        embedder: Its ``embed`` must be safe in several threads at once, as those of this package are.
    """
    if inspect.iscoroutinefunction(embedder.embed):
        return cast(AsyncEmbedder, embedder)
    kind = _BatchesInThread if hasattr(embedder, "embed_batches") else _InThread
    return kind(cast(Embedder, embedder))


# What others ask of an embedder that has it.
_HINTS = ("batch_size", "cached", "concurrency", "hits", "usage")


class _InThread:
    """An embedder whose calls run in a thread of asyncio's."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder: Any = embedder
        self.model = embedder.model

    @property
    def dimensions(self) -> int:
        return int(self._embedder.dimensions)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        vectors: Vectors = await asyncio.to_thread(self._embedder.embed, texts)
        return vectors

    def __getattr__(self, name: str) -> Any:
        if name not in _HINTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._embedder, name)


class _BatchesInThread(_InThread):
    """The same of an embedder that hands over its batches."""

    async def embed_batches(self, texts: Sequence[str]) -> AsyncIterator[EmbeddedBatch]:
        batches = self._embedder.embed_batches(texts)
        while (batch := await asyncio.to_thread(next, batches, None)) is not None:
            yield batch
