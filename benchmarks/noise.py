"""What is noise: rounds in which it hits all alike, and the interval that they leave a median."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import comb, sqrt
from statistics import median, stdev
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

CONFIDENCE = 0.95


def shuffled(items: Sequence[_T], number: int) -> list[_T]:
    """Return what takes turns in the order of a round: another one in each, and the same ones in each run.

    Args:
        items: What takes turns.
        number: Of the round.
    """
    return random.Random(number).sample(items, len(items))


class Interval(NamedTuple):
    """A median and between what it lies.

    Attributes:
        middle: The median of the rounds.
        low: Lower end.
        high: Upper end.
    """

    middle: float
    low: float
    high: float

    def tells_from(self, value: float) -> bool:
        """Return whether the interval leaves a value out: else the difference is noise."""
        return not self.low <= value <= self.high


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the median of some rounds, and the interval of order statistics that holds the true one.

    How many rounds fall below the true median is binomial, whatever their distribution (Conover, "Practical
    Nonparametric Statistics", section 3.2). Fewer than six rounds cannot give 95 %: then it is all they span.

    Args:
        values: One a round, at least one.
        confidence: How often the interval is to hold the true median, 0 to 1.
    """
    ordered = sorted(values)
    cut = _cut(len(ordered), (1 - confidence) / 2)
    return Interval(median(ordered), ordered[cut], ordered[-1 - cut])


def _cut(count: int, tail: float) -> int:
    """Return how many of the lowest and of the highest may be left out, each with so small a probability."""
    below, cut = 1 / 2**count, 0
    while 2 * (cut + 1) < count and (below := below + comb(count, cut + 1) / 2**count) <= tail:
        cut += 1
    return cut


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of a mean; 0 for a single value."""
    return stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that so many of all do not exceed (nearest rank).

    Args:
        values: At least one.
        part: 0 to 1.
    """
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]
