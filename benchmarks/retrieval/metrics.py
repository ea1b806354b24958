"""Measures of one ranked answer, and their means; pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True, slots=True)
class Quality:
    """The measures of one answer, or their means over several.

    Attributes:
        ndcg: nDCG with gains of 0 and 1.
        recall: The part of what is relevant that was found.
        mrr: The reciprocal rank of the first relevant document.
    """

    ndcg: float
    recall: float
    mrr: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference over the same queries, and its standard error."""

    mean: float
    error: float


def judge(found: Sequence[str], relevant: AbstractSet[str], k: int = 10) -> Quality:
    """Return the measures of an answer's first ``k`` documents."""
    return Quality(ndcg_at(found, relevant, k), recall_at(found, relevant, k), reciprocal_rank(found[:k], relevant))


def ndcg_at(found: Sequence[str], relevant: AbstractSet[str], k: int) -> float:
    """Return the discounted gain of the first ``k``, by that of the best order (Järvelin and Kekäläinen 2002).

    Args:
        found: Documents, the best first, none of them twice.
        relevant: Those that are right; at least one.
        k: How many count.
    """
    gain = sum(_discount(rank) for rank, document in enumerate(found[:k], 1) if document in relevant)
    return gain / sum(_discount(rank) for rank in range(1, min(k, len(relevant)) + 1))


def recall_at(found: Sequence[str], relevant: AbstractSet[str], k: int) -> float:
    """Return the part of what is relevant that is among the first ``k``."""
    return len(relevant & set(found[:k])) / len(relevant)


def reciprocal_rank(found: Sequence[str], relevant: AbstractSet[str]) -> float:
    """Return 1 divided by the rank of the first relevant document, or 0."""
    return next((1 / rank for rank, document in enumerate(found, 1) if document in relevant), 0.0)


def mean(qualities: Iterable[Quality]) -> Quality:
    """Return the means.

    Args:
        qualities: At least one.
    """
    every = list(qualities)
    return Quality(
        fmean(each.ndcg for each in every), fmean(each.recall for each in every), fmean(each.mrr for each in every)
    )


def difference(one: Sequence[float], other: Sequence[float]) -> Difference:
    """Return how much larger one is than the other, query by query.

    Args:
        one: A measure of at least two queries.
        other: The same of the same queries.
    """
    pairs = [left - right for left, right in zip(one, other, strict=True)]
    return Difference(fmean(pairs), stdev(pairs) / math.sqrt(len(pairs)))


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)
