"""The process in which one peer works: orders come as JSON lines on standard input, answers go to standard output."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.comparison.peers import PEERS
from benchmarks.comparison.peers.base import Peer, Search
from benchmarks.target import Target

Answer = dict[str, Any]


class Worker:
    """One peer at work.

    Args:
        peer: The peer's class.
        folder: Where the sets are saved.
    """

    def __init__(self, peer: type[Peer], folder: Path) -> None:
        self._class = peer
        self._folder = folder
        self._peers: dict[Target, Peer] = {}
        self._searchers: dict[tuple[Target, str, str | None], Search] = {}
        self._queries: dict[str, list[Any]] = {}

    def do(self, order: dict[str, Any]) -> Answer:
        """Carry out an order: the name of a method below, and its arguments."""
        job: Callable[..., Answer] = getattr(self, f"on_{order.pop('do')}")
        if "target" in order:
            order["target"] = Target(**order["target"])
        return job(**order)

    def on_versions(self) -> Answer:
        """Return what is installed."""
        return {"versions": ", ".join(_version(name) for name in self._class.distributions)}

    def on_create(self, target: Target) -> Answer:
        """Create the peer's own table."""
        table = self._peer(target).create()
        return {"table": table and asdict(table)}

    def on_find(
        self, target: Target, data: str, mode: str, count: int, field: str | None = None, first: int = 0
    ) -> Answer:
        """Return the numbers found by some queries, and how long each search took."""
        search, peer = self._searcher(target, mode, field), self._peer(target)
        numbers, times = [], []
        for query in self._of(data)[first : first + count]:
            start = time.perf_counter()
            found = search(query)
            times.append(time.perf_counter() - start)
            numbers.append(peer.numbers(found))
        return {"numbers": numbers, "seconds": times}

    def on_search(self, target: Target, data: str, mode: str, first: int, count: int) -> Answer:
        """Return how long each of some searches took, and the process's CPU time for all."""
        search, queries = self._searcher(target, mode, None), self._of(data)
        chosen = [queries[number % len(queries)] for number in range(first, first + count)]
        times = []
        cpu = time.process_time()
        for query in chosen:
            start = time.perf_counter()
            search(query)
            times.append(time.perf_counter() - start)
        return {"seconds": times, "cpu": time.process_time() - cpu}

    def on_throughput(self, target: Target, data: str, mode: str, threads: int, count: int) -> Answer:
        """Return how long some threads took, each with its own connection, for so many searches each."""
        queries = self._of(data)
        searchers = [self._searcher(target, mode, None, thread) for thread in range(threads)]

        def work(thread: int, number: int) -> None:
            for step in range(number):
                searchers[thread](queries[(thread * number + step) % len(queries)])

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads), [3] * threads))
            start = time.perf_counter()
            list(pool.map(work, range(threads), [count] * threads))
            return {"seconds": time.perf_counter() - start}

    def on_write(self, target: Target, data: str, part: str, mode: str, first: int, count: int) -> Answer:
        """Return how long it took to store some of a set's rows and commit."""
        peer, rows = self._peer(target), list(self._rows(data, part, first, count))
        start = time.perf_counter()
        peer.write(mode, rows)
        return {"seconds": time.perf_counter() - start}

    def _rows(self, name: str, part: str, first: int, count: int) -> Iterator[data.Row]:
        vectors = data.load(self._folder / name, part)[first : first + count].copy()
        # Spare rows get numbers that no stored row has.
        offset = 0 if part == "rows" else len(data.load(self._folder / name, "rows"))
        for row in data.make_rows(vectors, offset + first):
            yield row._replace(vector=row.vector.tolist()) if self._class.wants_lists else row

    def _of(self, name: str) -> list[Any]:
        if name not in self._queries:
            queries = data.load(self._folder / name, "queries").copy()
            self._queries[name] = queries.tolist() if self._class.wants_lists else list(queries)
        return self._queries[name]

    def _peer(self, target: Target) -> Peer:
        if target not in self._peers:
            self._peers[target] = self._class(target)
        return self._peers[target]

    def _searcher(self, target: Target, mode: str, field: str | None, thread: int = 0) -> Search:
        key = (target, f"{mode} {thread}", field)
        if key not in self._searchers:
            self._searchers[key] = self._peer(target).searcher(mode, field)
        return self._searchers[key]


def _version(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


def _answer(worker: Worker, line: str) -> Answer:
    try:
        return worker.do(json.loads(line))
    except Exception as exc:  # noqa: BLE001 -- whatever a peer raises is its answer
        return {"error": f"{type(exc).__name__}: {str(exc).splitlines()[0] if str(exc) else ''}"[:300]}


def main() -> None:
    """Work until standard input ends."""
    # What a library prints must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name, folder = sys.argv[1:]
    try:
        peer = importlib.import_module(f"benchmarks.comparison.peers.{PEERS[name].module}").This
    except Exception as exc:  # noqa: BLE001 -- whatever keeps it from being imported is why it is skipped
        answers.write(json.dumps({"error": f"cannot be imported: {type(exc).__name__}: {exc}"}) + "\n")
        return
    worker = Worker(peer, Path(folder))
    for line in sys.stdin:
        answers.write(json.dumps(_answer(worker, line)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
