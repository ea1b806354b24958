"""What a vector index asks for: bytes of its own, and memory to be built again."""

from __future__ import annotations

from math import ceil

from pgcorpus.repositories.indexes import VectorIndex
from pgcorpus.services.indexes.sizing import Estimate, estimate_index

_UNITS = ((2**30, "GB"), (2**20, "MB"), (2**10, "kB"))
MEGABYTE = 2**20


def expected_bytes(index: VectorIndex) -> int:
    """Return what an index would take if it were built now."""
    return _estimate(index).bytes


def build_memory(index: VectorIndex) -> int:
    """Return the bytes of ``maintenance_work_mem`` with which it is built at full speed."""
    return _estimate(index).memory


def _estimate(index: VectorIndex) -> Estimate:
    return estimate_index(index.form, index.method, ceil(index.rows), index.dimensions or 0, index.options)


def told(size: int) -> str:
    """Return a size for people."""
    unit, name = next((each for each in _UNITS if size >= each[0]), (1, "bytes"))
    return f"{size / unit:,.{0 if unit <= 2**10 else 1}f} {name}"
