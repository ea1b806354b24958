"""Hard vectors of any number, drawn into a file block by block, so that no more than one block is in memory.

The same distribution as the hard set of ``data.py``. Each block has its own seed: the first rows of a large set are
those of a small one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.data import KINDS, Array, Row, unit
from benchmarks.terms import K

BLOCK = 10_000
KIND = KINDS["hard"]
# Of the queries: no block has this number.
QUERIES = -1


class Stream:
    """A set in a file.

    It is drawn before a clock runs: while a client draws, the server would go on with what it has been sent.

    Args:
        rows: How many.
        dimensions: Of each vector.
        path: The file, which is written.
    """

    def __init__(self, rows: int, dimensions: int, path: Path) -> None:
        self.rows, self.dimensions, self._path = rows, dimensions, path
        random = np.random.default_rng(KIND.seed)
        self._scale = np.float32(1 / np.sqrt(dimensions))
        self._surface = random.standard_normal((KIND.dimensions, dimensions), dtype=np.float32) * self._scale
        with path.open("wb") as file:
            for number, first in enumerate(range(0, rows, BLOCK)):
                self._draw(number, BLOCK)[: rows - first].tofile(file)

    def queries(self, count: int) -> Array:
        """Return queries, shape (count, dimensions)."""
        return self._draw(QUERIES, count)

    def blocks(self) -> Iterator[Array]:
        """Yield the vectors, shape (at most 10,000, dimensions)."""
        with self._path.open("rb") as file:
            for first in range(0, self.rows, BLOCK):
                numbers = np.fromfile(file, np.float32, min(BLOCK, self.rows - first) * self.dimensions)
                yield numbers.reshape(-1, self.dimensions)

    def passages(self) -> Iterator[Row]:
        """Yield a passage of each vector."""
        number = 0
        for block in self.blocks():
            for vector in block:
                yield Row(number, f"Passage {number}.", "stream", number, {"number": number}, vector)
                number += 1

    def truth(self, queries: Array) -> list[list[int]]:
        """Return the numbers of each query's nearest rows, by comparing with all, block by block.

        Args:
            queries: Shape (queries, dimensions).
        """
        numbers = np.empty((len(queries), 0), np.int64)
        nearness = np.empty((len(queries), 0), np.float32)
        for first, block in zip(range(0, self.rows, BLOCK), self.blocks(), strict=True):
            here = np.broadcast_to(np.arange(first, first + len(block)), (len(queries), len(block)))
            numbers = np.concatenate([numbers, here], axis=1)
            nearness = np.concatenate([nearness, queries @ block.T], axis=1)
            best = np.argsort(-nearness, axis=1)[:, :K]
            numbers, nearness = np.take_along_axis(numbers, best, 1), np.take_along_axis(nearness, best, 1)
        return [[int(number) for number in row] for row in numbers]

    def _draw(self, block: int, count: int) -> Array:
        random = np.random.default_rng([KIND.seed, block - QUERIES])
        vectors = unit(random.standard_normal((count, KIND.dimensions), dtype=np.float32) @ self._surface)
        vectors += random.standard_normal(vectors.shape, dtype=np.float32) * (self._scale * np.float32(KIND.noise))
        return unit(vectors)
