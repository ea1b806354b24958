"""What a number of searches say about all others: recall by distance, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

# One side of a normal distribution: 95 of a hundred samples have their mean above the bound (1.645 deviations).
_DEVIATIONS = 1.6449

# Equal distances, computed in another order, differ by less than this.
_EQUAL = 1e-6


def recall_of(found: Sequence[float], nearest: Sequence[float]) -> float:
    """Return the share of the nearest rows that were found, by distance: of equally distant rows any will do.

    Args:
        found: Distances of a search's hits.
        nearest: Distances of the exact answer, in order; where there is none, all of it was found.
    """
    if not nearest:
        return 1.0
    within = nearest[-1] + _EQUAL * (1 + abs(nearest[-1]))
    return min(1.0, sum(1 for distance in found if distance <= within) / len(nearest))


def lower_bound(recalls: Sequence[float], hits: float) -> float:
    """Return what the recall of other searches of the same kind is at least, on average, with 95 % confidence.

    Wilson's score interval (Wilson 1927), with as many trials as the spread of the searches allows: the hits of one
    search succeed and fail together, so ten hits are fewer than ten trials.

    Args:
        recalls: Of each search, 0 to 1; at least one.
        hits: Of each, on average: as many as there are to be found.
    """
    mean, searches = float(np.mean(recalls)), len(recalls)
    trials = searches * max(1.0, hits)
    if searches > 1 and (variance := float(np.var(recalls, ddof=1)) / searches) > 0:
        trials = min(trials, max(float(searches), mean * (1 - mean) / variance))
    square = _DEVIATIONS**2
    middle = mean + square / (2 * trials)
    spread = _DEVIATIONS * sqrt(mean * (1 - mean) / trials + square / (4 * trials**2))
    return max(0.0, (middle - spread) / (1 + square / trials))


def half_and_most(milliseconds: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return float(p50), float(p95)
