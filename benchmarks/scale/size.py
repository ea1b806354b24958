"""One size, on a server of its own: load, build and searches, their time and the server's memory."""

from __future__ import annotations

import resource
import shutil
import time
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.curves import Point, point
from benchmarks.noise import interval
from benchmarks.own import Own, ask_in_rounds
from benchmarks.progress import Report
from benchmarks.scale.memory import held_by, parent_of, watched
from benchmarks.scale.stream import Stream
from benchmarks.server import SETTINGS, Server, private_folder, private_server
from benchmarks.terms import MB, default_ef_search
from pgcorpus.indexing import IndexForm

DATABASE = "scale"
EF_SEARCH = (20, 40, 80, 160, 320, 480, 640, 800, 1_000)
QUERIES, ROUNDS, EXACT_QUERIES = 100, 5, 5
# An element of HNSW's graph beside its vector, at m = 16 (measured: 140 MB for 20,000 x 1536), and room to spare.
ELEMENT_BYTES, SPARE = 1_000, 1.2


def measure(rows: int, dimensions: int, report: Report) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure one size on a server of its own; return its figures and the machine.

    Args:
        rows: How many.
        dimensions: Of the vectors.
        report: Who is told of the progress.
    """
    begin = time.perf_counter()
    memory = build_memory(rows, dimensions)
    with (
        private_folder() as folder,
        private_server(folder, default_ef_search(), server_settings(rows, dimensions, memory)) as server,
    ):
        server.add_database(DATABASE)
        postmaster = _postmaster(server)
        report.say(f"{rows:,} x {dimensions}: drawing")
        stream = Stream(rows, dimensions, folder / "vectors")
        table = Own(server, DATABASE, "passages", dimensions)
        report.say(f"{rows:,} x {dimensions}: loading")
        with watched(postmaster) as loading:
            load = table.load(stream.passages(), rows)
        with server.connection(DATABASE) as connection:
            described = machine.describe(connection)
        report.say(f"{rows:,} x {dimensions}: building ({memory:,} MB of maintenance_work_mem)")
        before = held_by(postmaster)
        with watched(postmaster) as building:
            built = table.build("hnsw", IndexForm.VECTOR, memory=memory)
        report.say(f"{rows:,} x {dimensions}: searching")
        points, exact = _search(table, stream)
        figures = {
            "rows": rows,
            "load_seconds": load,
            "table_bytes": table.bytes_of("pg_table_size"),
            "build_seconds": built.seconds,
            "index_bytes": built.bytes,
            "maintenance_bytes": memory * MB,
            "notice": built.notice,
            "load_memory": loading.bytes,
            "build_memory": building.bytes,
            "build_added": None if building.bytes is None or before is None else building.bytes - before,
            "search_memory": held_by(postmaster),
            # Of this process, drawing and loading: the largest so far, as the kernel tells it.
            "client_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "exact_ms": exact,
            "points": points,
        }
        table.drop()
    return {**figures, "seconds": time.perf_counter() - begin}, described


def build_memory(rows: int, dimensions: int) -> int:
    """Return the megabytes that a graph of HNSW needs to be built in memory, at most half of the machine's."""
    needed = SPARE * rows * (4 * dimensions + ELEMENT_BYTES) / MB
    return min(max(64, ceil(needed)), machine.memory() // MB // 2)


def server_settings(rows: int, dimensions: int, memory: int) -> dict[str, str]:
    """Return the server's settings for a size: table and index in its buffers, as far as a third of the machine goes.

    Args:
        rows: How many.
        dimensions: Of the vectors.
        memory: Megabytes of the build.
    """
    both = 3 * rows * (4 * dimensions + ELEMENT_BYTES) // MB
    buffers = min(max(2_048, both), machine.memory() // MB // 3)
    # A parallel build keeps its graph in dynamic shared memory.
    roomy = shutil.disk_usage("/dev/shm").free > 2 * memory * MB if Path("/dev/shm").is_dir() else False  # noqa: S108
    return SETTINGS | {
        "shared_buffers": f"{buffers}MB",
        "dynamic_shared_memory_type": "posix" if roomy else "mmap",
    }


def _search(table: Own, stream: Stream) -> tuple[list[Point], tuple[float, float, float]]:
    """Return the points by ``ef_search``, and what an exact search takes in milliseconds."""
    queries = stream.queries(QUERIES)
    truth = stream.truth(queries)
    with table.searches() as held:
        searches = {str(each): held.make(form=IndexForm.VECTOR, ef_search=each) for each in EF_SEARCH}
        answers = ask_in_rounds(searches, queries, truth, ROUNDS)
        points = [
            point(answers[name], ef_search=int(name), indexed=held.asks_index(search, queries[:3]))
            for name, search in searches.items()
        ]
        first = slice(0, EXACT_QUERIES)
        exact = ask_in_rounds({"exact": held.make(exact=True)}, queries[first], truth[first], EXACT_QUERIES)
    return points, interval([1000 * second for each in exact["exact"] for second in each.seconds])


def _postmaster(server: Server) -> int:
    with server.connection(DATABASE) as connection:
        return parent_of(connection.info.backend_pid) or 0
