"""The tables of a run: ours and the peers' own, with the same vectors and the same index."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.comparison.client import Client, WorkerError
from benchmarks.comparison.peers import by_hand
from benchmarks.comparison.state import Run
from benchmarks.data import Array, make_rows
from benchmarks.server import OWN_TABLE
from benchmarks.terms import BASE, OURS, OWN_ROLE, PEER_ROLE

INGEST = "ingest"


def target_of(
    run: Run, client: Client, database: str, role: str = PEER_ROLE, host: Path | None = None
) -> dict[str, Any]:
    """Return where a peer connects, as its worker is told.

    Args:
        run: The run.
        client: The peer's worker.
        database: The database.
        role: Of a peer with a table of its own; the others are the owner.
        host: Another folder, of a proxy's socket.
    """
    user = OWN_ROLE if client.name in (BASE, OURS) else role
    return asdict(run.server.target(database, user, host))


def prepare_set(run: Run, name: str, vectors: Array) -> None:
    """Make a set's database with all tables, filled and indexed."""
    server, report = run.server, run.report
    server.add_database(name)
    report.say(f"{name} set: filling and indexing our table")
    by_hand.This(server.target(name)).write("write", list(make_rows(vectors)))
    server.build_index(name, OWN_TABLE)
    for client in list(run.clients):
        table = _create(run, client, name)
        if table and server.fill(name, table["name"], table["fill"], table["parameters"]):
            report.say(f"{name} set: indexing the table {table['name']}")
            server.build_index(name, table["name"])


def prepare_ingest(run: Run) -> None:
    """Make a database with all tables, empty and without vector indexes."""
    run.server.add_database(INGEST)
    for client in list(run.clients):
        _create(run, client, INGEST)


def _create(run: Run, client: Client, database: str) -> dict[str, Any] | None:
    try:
        table: dict[str, Any] | None = client.ask("create", target=target_of(run, client, database))["table"]
    except WorkerError as exc:
        run.drop(client, str(exc))
        return None
    if table:
        run.tables[client.name] = table["name"]
    return table
