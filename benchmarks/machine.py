"""What a run was measured on, without a name of machine, user or folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psycopg

LIBRARIES = ("pgcorpus", "sqlalchemy", "psycopg", "pgvector", "numpy")
SETTINGS = (
    "shared_buffers",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers_per_gather",
    "autovacuum",
    "max_wal_size",
    "checkpoint_timeout",
    "fsync",
    "random_page_cost",
    "jit",
    "dynamic_shared_memory_type",
)
GB = 1024**3


def describe(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return the machine, the versions and the server's settings.

    Args:
        connection: To the server that is measured.
    """
    return {
        "CPU": cpu_model(),
        "cores": cores(),
        "memory": f"{memory() / GB:.0f} GB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "PostgreSQL": _ask(connection, "SELECT current_setting('server_version')"),
        "pgvector": _ask(connection, "SELECT extversion FROM pg_extension WHERE extname = 'vector'"),
        "Python": platform.python_version(),
        "libraries": ", ".join(installed(LIBRARIES)),
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        "settings": {name: _ask(connection, "SELECT current_setting(%s)", name) for name in SETTINGS},
    }


def cpu_model() -> str:
    """Return the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def installed(names: Sequence[str]) -> list[str]:
    """Return the names with their versions, as far as they are installed."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _ask(connection: psycopg.Connection[Any], query: str, *values: str) -> str | None:
    row = connection.execute(query.encode(), values or None).fetchone()
    return str(row[0]) if row else None
