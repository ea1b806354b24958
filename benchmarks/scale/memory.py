"""The server's memory while something runs: what all its processes hold together, as Linux counts it.

Each page counts once, shared among those that map it (``Pss`` of ``/proc/PID/smaps_rollup``; the sum of their RSS would
count the shared buffers once for each process). Pages of files that the kernel caches for the server are not in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")
KB = 1024
# Seconds between two looks at least, and how many times as long as a look took: one takes milliseconds for each
# gigabyte mapped, on a processor that the server could use.
PAUSE, SHARE = 0.1, 30


class Peak:
    """The largest sum seen.

    Attributes:
        bytes: None where the system does not tell.
    """

    def __init__(self) -> None:
        self.bytes: int | None = None

    def see(self, postmaster: int) -> None:
        """Look once.

        Args:
            postmaster: The server's main process.
        """
        held = held_by(postmaster)
        if held is not None:
            self.bytes = max(held, self.bytes or 0)


@contextmanager
def watched(postmaster: int) -> Iterator[Peak]:
    """Look again and again for as long as something runs.

    Args:
        postmaster: The server's main process.
    """
    peak, over = Peak(), threading.Event()

    def look() -> None:
        took = 0.0
        while not over.wait(max(PAUSE, SHARE * took)):
            start = time.perf_counter()
            peak.see(postmaster)
            took = time.perf_counter() - start

    peak.see(postmaster)
    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
        peak.see(postmaster)


def held_by(postmaster: int) -> int | None:
    """Return the bytes that a server's processes hold; None where the system does not tell.

    Args:
        postmaster: The server's main process.
    """
    found = [size for pid in (postmaster, *children_of(postmaster)) if (size := _proportional(pid)) is not None]
    return sum(found) if found else None


def children_of(parent: int) -> list[int]:
    """Return the processes that a process started."""
    return [int(each.name) for each in PROC.glob("[0-9]*") if parent_of(int(each.name)) == parent]


def parent_of(pid: int) -> int | None:
    """Return the process that started a process; None where it has ended."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1])


def _proportional(pid: int) -> int | None:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * KB for line in lines if line.startswith("Pss:")), None)
