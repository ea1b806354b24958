"""Maximal marginal relevance: hits that are near the query and unlike each other."""

from __future__ import annotations

import numpy as np

from pgcorpus.vectors import Array


def most_diverse(query: Array, candidates: Array, count: int, diversity: float) -> list[int]:
    """Return positions of candidates in the order in which they are chosen.

    Each next one has the largest ``(1 - diversity) * similarity to the query - diversity * similarity to the nearest
    one chosen`` (Carbonell and Goldstein 1998, "The Use of MMR"); similarities are cosines.

    Args:
        query: Shape (dimensions,).
        candidates: Shape (n, dimensions), none of them zero.
        count: How many to choose; all if there are fewer.
        diversity: 0 for the nearest, 1 for the most unlike.
    """
    unit = candidates / np.linalg.norm(candidates, axis=1, keepdims=True)
    relevance = unit @ (query / np.linalg.norm(query))
    redundancy = np.zeros(len(unit), dtype=np.float32)
    left = np.ones(len(unit), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < min(count, len(unit)):
        gain = np.where(left, (1 - diversity) * relevance - diversity * redundancy, -np.inf)
        best = int(np.argmax(gain))
        similarity = unit @ unit[best]
        redundancy = similarity if not chosen else np.maximum(redundancy, similarity)
        chosen.append(best)
        left[best] = False
    return chosen
