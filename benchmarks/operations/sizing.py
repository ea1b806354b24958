"""What an index takes, as a table: computed, not measured."""

from __future__ import annotations

from benchmarks.operations.site import (
    mb,
)
from pgcorpus.indexing import IndexForm
from pgcorpus.services.indexes import estimate_index

SIZES, DIMENSIONS = (10_000, 100_000, 1_000_000, 10_000_000), (384, 1536)
# Of the table, vectors alone: as docs/storage.md measured, one of more than 1,000 dimensions has its page for itself.
PAGE, ROW_HEADER = 8192, 64


def sizing() -> str:
    """Return the table of docs/operations.md: what an HNSW index takes, by what it keeps of a vector."""
    head = ("Rows", "Dimensions", "Table", *IndexForm)
    lines = [_sized(rows, dimensions) for rows in SIZES for dimensions in DIMENSIONS]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _sized(rows: int, dimensions: int) -> list[str]:
    table = -(-rows // max((PAGE - 24) // (dimensions * 4 + ROW_HEADER), 1)) * PAGE
    each = [estimate_index(form, "hnsw", rows, dimensions) for form in IndexForm]
    cells = [f"{mb(one.bytes)} · {mb(one.memory)} · {_span(one.seconds)}" for one in each]
    return [f"{rows:,}", f"{dimensions:,}", mb(table), *cells]


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 6_000 else f"{seconds / 3600:,.1f} h"
