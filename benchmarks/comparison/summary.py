"""The comparison as ``comparison.json`` has it: each figure with the interval that the rounds leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from benchmarks.comparison.figures import figures_of
from benchmarks.comparison.measured import Results
from benchmarks.comparison.rounds import Key, Rounds, Span
from benchmarks.noise import interval
from benchmarks.terms import BASE, OURS

_T = TypeVar("_T")


class Ratio(NamedTuple):
    """One line of the table of ratios.

    Attributes:
        text: What it says.
        wanted: What we want at most; of writes, at least. None for what is only shown.
        rounds: The attribute of :class:`Results` with its rounds.
        mode: Of pgcorpus.
        base: Of the base.
        of: What of a round.
    """

    text: str
    wanted: float | None
    rounds: str
    mode: str
    base: str = "search"
    of: str = "ms"


RATIOS = {
    "p50_ratio": Ratio("light hits, AUTOCOMMIT session", 1.15, "easy", "search"),
    "hard_p50_ratio": Ratio("the same on the hard set", None, "hard", "search"),
    "session_ratio": Ratio("light hits, new session and transaction", 1.6, "easy", "session"),
    "entity_ratio": Ratio("mapped objects, AUTOCOMMIT", 1.4, "easy", "entities"),
    "entity_session_ratio": Ratio("mapped objects, new session and transaction", 1.8, "easy", "entities_session"),
    "embedding_ratio": Ratio("with embeddings, AUTOCOMMIT, to the base without", 1.4, "easy", "embedding"),
    "embedding_like_for_like_ratio": Ratio(
        "with embeddings, to the base with", None, "easy", "embedding", base="embedding"
    ),
    "psycopg2_ratio": Ratio("psycopg2, new session and transaction", 2.4, "easy", "psycopg2"),
    "cpu_ratio": Ratio("the client's CPU, light hits, AUTOCOMMIT", 2.0, "easy", "search", of="cpu"),
    "qps4_ratio": Ratio("queries a second, 4 threads (larger is better)", None, "throughput", "search", of="rate"),
    "delayed_ratio": Ratio("1 ms of network delay, AUTOCOMMIT", None, "delayed", "search"),
    "delayed_session_ratio": Ratio("1 ms of network delay, new session and transaction", None, "delayed", "session"),
    "ingest_ratio": Ratio("`bulk_load` (larger is better)", 0.9, "writes", "bulk_load", "write", "rate"),
    "add_many_ratio": Ratio("`add_many` (larger is better)", 0.4, "writes", "add_many", "write", "rate"),
    "upsert_ratio": Ratio("`upsert`, all new (larger is better)", 0.4, "writes", "upsert", "write", "rate"),
}


def summary(names: Iterable[str], results: Results) -> dict[str, Any]:
    """Return all that was measured, fit for JSON.

    Args:
        names: Of the peers.
        results: What was measured.
    """
    return {
        "figures": {name: figures_of(name, results) for name in names},
        "ratios": _ratios(results),
        "control": _interval(results.easy.ratios(Key(BASE, "again"), Key(BASE, "search"), Span.median_ms)),
        "curves": results.curves,
        "filters": results.by_selectivity,
        "cpu_ms": _by_peer(results.easy, Span.cpu_ms),
        "p50_ms": _by_peer(results.easy, Span.median_ms),
        "ingest": {
            (key.peer if key.mode in ("write", "bulk_load") else f"{key.peer}, {key.mode}"): interval(rates)
            for key, rates in results.writes.values.items()
        },
    }


def _ratios(results: Results) -> dict[str, Any]:
    found = {}
    for name, (_, _, rounds, mode, base, of) in RATIOS.items():
        measured: Rounds[Any] = getattr(results, rounds)
        found[name] = _interval(measured.ratios(Key(OURS, mode), Key(BASE, base), _OF[of]))
    return found


def _by_peer(rounds: Rounds[_T], of: Callable[[_T], float]) -> dict[str, Any]:
    return {key.peer: interval(rounds.all_of(key, of)) for key in rounds.values if key.mode == "search"}


def _interval(values: list[float]) -> Any:
    return interval(values) if values else None


_OF: Mapping[str, Callable[[Any], float]] = {"ms": Span.median_ms, "cpu": Span.cpu_ms, "rate": float}
