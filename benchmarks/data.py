"""The vectors and rows of a run, always the same ones, and the exact answers.

How hard a set is for HNSW depends on its intrinsic dimension, not on the 1,536 it is stored in: points are drawn
from a Gaussian of few dimensions, projected, and given a little noise in all 1,536, as embeddings of one corpus are
spread over a thin, slightly thick surface. Queries are drawn from the same distribution.

recall@10 of 20,000 rows, m = 16, ef_construction = 64 (pgvector 0.8.6), by ``hnsw.ef_search``:

======  ==========  ====  ====  ====  ====  ====
set     dimensions  20    40    100   160   200
======  ==========  ====  ====  ====  ====  ====
easy    8           .999  1.00  1.00  1.00  1.00
        16          .970  .996  1.00  1.00  1.00
        32          .771  .911  .993  1.00  1.00
        40          .690  .848  .980  .995  .999
hard    44          .664  .829  .967  .992  .996
        48          .620  .791  .948  .987  .996
======  ==========  ====  ====  ====  ====  ====

The hard set is the one that tells ``ef_search`` 40 (.83) from 100 (.97) and 160 (.99). On the easy one the server is
done soonest, so that a client's own time weighs most: the ratios are taken there, and once more on the hard one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.terms import DIMENSIONS, SELECTIVITIES, K

Array = NDArray[np.float32]

QUERIES = 200
# Rows for the writes that come after the search tables are filled.
SPARE = 2_000
PASSAGES_PER_SOURCE = 50
SENTENCE = "a document is stored as passages of text and each of them has an embedding by which it is found again"
WORDS_PER_PASSAGE = 60


class Kind(NamedTuple):
    """How a set is drawn.

    Attributes:
        dimensions: Intrinsic dimensions.
        noise: Length of the noise, where the vector's is 1.
        seed: Of the random numbers.
    """

    dimensions: int
    noise: float
    seed: int


KINDS = {"easy": Kind(8, 0.05, 1), "hard": Kind(44, 0.1, 2)}


class Row(NamedTuple):
    """One passage, as plain data; ``metadata`` also has its number."""

    number: int
    content: str
    source: str
    position: int
    metadata: dict[str, int]
    vector: Any


@dataclass(frozen=True)
class Vectors:
    """A set's vectors, each of length 1.

    Attributes:
        rows: Shape (rows, 1536).
        spare: More of the same, shape (2000, 1536).
        queries: Shape (200, 1536).
    """

    rows: Array
    spare: Array
    queries: Array


def draw(name: str, rows: int, dimensions: int = DIMENSIONS) -> Vectors:
    """Draw a set's vectors.

    Args:
        name: ``easy`` or ``hard``.
        rows: How many to store.
        dimensions: Of each vector.
    """
    kind = KINDS[name]
    random = np.random.default_rng(kind.seed)
    scale = np.float32(1 / np.sqrt(dimensions))
    surface = random.standard_normal((kind.dimensions, dimensions), dtype=np.float32) * scale
    count = rows + SPARE + QUERIES
    vectors = unit(random.standard_normal((count, kind.dimensions), dtype=np.float32) @ surface)
    vectors += random.standard_normal(vectors.shape, dtype=np.float32) * (scale * np.float32(kind.noise))
    stored, spare, queries = np.split(unit(vectors), [rows, rows + SPARE])
    return Vectors(stored, spare, queries)


def save(vectors: Vectors, folder: Path) -> None:
    """Write a set where workers find it."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("rows", "spare", "queries"):
        np.save(folder / f"{part}.npy", getattr(vectors, part))


def load(folder: Path, part: str) -> Array:
    """Map one part of a saved set (``rows``, ``spare`` or ``queries``) into memory."""
    return np.load(folder / f"{part}.npy", mmap_mode="r")  # type: ignore[no-any-return]


def make_rows(vectors: Array, first: int = 0) -> Iterator[Row]:
    """Make a passage of each vector; what it says depends on its number only.

    Args:
        vectors: Shape (rows, 1536).
        first: The first number.
    """
    for number, vector in enumerate(vectors, first):
        yield Row(
            number,
            _passage(number),
            f"source-{number // PASSAGES_PER_SOURCE}",
            number % PASSAGES_PER_SOURCE,
            metadata(number),
            vector,
        )


def metadata(number: int) -> dict[str, int]:
    """Return a passage's metadata: its number, and the fields to filter by, which are independent of the vectors."""
    fields = {field: number % round(1 / part) for field, part in SELECTIVITIES.items()}
    return {"number": number, **fields}


def truth(rows: Array, queries: Array, field: str | None = None) -> list[list[int]]:
    """Return the numbers of each query's nearest rows, by comparing with all.

    Args:
        rows: Shape (rows, 1536).
        queries: Shape (queries, 1536).
        field: The metadata field that must be 0.
    """
    step = 1 if field is None else round(1 / SELECTIVITIES[field])
    candidates = np.arange(0, len(rows), step)
    similarity = queries @ rows[candidates].T
    nearest = np.argsort(-similarity, axis=1)[:, :K]
    return [[int(number) for number in candidates[row]] for row in nearest]


def unit(vectors: Array) -> Array:
    """Return vectors of length 1."""
    scaled: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


def _passage(number: int) -> str:
    choice = SENTENCE.split()
    words = [choice[(number * 7 + step * (1 + number % 5)) % len(choice)] for step in range(WORDS_PER_PASSAGE)]
    return f"Passage {number}: {' '.join(words)}."
