"""What any embedder answers, in as small pieces as it hands over."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from pgcorpus.services.embedding.base import EmbeddedBatch, Vectors, batch_size_of, check_embeddings
from pgcorpus.services.embedding.call import numbered


def batches_of(embedder: Any, texts: Sequence[str]) -> Iterator[EmbeddedBatch]:
    """Yield what an embedder answers: its own batches where it has ``embed_batches``, else one for each call.

    Args:
        embedder: Any :class:`~pgcorpus.services.embedding.base.Embedder`; it is not asked for nothing.
        texts: Any number of texts.
    """
    if hasattr(embedder, "embed_batches") and texts:
        yield from embedder.embed_batches(texts)
        return
    for piece in _pieces(embedder, texts):
        with numbered(piece):
            vectors = checked(embedder.embed(texts[piece.start : piece.stop]), len(piece))
        yield EmbeddedBatch(piece.start, vectors)


async def async_batches_of(embedder: Any, texts: Sequence[str]) -> AsyncGenerator[EmbeddedBatch, None]:
    """Yield what an async embedder answers: the async twin of :func:`batches_of`."""
    if hasattr(embedder, "embed_batches") and texts:
        async with aclosing(embedder.embed_batches(texts)) as batches:
            async for batch in batches:
                yield batch
        return
    for piece in _pieces(embedder, texts):
        with numbered(piece):
            vectors = checked(await embedder.embed(texts[piece.start : piece.stop]), len(piece))
        yield EmbeddedBatch(piece.start, vectors)


def checked(vectors: Vectors, count: int, dimensions: int | None = None, first: int = 0) -> Vectors:
    """Return the vectors if they can be stored and found again, as :func:`check_embeddings` does.

    Args:
        vectors: One row for each text.
        count: How many texts there are.
        dimensions: The length that every row must have; without it that of the first.
        first: The position of the first text, for the messages.

    Raises:
        EmbeddingError: They cannot.
    """
    width = int(np.size(vectors[0])) if len(vectors) else 0
    return check_embeddings(vectors, count, dimensions or width, first=first)


def _pieces(embedder: object, texts: Sequence[str]) -> Iterator[range]:
    size = batch_size_of(embedder)
    return (range(first, min(first + size, len(texts))) for first in range(0, len(texts), size))
