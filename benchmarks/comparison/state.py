"""What one run was asked for, and what it has at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.comparison.client import Client
from benchmarks.comparison.measured import Results
from benchmarks.progress import Report
from benchmarks.server import Server


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        rows: Vectors in each set.
        rounds: Rounds of searches.
        peers: Their names; the base is always among them.
        delay: Whether to run with a slower network too.
        logs: Folder for what the workers print.
    """

    rows: int
    rounds: int
    peers: tuple[str, ...]
    delay: bool
    logs: Path


@dataclass
class Run:
    """What a run has at hand.

    Attributes:
        options: What was asked for.
        report: Who is told of the progress.
        folder: For sockets, data and vectors; gone in the end.
        server: The server.
        clients: The workers, one a peer.
        truth: Of each set, and on the hard one of each field, the exact answers.
        results: What was measured.
        tables: The peers' own tables, by peer.
        failed: The ways to do a job that failed, by peer, which are not tried again.
    """

    options: Options
    report: Report
    folder: Path
    server: Server
    clients: list[Client]
    truth: dict[tuple[str, str | None], list[list[int]]]
    results: Results
    tables: dict[str, str] = field(default_factory=dict)
    failed: set[tuple[str, str]] = field(default_factory=set)

    def drop(self, client: Client, reason: str) -> None:
        """Leave a peer out from now on."""
        self.report.warn(f"{client.name} skipped: {reason}")
        self.results.skipped[client.name] = reason
        self.clients.remove(client)
