"""Memory and workers for a build: what the graph needs, within what the server can be taken to have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.autogenerate.session import log, using
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.indexing import with_defaults
from pgcorpus.names import qualified, regclass_name

MB = 1024 * 1024

# Bytes of an element in memory beside its value, for m connections. Fitted to the server's own "hnsw graph no longer
# fits into maintenance_work_mem after N tuples", on pgvector 0.8.6 and PostgreSQL 18.6, for vectors of 3, 128, 768 and
# 1536 dimensions, halfvec of 128 and 1536, bit of 1536 and m of 8, 16 and 32: 214 + 31.7 m with the value's header,
# off by 25 at most. It is what hnsw.h leads one to expect: HnswElementData of 128 bytes, 2 m neighbours of 16 bytes
# each on the lowest layer, and the allocator's headers.
ELEMENT, NEIGHBOUR = 207, 32
# PostgreSQL 14 and 15 spend 8 to 16 bytes more on each of the four pieces of an element, and row counts are estimates.
MARGIN = 1.1
# A parallel build keeps 3 MB for itself and 1 MB free; another one counts whole megabytes (hnswbuild.c).
OVERHEAD = 4 * MB

# ComputeCenters in ivfbuild.c: 50 rows a list are sampled, at least 10,000, and no more than the pages can hold.
SAMPLES_PER_LIST, MIN_SAMPLES, MAX_ROWS_PER_PAGE = 50, 10_000, 291

# maintenance_work_mem in kilobytes is a C int.
MAX_MEMORY = 2_147_483_647 * 1024

# Below this a build takes a minute or so: not worth the workers that queries may be using.
SMALL = 64 * MB

BITS = {"vector": 32, "halfvec": 16, "bit": 1}
VALUE_HEADER = 8

# The server's source for dynamic shared memory: /dev/shm, 64 MB of it in a container unless told otherwise.
SHARED_MEMORY_SOURCE = "dsm_impl.c"

_TABLE = text("""
    SELECT reltuples < 0 AS never_counted, pg_table_size(oid) AS bytes,
           pg_relation_size(oid) / current_setting('block_size')::bigint AS pages
    FROM pg_class WHERE oid = to_regclass(:name)
""")
_COLUMN = text("""
    SELECT format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(:name) AND attname = :column AND NOT attisdropped
""")
_SERVER = text("""
    SELECT pg_size_bytes(current_setting('maintenance_work_mem')) AS memory,
           pg_size_bytes(current_setting('shared_buffers')) AS shared_buffers,
           pg_size_bytes(current_setting('effective_cache_size')) AS cache,
           (SELECT source <> 'default' FROM pg_settings WHERE name = 'effective_cache_size') AS cache_was_set,
           current_setting('max_parallel_maintenance_workers')::int AS workers,
           current_setting('max_parallel_workers')::int AS parallel_workers,
           current_setting('max_worker_processes')::int AS processes
""")


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What the caller says of a build.

    Attributes:
        maintenance_work_mem: Memory, such as ``"2GB"``; None to choose it from the estimated size of the graph and
            from the server's settings.
        parallel_workers: Workers beside the leader, 0 for none; None to choose them from the server's settings.
    """

    maintenance_work_mem: str | None = None
    parallel_workers: int | None = None


CHOSEN = BuildSettings()


@dataclass(frozen=True, slots=True)
class Server:
    """What a server says of itself; it says nothing of its machine. Sizes are in bytes."""

    memory: int
    shared_buffers: int
    cache: int
    cache_was_set: bool
    workers: int
    parallel_workers: int
    processes: int

    @property
    def limit(self) -> int:
        """Return how much memory a build may be given unasked.

        PostgreSQL's manual ("Resource Consumption") has a server of its own give shared_buffers a quarter of the
        memory, and effective_cache_size what is there to cache with: as much as the one, or half of the other, is
        there for an hour. Where nobody set effective_cache_size its 4 GB say nothing.
        """
        return max(self.memory, self.shared_buffers, self.cache // 2 if self.cache_was_set else 0)


@dataclass(frozen=True, slots=True)
class Need:
    """What a build needs.

    Attributes:
        rows: Estimated number of rows to index.
        memory: Bytes to build in memory.
        required: Whether the server refuses to build with less, and does not just take longer.
    """

    rows: int
    memory: int
    required: bool


@contextmanager
def provided(connection: Connection, index: VectorIndex, wanted: BuildSettings) -> Iterator[None]:
    """Have memory and workers for a build inside; say what is built, and warn if its graph will not fit."""
    need = estimate(connection, index)
    with using(connection, choose(need, read_server(connection), wanted)):
        _report(index, need, read_server(connection))
        yield


def choose(need: Need, server: Server, wanted: BuildSettings) -> dict[str, str]:
    """Return the settings for a build; none is lower than what the server has, unless the caller says so.

    Args:
        need: What the build needs.
        server: What the server has.
        wanted: What the caller says.
    """
    enough = need.memory if need.required else min(need.memory, server.limit)
    memory = -(-min(max(server.memory, enough), MAX_MEMORY) // 1024)
    chosen = {"maintenance_work_mem": wanted.maintenance_work_mem or f"{memory}kB"}
    workers = wanted.parallel_workers
    if workers is None:
        return chosen | {"max_parallel_maintenance_workers": str(_workers(need, server))}
    return chosen | {
        "max_parallel_maintenance_workers": str(workers),
        "max_parallel_workers": str(max(workers, server.parallel_workers)),
    }


def _workers(need: Need, server: Server) -> int:
    """Half of what there is: the queries have workers too. Who set it to none meant it."""
    if server.workers == 0 or need.memory < SMALL:
        return server.workers
    return max(server.workers, min(server.parallel_workers, server.processes) // 2)


def estimate(connection: Connection, index: VectorIndex) -> Need:
    """Return what a build needs, without a look at the rows."""
    table = connection.execute(_TABLE, {"name": regclass_name(index.schema, index.table)}).one()
    type_, dimensions = _element(connection, index)
    width = VALUE_HEADER + -(-dimensions * BITS[type_] // 8) if type_ in BITS else 0
    rows = _rows(connection, index)
    if table.never_counted and table.bytes:
        # The planner takes a vector for 32 bytes. Each has its place in the table, or beside it.
        rows = min(rows, table.bytes // max(width, 1))
    # A sparse vector is as wide as it has elements, and at most as its row.
    width = width or table.bytes // max(rows, 1)
    options = with_defaults(index.method, index.options)
    if index.method == "hnsw":
        return Need(rows, graph_bytes(rows, width, options["m"]), False)
    return Need(rows, clusters_bytes(table.pages, width, dimensions, options["lists"]), True)


def graph_bytes(rows: int, width: int, m: int) -> int:
    """Return the memory of an HNSW graph, of values of so many bytes."""
    return int(rows * (width + ELEMENT + NEIGHBOUR * m) * MARGIN) + OVERHEAD


def clusters_bytes(pages: int, width: int, dimensions: int, lists: int) -> int:
    """Return the memory of IVFFlat's k-means, as ElkanKmeans in pgvector's ivfkmeans.c adds it up."""
    samples = min(max(SAMPLES_PER_LIST * lists, MIN_SAMPLES), max(pages * MAX_ROWS_PER_PAGE, 1))
    item = -(-width // 8) * 8
    vectors = (2 * lists + samples) * item + 4 * lists * dimensions
    bounds = 4 * (samples * lists + 2 * samples + lists * lists + 3 * lists)
    return vectors + bounds + MB


def _rows(connection: Connection, index: VectorIndex) -> int:
    """Ask the planner, who knows of rows without a vector and of a partial index's predicate."""
    where = f"{index.key} IS NOT NULL" + (f" AND ({index.where})" if index.where is not None else "")
    table = qualified(index.schema, index.table)
    sql = f"EXPLAIN SELECT FROM {table} WHERE {where}"
    plan = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
    first = re.search(r"rows=(\d+)", plan.scalars().all()[0])
    return int(first[1]) if first else 0


def _element(connection: Connection, index: VectorIndex) -> tuple[str, int]:
    """Return the indexed type and its dimensions: an expression has a cast, since only that gives it dimensions."""
    type_ = index.key
    if index.column is not None:
        name = regclass_name(index.schema, index.table)
        type_ = connection.scalar(_COLUMN, {"name": name, "column": index.column}) or ""
    casts = re.findall(r"\b(vector|halfvec|bit|sparsevec)\((\d+)\)", type_)
    return (casts[-1][0], int(casts[-1][1])) if casts else ("", 0)


def read_server(connection: Connection) -> Server:
    """Return what a server says of itself."""
    return Server(**connection.execute(_SERVER).one()._mapping)


def _report(index: VectorIndex, need: Need, server: Server) -> None:
    log.info(
        "building %s on %s: about %s rows, maintenance_work_mem %s, up to %d parallel workers",
        index.name,
        index.table,
        f"{need.rows:,}",
        in_words(server.memory),
        min(server.workers, server.parallel_workers),
    )
    if need.memory > server.memory and not need.required:
        log.warning(
            "the graph of %s will not fit in memory, and building takes many times as long: about %s rows need %s, "
            "maintenance_work_mem is %s; if the server has it, give more with maintenance_work_mem=%r",
            index.name,
            f"{need.rows:,}",
            in_words(need.memory),
            in_words(server.memory),
            in_words(need.memory).replace(" ", ""),
        )


def in_words(size: int) -> str:
    """Return a size in whole megabytes, rounded up."""
    return f"{-(-size // MB)} MB"


def lacks_shared_memory(exc: DBAPIError) -> bool:
    """Return whether a parallel build failed for want of shared memory.

    Its SQLSTATEs, 53100 and 53200, are those of a full disk too, where building again would fail again.
    """
    diagnostics = getattr(exc.orig, "diag", None)
    return getattr(diagnostics, "source_file", None) == SHARED_MEMORY_SOURCE
