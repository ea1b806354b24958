"""Reciprocal rank fusion over given ranks, as ``search_hybrid`` does it, so that a grid needs one search a query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

WEIGHTS = ((1.0, 0.0), (4.0, 1.0), (3.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0))
CONSTANTS = (10.0, 20.0, 60.0)


class Ranked(NamedTuple):
    """A document with its ranks, None on a side that did not find it."""

    id: int
    key: str
    vector_rank: int | None
    text_rank: int | None


@dataclass(frozen=True, slots=True)
class Setting:
    """Weights of the vector's and the text's side, and the constant."""

    weights: tuple[float, float]
    rrf_k: float

    def __str__(self) -> str:
        vector, text = self.weights
        return f"{vector:g}:{text:g}, k = {self.rrf_k:g}"


GRID = tuple(Setting(weights, rrf_k) for weights, rrf_k in product(WEIGHTS, CONSTANTS))


def fuse(candidates: Iterable[Ranked], setting: Setting, k: int = 10) -> list[str]:
    """Return the keys of the best ``k``; a document whose score is 0 is none.

    Args:
        candidates: Those of both sides.
        setting: How to weigh them.
        k: How many.
    """
    scored = ((score(each, setting), each) for each in candidates)
    best = sorted((-value, each.id, each.key) for value, each in scored if value > 0)
    return [key for _, _, key in best[:k]]


def score(candidate: Ranked, setting: Setting) -> float:
    """Return the sum of ``weight / (rrf_k + rank)`` over the sides that found the document."""
    ranks: Sequence[int | None] = (candidate.vector_rank, candidate.text_rank)
    return sum(
        weight / (setting.rrf_k + rank) for weight, rank in zip(setting.weights, ranks, strict=True) if rank is not None
    )
