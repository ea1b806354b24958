"""The measurements, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison.client import WorkerError
from benchmarks.comparison.delay import slowed
from benchmarks.comparison.measured import judge
from benchmarks.comparison.prepare import INGEST, target_of
from benchmarks.comparison.rounds import Rounds, Span, Unit, run_rounds
from benchmarks.comparison.state import Run
from benchmarks.data import KINDS, SPARE
from benchmarks.server import OWN_TABLE
from benchmarks.terms import BASE, DEFAULTS_ROLE, OURS, PEER_ROLE, SELECTIVITIES

# Searches of one peer in one round: few, so that a burst of noise meets all.
SPAN = 25
WARM_UP = 30
RECALL_QUERIES = 200
DEFAULTS_QUERIES = 10
THREADS = 4
THREAD_SEARCHES = 60
# Seconds that a round trip takes longer.
DELAY = 0.001
# Rows a round; those of the other peers take long.
FAST_ROWS = 10_000
SLOW_ROWS = 1_000
INDEXED_ROWS = 500
FAST = (BASE, OURS)

ONE = ("search",)
ALL_MODES: Mapping[str, Sequence[str]] = {
    BASE: ("search", "again", "embedding"),
    OURS: ("search", "session", "entities", "entities_session", "embedding", "psycopg2"),
}
MAIN_MODES: Mapping[str, Sequence[str]] = {OURS: ("search", "session")}
DELAYED_MODES: Mapping[str, Sequence[str]] = {BASE: ("ping", "search"), OURS: ("search", "session")}
WRITES: Mapping[str, Sequence[str]] = {OURS: ("bulk_load", "add_many", "upsert")}


def found(run: Run) -> None:
    """Find what each peer finds without a filter; this also warms up connections, statements and caches."""
    for name in KINDS:
        run.report.say(f"{name} set: warming up, recall")
        for unit in list(units_of(run, name, ALL_MODES)):
            count = RECALL_QUERIES if unit.mode == "search" else WARM_UP
            try:
                answer = _find(unit, name, count)
            except WorkerError as exc:
                failed(run, unit, exc)
                continue
            if unit.mode == "search":
                run.results.found[unit.client.name, name] = judge(
                    answer["numbers"], run.truth[name, None], answer["seconds"]
                )


def searches(run: Run) -> None:
    """Time searches of one thread."""
    results, rounds = run.results, run.options.rounds
    results.easy = _timed(run, "easy", list(units_of(run, "easy", ALL_MODES)), rounds)
    results.hard = _timed(run, "hard", list(units_of(run, "hard", MAIN_MODES)), max(rounds // 2, 2))


def throughput(run: Run) -> None:
    """Count the searches of four threads."""

    def visit(unit: Unit, _: int) -> float:
        answer = unit.client.ask(
            "throughput", target=unit.target, data="easy", mode=unit.mode, threads=THREADS, count=THREAD_SEARCHES
        )
        return THREADS * THREAD_SEARCHES / float(answer["seconds"])

    units = list(units_of(run, "easy", {}))
    rounds = run.report.track(range(max(run.options.rounds // 5, 2)), f"{THREADS} threads")
    run.results.throughput = run_rounds(units, rounds, visit, lambda unit, exc: failed(run, unit, exc))


def at_defaults(run: Run) -> None:
    """Find what peers with tables of their own find, and when, where the planner is left to the server's defaults."""
    for unit in run.report.track(list(units_of(run, "hard", {}, role=DEFAULTS_ROLE)), "peers at default costs"):
        if unit.client.name in FAST:
            continue
        for field in (None, *SELECTIVITIES):
            try:
                answer = _find(unit, "hard", DEFAULTS_QUERIES, field)
            except WorkerError as exc:
                run.report.warn(f"{unit.client.name}, at default costs: {exc}")
                break
            judged = judge(answer["numbers"], run.truth["hard", field], answer["seconds"])
            run.results.at_defaults[unit.client.name, field] = judged


def delayed(run: Run) -> None:
    """Time searches over a network that adds a millisecond to each round trip."""
    with slowed(run.server.host, run.server.port, run.folder / "slow", _hold(run)) as host:
        units = list(units_of(run, "easy", DELAYED_MODES, host=host))
        # Connections are made through the proxy, and statements prepared, before a clock runs.
        warm = run_rounds(units, range(1), _span_of("easy", WARM_UP), lambda unit, exc: failed(run, unit, exc))
        usable = [unit for unit in units if unit.key in warm.values]
        run.results.delayed = _timed(run, "easy", usable, max(run.options.rounds // 3, 2), "1 ms of network delay")


def _hold(run: Run) -> float:
    """Return how long a proxy must hold each message, so that a round trip takes a millisecond longer in all."""
    run.report.say("adjusting the slow proxy")
    server = run.server
    with slowed(server.host, server.port, run.folder / "trial", DELAY / 2) as host:
        longer = server.round_trip(host) - server.round_trip()
    return max(DELAY / 2 + (DELAY - longer) / 2, 0)


def writes(run: Run) -> None:
    """Time writes into tables without a vector index."""
    rows = {True: min(FAST_ROWS, run.options.rows), False: min(SLOW_ROWS, run.options.rows)}

    def visit(unit: Unit, _: int) -> float:
        run.server.truncate(INGEST, run.tables.get(unit.client.name, OWN_TABLE))
        count = rows[unit.client.name in FAST]
        return _written(unit, "easy", "rows", 0, count)

    units = list(units_of(run, INGEST, WRITES, default=("write",)))
    rounds = run.report.track(range(3), "writes")
    run.results.writes = run_rounds(units, rounds, visit, lambda unit, exc: failed(run, unit, exc))


def indexed(run: Run) -> None:
    """Time writes into our table with its index: by hand, and by bulk_load; last of all, since they stay there."""
    next_row = iter(range(0, SPARE, INDEXED_ROWS))

    def visit(unit: Unit, _: int) -> float:
        return _written(unit, "hard", "spare", next(next_row), INDEXED_ROWS)

    wanted = {BASE: ("write",), OURS: ("bulk_load",)}
    units = list(units_of(run, "hard", wanted, default=()))
    rounds = run.report.track(range(2), "writes with the index present")
    run.results.indexed = run_rounds(units, rounds, visit, lambda unit, exc: failed(run, unit, exc))


def wait_for_sessions(run: Run) -> None:
    """Wait until the ended workers' sessions have told the server what they did."""
    with run.server.connection("easy") as connection:
        for _ in range(100):
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            ).fetchone()
            if row is not None and row[0] <= 1:
                return
            time.sleep(0.05)


def _timed(run: Run, data: str, units: Sequence[Unit], rounds: int, text: str = "") -> Rounds[Span]:
    tracked = run.report.track(range(rounds), text or f"{data} set: searches")
    return run_rounds(units, tracked, _span_of(data, SPAN), lambda unit, exc: failed(run, unit, exc))


def _span_of(data: str, count: int) -> Callable[[Unit, int], Span]:
    def visit(unit: Unit, number: int) -> Span:
        answer = unit.client.ask(
            "search", target=unit.target, data=data, mode=unit.mode, first=number * count, count=count
        )
        return Span(answer["seconds"], answer["cpu"])

    return visit


def _find(unit: Unit, data: str, count: int, field: str | None = None) -> dict[str, Any]:
    return unit.client.ask("find", target=unit.target, data=data, mode=unit.mode, count=count, field=field)


def _written(unit: Unit, data: str, part: str, first: int, count: int) -> float:
    answer = unit.client.ask(
        "write", target=unit.target, data=data, part=part, mode=unit.mode, first=first, count=count
    )
    return count / float(answer["seconds"])


def units_of(
    run: Run,
    database: str,
    modes: Mapping[str, Sequence[str]],
    *,
    default: Sequence[str] = ONE,
    role: str = PEER_ROLE,
    host: Path | None = None,
) -> Iterator[Unit]:
    """Yield each peer's ways to do a job, but for those that failed.

    Args:
        run: The run.
        database: Where.
        modes: The ways, by peer.
        default: The ways of the others.
        role: Of a peer with a table of its own.
        host: Another folder, of a proxy's socket.
    """
    for client in run.clients:
        target = target_of(run, client, database, role, host)
        for mode in modes.get(client.name, default):
            if (client.name, mode) not in run.failed:
                yield Unit(client, mode, target)


def failed(run: Run, unit: Unit, error: WorkerError, what: str = "") -> None:
    """Note that a way failed, which is not tried again."""
    run.failed.add((unit.client.name, unit.mode))
    run.report.warn(f"{unit.client.name}, {what or unit.mode}: {error}")
