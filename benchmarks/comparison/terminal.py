"""The comparison's tables, on the terminal."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.comparison.figures import Figures
from benchmarks.comparison.peers import PEERS
from benchmarks.comparison.summary import RATIOS
from benchmarks.terms import OURS, M

SEARCHES = {
    "p50_ms": "p50 ms",
    "p50_ratio": "p50",
    "cpu_ratio": "CPU",
    "qps4_ratio": "q/s, 4 threads",
    "hard_p50_ms": "hard: p50 ms",
    "hard_p50_ratio": "hard: p50",
    "delayed_ms": "+1 ms: p50 ms",
    "delayed_ratio": "+1 ms: p50",
}
ANSWERS = {
    "recall": "recall@10",
    "filtered_recall": "filtered: recall",
    "filtered_rows": "rows of 10",
    "filtered_ms": "p50 ms",
    "at_defaults_p50_ms": "default costs: p50 ms",
    "at_defaults_filtered_rows": "filtered: rows of 10",
    "at_defaults_filtered_ms": "filtered: p50 ms",
    "index_used": "HNSW used",
}
WRITES = {
    "ingest_rows_s": "rows/s",
    "ingest_ratio": "ratio",
    "with_index_rows_s": "rows/s with HNSW present",
}
# Of ours alone: all ratios, and what no ratio tells.
OWN = {
    **{name: ratio.text.replace("`", "") for name, ratio in RATIOS.items()},
    "overhead_ms": "overhead in ms, AUTOCOMMIT",
    "session_overhead_ms": "overhead in ms, new session and transaction",
}


def environment(console: Console, server: str, ef_search: int, rows: int) -> None:
    """Tell what was measured, and on what.

    Args:
        console: Where to.
        server: Its versions.
        ef_search: Of all searches.
        rows: In each set.
    """
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(
        f"\n{server}; {rows:,} x 1536; HNSW m = {M}, ef_search = {ef_search}; top 10; easy set unless named; "
        f"{os.cpu_count()} processors, load {load}. Ratios are medians over the rounds, to hand-written psycopg 3. "
        f"Filters of 0.1, 1, 10 and 50 %: the worst. Peers with tables of their own get enable_seqscan = off; what "
        "the server's default costs give them stands under 'default costs'.",
        highlight=False,
    )


def show(console: Console, figures: Mapping[str, Figures]) -> None:
    """Print the tables.

    Args:
        console: Where to.
        figures: By peer.
    """
    _peers(console, "Searches: times and ratios to the base", figures, SEARCHES)
    _peers(console, "Answers on the hard set", figures, ANSWERS)
    _peers(console, "Writes into a table without a vector index, ratio to binary COPY by hand", figures, WRITES)
    if OURS in figures:
        _own(console, figures[OURS])
    for peer in figures:
        console.print(f"{peer}: {escape(PEERS[peer].note)}", highlight=False)


def _peers(console: Console, title: str, figures: Mapping[str, Figures], columns: Mapping[str, str]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("peer")
    for name in columns.values():
        table.add_column(name, justify="right")
    for peer, values in figures.items():
        if values.get("skipped"):
            table.add_row(peer, "skipped")
        else:
            table.add_row(peer, *(_cell(values.get(name)) for name in columns))
    console.print(table)


def _own(console: Console, values: Figures) -> None:
    table = Table("pgcorpus", title="Ratios of pgcorpus to the base", title_justify="left")
    table.add_column("", justify="right")
    for name, text in OWN.items():
        table.add_row(text, _cell(values.get(name)))
    console.print(table)


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float() if value < 100:
            return f"{value:.2f}"
        case _:
            return f"{value:,.0f}"
