"""What a run has measured, before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean, median

from benchmarks.comparison.rounds import Rounds, Span
from benchmarks.curves import Point
from benchmarks.terms import K


@dataclass
class Found:
    """What searches found.

    Attributes:
        recall: Part of the true nearest that was found.
        rows: Rows returned, of ten that there were.
        ms: Median time of a search, cold ones included.
    """

    recall: float
    rows: float
    ms: float


@dataclass
class Results:
    """All that was measured.

    Attributes:
        easy: Searches on the easy set.
        hard: Searches on the hard set.
        delayed: Searches over a slower network, on the easy set.
        throughput: Queries per second of four threads, on the easy set.
        writes: Rows per second into a table without a vector index.
        indexed: Rows per second into a table with one.
        found: Of each peer and set what was found without a filter.
        filtered: Of each peer and field what was found with one, on the hard set.
        at_defaults: The same without one too (None), where the planner is left to the server's defaults.
        index_used: Of each peer, whether its searches went by the HNSW index.
        versions: Of each peer.
        skipped: Why a peer is missing.
        curves: Of each peer, recall and queries a second by ``ef_search``, on the hard set.
        by_selectivity: Of each peer and field, recall, rows and time with a filter, on the hard set.
    """

    easy: Rounds[Span] = field(default_factory=Rounds)
    hard: Rounds[Span] = field(default_factory=Rounds)
    delayed: Rounds[Span] = field(default_factory=Rounds)
    throughput: Rounds[float] = field(default_factory=Rounds)
    writes: Rounds[float] = field(default_factory=Rounds)
    indexed: Rounds[float] = field(default_factory=Rounds)
    found: dict[tuple[str, str], Found] = field(default_factory=dict)
    filtered: dict[tuple[str, str], Found] = field(default_factory=dict)
    at_defaults: dict[tuple[str, str | None], Found] = field(default_factory=dict)
    index_used: dict[str, bool] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[Point]] = field(default_factory=dict)
    by_selectivity: dict[str, dict[str, Point]] = field(default_factory=dict)


def judge(numbers: list[list[int]], truth: list[list[int]], seconds: list[float]) -> Found:
    """Compare what was found with the exact answers, as far as both go."""
    pairs = list(zip(numbers, truth, strict=False))
    recall = mean(len(set(got) & set(wanted)) / len(wanted) for got, wanted in pairs)
    rows = mean(K * len(got) / len(wanted) for got, wanted in pairs)
    return Found(recall, rows, 1000 * median(seconds))
