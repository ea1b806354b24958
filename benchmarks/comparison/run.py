"""One run: server, tables, workers, measurements."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.comparison import measure, sweeps, terminal
from benchmarks.comparison.client import WorkerError, started
from benchmarks.comparison.measured import Results
from benchmarks.comparison.peers import PEERS
from benchmarks.comparison.prepare import INGEST, prepare_ingest, prepare_set
from benchmarks.comparison.state import Options, Run
from benchmarks.comparison.summary import summary
from benchmarks.comparison.venvs import InstallError, python_of
from benchmarks.data import KINDS, draw, save, truth
from benchmarks.progress import Report
from benchmarks.server import OWN_TABLE, private_folder, private_server
from benchmarks.terms import BASE, SELECTIVITIES, K, default_ef_search


def run(options: Options, report: Report) -> dict[str, Any]:
    """Run all peers; return the machine, the settings, and what was measured: the figures of each peer, and more."""
    results = Results()
    with ExitStack() as stack:
        pythons = _install(options, report, results)
        folder = stack.enter_context(private_folder())
        report.say("starting PostgreSQL")
        server = stack.enter_context(private_server(folder, default_ef_search()))
        options.logs.mkdir(parents=True, exist_ok=True)
        clients = [
            stack.enter_context(started(name, python, folder, options.logs / f"{name}.log"))
            for name, python in pythons.items()
        ]
        this = Run(options, report, folder, server, clients, {}, results)
        _ask_versions(this)
        _prepare(this)
        _measure(this)
        _note_indexes(this)
        terminal.environment(report.console, server.description(), server.ef_search, options.rows)
        with server.connection("hard") as connection:
            described = machine.describe(connection)
    names = (*pythons, *(set(results.skipped) - set(pythons)))
    settings = {"rows": options.rows, "rounds": options.rounds, "k": K, "ef_search": server.ef_search}
    return {"machine": described, "settings": settings, "results": summary(names, results)}


def _install(options: Options, report: Report, results: Results) -> dict[str, Path | None]:
    """Return each peer's interpreter, None for our own."""
    pythons: dict[str, Path | None] = {}
    for name in dict.fromkeys((BASE, *options.peers)):
        requirements = PEERS[name].requirements
        try:
            if requirements:
                report.say(f"virtual environment of {name} (the first time a minute)")
            pythons[name] = python_of(requirements) if requirements else None
        except InstallError as exc:
            report.warn(f"{name} skipped: it cannot be installed: {exc}")
            results.skipped[name] = f"cannot be installed: {exc}"
    return pythons


def _ask_versions(run: Run) -> None:
    for client in list(run.clients):
        try:
            run.results.versions[client.name] = client.ask("versions")["versions"]
        except WorkerError as exc:
            run.drop(client, str(exc))


def _prepare(run: Run) -> None:
    for name in KINDS:
        run.report.say(f"{name} set: drawing {run.options.rows:,} vectors, finding the exact answers")
        vectors = draw(name, run.options.rows)
        save(vectors, run.folder / name)
        for condition in (None, *(SELECTIVITIES if name == "hard" else ())):
            run.truth[name, condition] = truth(vectors.rows, vectors.queries, condition)
        prepare_set(run, name, vectors.rows)
    prepare_ingest(run)


def _measure(run: Run) -> None:
    measure.found(run)
    measure.searches(run)
    measure.throughput(run)
    sweeps.filtered(run)
    sweeps.curves(run)
    measure.at_defaults(run)
    if run.options.delay:
        measure.delayed(run)
    measure.writes(run)
    measure.indexed(run)
    run.server.truncate(INGEST, OWN_TABLE)


def _note_indexes(run: Run) -> None:
    """Sessions tell the server what they scanned when they end, so the workers end first."""
    for client in run.clients:
        client.stop()
    measure.wait_for_sessions(run)
    for name in (client.name for client in run.clients):
        full, indexed = run.server.scans("easy", run.tables.get(name, OWN_TABLE))
        # A few scans of the whole table are the run's own, when it filled it.
        run.results.index_used[name] = indexed > 100 * full
        if not run.results.index_used[name]:
            run.report.warn(f"{name}: {full:,} scans of the whole table, {indexed:,} of the HNSW index")
