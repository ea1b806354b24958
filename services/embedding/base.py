"""What an embedder is, and the rules for texts before it and vectors after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pgcorpus.errors import EmbeddingError

# The length of the shipped `documents.embedding` column.
COLUMN_DIMENSIONS = 1536

Vectors: TypeAlias = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into vectors of one length."""

    @property
    def model(self) -> str:
        """The identity stored with a collection: vectors of two identities must never be compared."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of a vector as the model gives it, before any padding."""
        ...

    @property
    def batch_size(self) -> int:
        """How many texts one call should get at most; more are taken, and split inside."""
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


class Batch(NamedTuple):
    """Consecutive texts that go out together.

    Attributes:
        first: The position of ``texts[0]`` in the list that ``embed`` was given.
        texts: At least one.
    """

    first: int
    texts: list[str]


def plan_batches(
    texts: Sequence[str], *, max_texts: int, max_tokens: int, count_tokens: Callable[[str], int]
) -> Iterator[Batch]:
    """Cut texts into consecutive batches that keep both limits.

    A text that is over ``max_tokens`` by itself goes alone: only the model can say whether it is too long.

    Args:
        texts: What is to be embedded.
        max_texts: Texts in a batch.
        max_tokens: Tokens in a batch, summed over its texts.
        count_tokens: The tokens of one text, or an upper bound.
    """
    first = total = 0
    for position, text in enumerate(texts):
        tokens = count_tokens(text)
        full = position - first == max_texts or total + tokens > max_tokens
        if full and position > first:
            yield Batch(first, list(texts[first:position]))
            first, total = position, 0
        total += tokens
    if first < len(texts):
        yield Batch(first, list(texts[first:]))


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
