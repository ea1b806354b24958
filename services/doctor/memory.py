"""Memory: what holds the vector indexes when they are searched, and when they are built again."""

from __future__ import annotations

from math import ceil

from pgcorpus.models import SCHEMA
from pgcorpus.names import quote
from pgcorpus.services.doctor.facts import Facts, Server
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.doctor.sizes import MEGABYTE, build_memory, told


def memory_findings(facts: Facts) -> list[Finding]:
    """Return where the vector indexes and the server's memory do not fit each other."""
    if facts.server is None:
        return []
    return [*_cache(facts, facts.server), *_build(facts, facts.server)]


def _cache(facts: Facts, server: Server) -> list[Finding]:
    total = sum(index.bytes for index in facts.vector_indexes if index.valid)
    if total > server.effective_cache_size:
        return [_from_disk(facts, server, total)]
    return [_beside(server, total)] if total > server.shared_buffers else []


def _from_disk(facts: Facts, server: Server, total: int) -> Finding:
    return Finding(
        "index-memory",
        Severity.WARNING,
        "The vector indexes are larger than all memory that is said to hold them.",
        f"Those of {SCHEMA}.documents take {told(total)}; effective_cache_size is {told(server.effective_cache_size)}.",
        "A search reads hundreds of pages in no order, each of them from the disk.",
        "Give the server more memory, or build a smaller form of the index (halfvec: half of it; binary: a"
        " twentieth). If the machine has the memory, and the server was not told:"
        f" ALTER DATABASE {quote(facts.database)} SET effective_cache_size = '{_megabytes(total)}MB';",
    )


def _beside(server: Server, total: int) -> Finding:
    return Finding(
        "index-memory",
        Severity.NOTE,
        "The vector indexes are larger than the server's own cache.",
        f"Those of {SCHEMA}.documents take {told(total)}; shared_buffers is {told(server.shared_buffers)}.",
        "Searches fetch pages from the operating system, and from the disk where that has not kept them either.",
        # In words: a server that asks for more than its machine has does not start.
        "If the machine has four times as much memory, give the server more of it, which takes a restart:"
        f" ALTER SYSTEM SET shared_buffers = '{_megabytes(total)}MB';",
    )


def _build(facts: Facts, server: Server) -> list[Finding]:
    graphs = [index for index in facts.vector_indexes if index.valid and index.method == "hnsw"]
    largest = max(graphs, key=build_memory, default=None)
    if largest is None or build_memory(largest) <= server.maintenance_work_mem:
        return []
    needed = build_memory(largest)
    return [
        Finding(
            "build-memory",
            Severity.NOTE,
            f"maintenance_work_mem is too small to build the index {largest.name} again.",
            f"It is {told(server.maintenance_work_mem)}; the graph of {largest.rows:,.0f} documents takes"
            f" {told(needed)}.",
            "A build that does not fit goes on on the disk, and takes three times as long and more.",
            "Set it for the role that builds, if the machine has that much to spare; sessions that begin after that"
            " have it. The commands of `pgcorpus index` set it themselves.",
            sql=f"ALTER ROLE {facts.role} IN DATABASE {quote(facts.database)}"
            f" SET maintenance_work_mem = '{_megabytes(needed)}MB';",
        )
    ]


def _megabytes(size: int) -> int:
    return ceil(size / MEGABYTE)
