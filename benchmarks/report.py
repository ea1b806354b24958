"""What a run says: progress, tables, and ``peers.json``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from benchmarks.figures import Figures
from benchmarks.peers import PEERS
from benchmarks.terms import OURS, M

_T = TypeVar("_T")

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
OWN = {
    "p50_ratio": "light hits, AUTOCOMMIT session held",
    "session_ratio": "light hits, new session and transaction",
    "entity_ratio": "ORM entities, AUTOCOMMIT",
    "entity_session_ratio": "ORM entities, new session and transaction",
    "embedding_ratio": "with embeddings, AUTOCOMMIT, to the base without",
    "embedding_like_for_like_ratio": "with embeddings, AUTOCOMMIT, to the base with",
    "psycopg2_ratio": "psycopg2, new session and transaction",
    "cpu_ratio": "client CPU, light hits, AUTOCOMMIT",
    "qps4_ratio": "queries per second, 4 threads (larger is better)",
    "overhead_ms": "overhead in ms, AUTOCOMMIT",
    "session_overhead_ms": "overhead in ms, new session and transaction",
    "delayed_session_ratio": "1 ms of network delay, new session and transaction",
    "ingest_ratio": "bulk_load (larger is better)",
    "add_many_ratio": "add_many (larger is better)",
    "upsert_ratio": "upsert (larger is better)",
}


class Report:
    """Progress and results, on the terminal.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._warnings: list[str] = []

    def say(self, text: str) -> None:
        """Tell what begins."""
        self._console.print(f"{time.monotonic() - self._start:4.0f} s  {escape(text)}", highlight=False)

    def warn(self, text: str) -> None:
        """Tell what is missing, now and below the tables."""
        self.say(text)
        self._warnings.append(text)

    def track(self, items: Iterable[_T], text: str) -> Iterator[_T]:
        """Show how far a loop is."""
        self.say(text)
        chosen = list(items)
        yield from track(chosen, text, console=self._console, transient=True, disable=not self._console.is_terminal)

    def environment(self, server: str, ef_search: int, rows: int) -> None:
        """Tell what was measured, and on what."""
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        self._console.print(
            f"\n{server}; {rows:,} x 1536; HNSW m = {M}, ef_search = {ef_search}; top 10; easy set unless named; "
            f"{os.cpu_count()} processors, load {load}. Ratios are medians over the rounds, to hand-written psycopg 3. "
            f"Filters of 0.1, 1, 10 and 50 %: the worst. Peers with tables of their own get enable_seqscan = off; what "
            "the server's default costs give them stands under 'default costs'.",
            highlight=False,
        )

    def show(self, figures: Mapping[str, Figures]) -> None:
        """Print the tables."""
        self._peers("Searches: times and ratios to the base", figures, SEARCHES)
        self._peers("Answers on the hard set", figures, ANSWERS)
        self._peers("Writes into a table without a vector index, ratio to binary COPY by hand", figures, WRITES)
        self._own(figures.get(OURS))
        for warning in self._warnings:
            self._console.print(f"note: {escape(warning)}", highlight=False)

    def _peers(self, title: str, figures: Mapping[str, Figures], columns: Mapping[str, str]) -> None:
        table = Table(title=title, title_justify="left")
        table.add_column("peer")
        for name in columns.values():
            table.add_column(name, justify="right")
        for peer, values in figures.items():
            if values.get("skipped"):
                table.add_row(peer, "skipped")
            else:
                table.add_row(peer, *(_cell(values.get(name)) for name in columns))
        self._console.print(table)

    def _own(self, values: Figures | None) -> None:
        if values is None:
            return
        table = Table("pgcorpus", title="Ratios of pgcorpus to the base", title_justify="left")
        table.add_column("", justify="right")
        for name, text in OWN.items():
            table.add_row(text, _cell(values.get(name)))
        self._console.print(table)

    def notes(self, peers: Iterable[str]) -> None:
        """Say of each peer how it is used."""
        for peer in peers:
            self._console.print(f"{peer}: {escape(PEERS[peer].note)}", highlight=False)

    def saved(self, path: Path) -> None:
        """Tell where the figures are."""
        self.say(f"saved {path}")


def save(figures: Mapping[str, Figures], path: Path) -> None:
    """Write the figures as JSON, one object a peer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


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
