"""What an embedder is, and the rules for texts before it and vectors after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pgcorpus.errors import EmbeddingError

# The length of the shipped `documents.embedding` column.
COLUMN_DIMENSIONS = 1536

Vectors: TypeAlias = NDArray[np.float32]


# What a call gets at most where an embedder does not say.
BATCH_SIZE = 256


class Embedder(Protocol):
    """Turns texts into vectors of one length: any object with these three is one.

    It may have a ``batch_size`` as well, a hint (:func:`batch_size_of`), and what :class:`BatchEmbedder` adds.
    """

    @property
    def model(self) -> str:
        """The identity stored with a collection: vectors of two identities must never be compared."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of a vector as the model gives it, before any padding."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order.

        Args:
            texts: Any number of texts, none of them empty.

        Returns:
            Shape ``(len(texts), dimensions)``, finite, without a zero vector.

        Raises:
            EmbeddingError: A text cannot be embedded, or the answer cannot be used.
        """
        ...


class AsyncEmbedder(Protocol):
    """An :class:`Embedder` whose ``embed`` is awaited; :func:`~pgcorpus.services.embedding.as_async` makes one."""

    @property
    def model(self) -> str:
        """The identity, as of an :class:`Embedder`."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of a vector, before any padding."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order: see :meth:`Embedder.embed`."""
        ...


class EmbeddedBatch(NamedTuple):
    """The vectors of consecutive texts.

    Attributes:
        first: The position of the first of them in the list that was given.
        vectors: One row for each.
    """

    first: int
    vectors: Vectors


class BatchEmbedder(Embedder, Protocol):
    """An embedder that hands over each request's vectors as they come, so that a failure loses none that were paid.

    Whether one does is asked by ``hasattr(embedder, "embed_batches")``.
    """

    def embed_batches(self, texts: Sequence[str]) -> Iterator[EmbeddedBatch]:
        """Yield the vectors of all texts in the order in which they are finished, each text once.

        Args:
            texts: Any number of texts, none of them empty.

        Raises:
            EmbeddingError: Some texts have no vector; raised after all that could be had were yielded.
        """
        ...


class AsyncBatchEmbedder(AsyncEmbedder, Protocol):
    """The async twin of :class:`BatchEmbedder`."""

    def embed_batches(self, texts: Sequence[str]) -> AsyncIterator[EmbeddedBatch]:
        """Yield the vectors of all texts in the order in which they are finished, each text once."""
        ...


def batch_size_of(embedder: object) -> int:
    """Return how many texts one call should get at most: the embedder's hint, else 256."""
    return int(getattr(embedder, "batch_size", BATCH_SIZE))


def in_order(batches: Iterable[EmbeddedBatch], count: int, dimensions: int) -> Vectors:
    """Put what came in any order in the order of the texts.

    Args:
        batches: They hold every text once.
        count: How many texts there are.
        dimensions: The length of a vector where there are no texts.
    """
    ordered = [batch.vectors for batch in sorted(batches, key=lambda batch: batch.first)]
    return np.concatenate(ordered) if count else np.empty((0, dimensions), np.float32)


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what no embedder takes, before anything is sent.

    Args:
        texts: What ``embed`` was given.

    Raises:
        EmbeddingError: One string came instead of a list, or a text is no string, empty or not Unicode.
    """
    if isinstance(texts, str):
        raise EmbeddingError("embed() takes a list of texts: give a single one as [text]")
    for position, text in enumerate(texts):
        fault = _text_fault(text)
        if fault:
            raise EmbeddingError(f"texts[{position}] {fault}")


def _text_fault(text: object) -> str | None:
    if not isinstance(text, str):
        return f"is of type {type(text).__name__}: embed() takes strings"
    if not text:
        return "is empty: an empty text has no embedding"
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        return f"is not valid Unicode: a lone surrogate at character {exc.start}"
    return None


def check_embeddings(vectors: Vectors | Sequence[ArrayLike], count: int, dimensions: int, *, first: int = 0) -> Vectors:
    """Return the vectors as one array, if every one of them can be stored and found again.

    PostgreSQL refuses NaN and infinity, but takes a zero vector: its cosine distance is NaN, and it is not in
    the HNSW index (pgvector README, FAQ). pgvector squares in single precision, so a vector whose squared
    length overflows or vanishes there is refused as well.

    Args:
        vectors: One row for each text.
        count: How many texts were sent.
        dimensions: The length that every row must have.
        first: The position of the first text in the caller's list, for the messages.

    Returns:
        Shape ``(count, dimensions)``.

    Raises:
        EmbeddingError: The count or a length is wrong, or a vector is zero or not finite.
    """
    if len(vectors) != count:
        raise EmbeddingError(f"the embedder answered {len(vectors)} vectors for {count} texts")
    for position, row in enumerate(vectors, first):
        if np.shape(row) != (dimensions,):
            raise EmbeddingError(
                f"the vector of texts[{position}] has {np.size(row)} dimensions instead of {dimensions}"
            )
    # A number beyond float32 becomes infinite, which the next check refuses.
    with np.errstate(over="ignore"):
        stacked = np.asarray(vectors, dtype=np.float32).reshape(count, dimensions)
    _check_lengths(stacked, first)
    return stacked


def _check_lengths(vectors: Vectors, first: int) -> None:
    with np.errstate(all="ignore"):
        squared = np.einsum("ij,ij->i", vectors, vectors)
    unusable = np.flatnonzero(~np.isfinite(squared) | (squared == 0))
    if unusable.size:
        position = int(unusable[0])
        fault = "zero" if squared[position] == 0 else "not finite"
        raise EmbeddingError(f"the vector of texts[{first + position}] is {fault}: it cannot be searched")


def pad(vectors: Vectors, dimensions: int = COLUMN_DIMENSIONS) -> Vectors:
    """Fill vectors with zeros up to the length of the column.

    Cosine, L2 and inner product between vectors padded alike do not change (measured: by less than 3e-7).

    Args:
        vectors: Shape ``(..., n)``; one vector or many.
        dimensions: The length of the column.

    Returns:
        Shape ``(..., dimensions)``; the array itself where nothing is missing.

    Raises:
        EmbeddingError: The vectors are longer than the column.
    """
    missing = dimensions - vectors.shape[-1]
    if missing < 0:
        raise EmbeddingError(
            f"the embedder's vectors have {vectors.shape[-1]} dimensions and the column has {dimensions}: "
            f"ask the embedder for dimensions={dimensions}, or declare a model with a longer column"
        )
    if missing == 0:
        return vectors
    return np.pad(vectors, [(0, 0)] * (vectors.ndim - 1) + [(0, missing)])
