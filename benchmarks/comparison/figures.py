"""From what was measured to the keys of ``peers.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.comparison.measured import Results
from benchmarks.comparison.rounds import Key, Rounds, Span
from benchmarks.terms import BASE, OURS

Figures = dict[str, Any]

# Of our ways to search; other peers have one.
MODES = {
    "session_ratio": "session",
    "entity_ratio": "entities",
    "entity_session_ratio": "entities_session",
    "embedding_ratio": "embedding",
    "psycopg2_ratio": "psycopg2",
}
WRITES = {"add_many_ratio": "add_many", "upsert_ratio": "upsert"}


def figures_of(peer: str, results: Results) -> Figures:
    """Return a peer's figures under the keys of ``peers.json``; None where there is nothing to tell."""
    write = Key(peer, "bulk_load" if peer == OURS else "write")
    found = {
        **_searches(peer, results),
        **_more_searches(peer, results),
        **_completeness(peer, results),
        **_writes(peer, write, results),
        "versions": results.versions.get(peer),
        "skipped": results.skipped.get(peer),
    }
    return {name: _rounded(value) for name, value in found.items()}


def _searches(peer: str, results: Results) -> Figures:
    key, base = Key(peer, "search"), Key(BASE, "search")
    easy, hard, qps = results.easy, results.hard, results.throughput
    p50, base_p50 = easy.median(key, Span.median_ms), easy.median(base, Span.median_ms)
    return {
        "p50_ms": p50,
        "p50_ratio": easy.ratio(key, base, Span.median_ms),
        "p50_ratio_quartiles": easy.spread(key, base, Span.median_ms),
        "p95_ms": _p95(easy.values.get(key)),
        "control_ratio": easy.ratio(Key(peer, "again"), key, Span.median_ms),
        "overhead_ms": None if p50 is None or base_p50 is None else p50 - base_p50,
        "cpu_ms": easy.median(key, Span.cpu_ms),
        "cpu_ratio": easy.ratio(key, base, Span.cpu_ms),
        "qps4": qps.median(key, float),
        "qps4_ratio": qps.ratio(key, base, float),
        "hard_p50_ms": hard.median(key, Span.median_ms),
        "hard_p50_ratio": hard.ratio(key, base, Span.median_ms),
    }


def _more_searches(peer: str, results: Results) -> Figures:
    easy, delayed, base = results.easy, results.delayed, Key(BASE, "search")
    embedding = Key(peer, "embedding")
    return {
        **{name: easy.ratio(Key(peer, mode), base, Span.median_ms) for name, mode in MODES.items()},
        "embedding_like_for_like_ratio": easy.ratio(embedding, Key(BASE, "embedding"), Span.median_ms),
        "session_overhead_ms": _difference(easy, Key(peer, "session"), base),
        "hard_session_ratio": results.hard.ratio(Key(peer, "session"), base, Span.median_ms),
        "delayed_rtt_ms": delayed.median(Key(peer, "ping"), Span.median_ms),
        "delayed_ms": delayed.median(Key(peer, "search"), Span.median_ms),
        "delayed_ratio": delayed.ratio(Key(peer, "search"), base, Span.median_ms),
        "delayed_session_ms": delayed.median(Key(peer, "session"), Span.median_ms),
        "delayed_session_ratio": delayed.ratio(Key(peer, "session"), base, Span.median_ms),
    }


def _completeness(peer: str, results: Results) -> Figures:
    easy, hard = results.found.get((peer, "easy")), results.found.get((peer, "hard"))
    filtered = {name: found for (who, name), found in results.filtered.items() if who == peer}
    defaults = {name or "none": found for (who, name), found in results.at_defaults.items() if who == peer}
    return {
        "recall": hard.recall if hard else None,
        "easy_recall": easy.recall if easy else None,
        "filtered_recall": min((found.recall for found in filtered.values()), default=None),
        "filtered_rows": min((found.rows for found in filtered.values()), default=None),
        "filtered": {name: asdict(found) for name, found in filtered.items()} or None,
        "filtered_ms": max((found.ms for found in filtered.values()), default=None),
        "at_defaults": {name: asdict(found) for name, found in defaults.items()} or None,
        "at_defaults_p50_ms": defaults["none"].ms if "none" in defaults else None,
        "at_defaults_filtered_rows": min((found.rows for found in defaults.values()), default=None),
        "at_defaults_filtered_ms": max((found.ms for found in defaults.values()), default=None),
        "index_used": results.index_used.get(peer),
    }


def _writes(peer: str, key: Key, results: Results) -> Figures:
    writes, base = results.writes, Key(BASE, "write")
    return {
        "ingest_rows_s": writes.median(key, float),
        "ingest_ratio": writes.ratio(key, base, float),
        **{name: writes.ratio(Key(peer, mode), base, float) for name, mode in WRITES.items()},
        "with_index_rows_s": results.indexed.median(key, float),
    }


def _difference(rounds: Rounds[Span], key: Key, base: Key) -> float | None:
    one, other = rounds.median(key, Span.median_ms), rounds.median(base, Span.median_ms)
    return None if one is None or other is None else one - other


def _p95(spans: list[Span] | None) -> float | None:
    seconds = sorted(second for span in spans or () for second in span.seconds)
    return 1000 * seconds[int(0.95 * len(seconds))] if seconds else None


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 1) if value >= 100 else round(value, 3)
        case dict():
            return {name: _rounded(item) for name, item in value.items()}
        case tuple():
            return [_rounded(item) for item in value]
        case _:
            return value
