"""Curves of recall against speed: what searches answered, the point it makes, and the line of the best points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp, log
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.noise import interval, percentile, standard_error

Point = dict[str, Any]


class Answers(NamedTuple):
    """Some searches at one setting, in one round.

    Attributes:
        recalls: Of each, the part of the true nearest that was found, 0 to 1.
        rows: Of each, the rows returned.
        seconds: Of each, how long it took.
    """

    recalls: list[float]
    rows: list[float]
    seconds: list[float]

    @property
    def rate(self) -> float:
        """Return searches a second, of one client after another."""
        return len(self.seconds) / sum(self.seconds)


def compare(numbers: Sequence[Sequence[int]], truth: Sequence[Sequence[int]], seconds: Sequence[float]) -> Answers:
    """Compare what was found with the exact answers of the same queries.

    Args:
        numbers: Of each query the rows found.
        truth: Of each query the nearest rows; they may be fewer than were asked for.
        seconds: Of each query how long it took.
    """
    pairs = list(zip(numbers, truth, strict=True))
    recalls = [len(set(found) & set(wanted)) / len(wanted) for found, wanted in pairs]
    return Answers(recalls, [float(len(found)) for found, _ in pairs], list(seconds))


def point(rounds: Sequence[Answers], **setting: Any) -> Point:
    """Return a point of a curve: recall and rows over all queries, times over the rounds.

    Args:
        rounds: Of one setting, at least one.
        **setting: What was set.
    """
    recalls = [recall for each in rounds for recall in each.recalls]
    seconds = [second for each in rounds for second in each.seconds]
    rate = interval([each.rate for each in rounds])
    return {
        **setting,
        "recall": mean(recalls),
        "recall_error": standard_error(recalls),
        "rows": mean(rows for each in rounds for rows in each.rows),
        "qps": rate.middle,
        "qps_low": rate.low,
        "qps_high": rate.high,
        "p50_ms": 1000 * percentile(seconds, 0.5),
        "p95_ms": 1000 * percentile(seconds, 0.95),
    }


def pareto(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both recall and queries a second, by rising recall."""
    best: list[Point] = []
    for each in sorted(points, key=lambda each: (each["recall"], each["qps"]), reverse=True):
        if not best or each["qps"] > best[-1]["qps"]:
            best.append(each)
    return best[::-1]


def at_recall(points: Sequence[Point], recall: float, field: str = "p50_ms") -> float | None:
    """Return a figure at a recall between two measured points, on the line of the best ones.

    Interpolated on a logarithmic scale, as time grows with ``ef_search`` while recall nears 1.

    Args:
        points: Measured.
        recall: Wanted, 0 to 1.
        field: The figure, more than 0.

    Returns:
        None where no point reaches the recall; the fastest point's figure where all do.
    """
    line = pareto(points)
    if not line or line[-1]["recall"] < recall:
        return None
    if line[0]["recall"] >= recall:
        return float(line[0][field])
    below, above = next((one, other) for one, other in pairwise(line) if one["recall"] < recall <= other["recall"])
    part = (recall - below["recall"]) / (above["recall"] - below["recall"])
    return exp(log(below[field]) + part * (log(above[field]) - log(below[field])))


def cheapest(points: Sequence[Point], recall: float) -> Point | None:
    """Return the fastest measured point that reaches a recall; None where none does."""
    return min((each for each in points if each["recall"] >= recall), key=lambda each: each["p50_ms"], default=None)


def by_index(points: Sequence[Point]) -> list[Point]:
    """Return the points at which the planner asked the index: an exact scan says nothing of it."""
    return [each for each in points if each["indexed"]]
