"""What the documents of a collection hold, as figures: counted row by row, of a sample or of all."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Of float32 components and of halfvec ones alike, the norm of what was normalised is this near to 1.
_UNIT = 0.001
# The norms of one model that does not normalise lie around their mean: these are far from 1.
FAR_NORMS = (0.5, 2.0)

# Below, a vector of few words (feature hashing, one-hot) may end anywhere; an embedder's is longer, and has no zeros.
_SHORTEST = 32
_DENSE = 0.5

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class CollectionContents:
    """What was seen of a collection's documents.

    Attributes:
        id: The collection.
        tenant: Whose it is.
        name: Its name.
        language: The one it is searched in.
        model: Its embedding model.
        seen: How many documents were looked at.
        waiting: Of these, how many have no embedding.
        zero: How many have a zero vector.
        lengths: How many dense embeddings end at which dimension: what follows is the padding.
        unit_norms: How many embeddings have norm 1.
        other_norms: How many have a norm below 0.5 or above 2.
        languages: How many documents are in which language.
        copies: How many have a content that another one had before.
        most: How many have the content that most have.
        examples: Ids of documents that have it, the first three.
        stale: How many have a hash that is not their content's.
    """

    id: int
    tenant: str
    name: str
    language: str
    model: str | None
    seen: int = 0
    waiting: int = 0
    zero: int = 0
    lengths: Mapping[int, int] = field(default_factory=dict)
    unit_norms: int = 0
    other_norms: int = 0
    languages: Mapping[str, int] = field(default_factory=dict)
    copies: int = 0
    most: int = 0
    examples: tuple[int, ...] = ()
    stale: int = 0

    @property
    def embedded(self) -> int:
        """How many have an embedding."""
        return self.seen - self.waiting


class Tally:
    """Counts documents as they are read; of each it keeps 16 bytes."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()
        self._languages: Counter[str] = Counter()
        self._ids = array("q")
        self._hashes = array("q")

    def add(self, row: Any) -> None:
        """Count a document: its ``id``, ``hash``, ``language``, ``stale``, and its embedding's figures."""
        self._counts["seen"] += 1
        self._counts["stale"] += bool(row.stale)
        self._languages[row.language] += 1
        if row.hash is not None:
            self._ids.append(row.id)
            self._hashes.append(int.from_bytes(bytes(row.hash)[:8], "big", signed=True))
        if row.norm is None:
            self._counts["waiting"] += 1
        else:
            self._add_embedding(row.norm, row.length, row.components)

    def _add_embedding(self, norm: float, length: int, components: int) -> None:
        """Take norm, length up to the last component that is not zero, and the number of those."""
        if norm == 0:
            self._counts["zero"] += 1
            return
        self._counts["unit_norms"] += abs(norm - 1) < _UNIT
        self._counts["other_norms"] += not FAR_NORMS[0] <= norm <= FAR_NORMS[1]
        if length >= _SHORTEST and components >= _DENSE * length:
            self._lengths[length] += 1

    def contents(self, collection: CollectionContents) -> CollectionContents:
        """Return what was counted of a collection."""
        known = {name: getattr(collection, name) for name in ("id", "tenant", "name", "language", "model")}
        counted: dict[str, Any] = {**self._counts, **self._copies()}
        return CollectionContents(**known, **counted, lengths=self._lengths, languages=self._languages)

    def _copies(self) -> dict[str, Any]:
        """SHA-256 by its first 8 bytes: among a million contents two agree by chance once in 40 million times."""
        if not self._hashes:
            return {}
        hashes = np.asarray(self._hashes)
        values, counts = np.unique(hashes, return_counts=True)
        largest = int(counts.argmax())
        same = np.flatnonzero(hashes == values[largest])[:_EXAMPLES]
        return {
            "copies": len(hashes) - len(values),
            "most": int(counts[largest]),
            "examples": tuple(self._ids[position] for position in same),
        }
