"""One run: a ladder of sizes of 384 dimensions, each measured on a server of its own.

Each size is kept as JSON, and not measured again: a run that was interrupted, or that a budget ended, goes on where
it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.progress import Report
from benchmarks.scale import size
from benchmarks.scale.growth import expected
from benchmarks.terms import EF_CONSTRUCTION, K, M

DIMENSIONS = 384
LADDER = (10_000, 30_000, 100_000, 300_000, 1_000_000)
# What the whole suite takes of it.
SHORT_LADDER = LADDER[:3]


@dataclass(frozen=True)
class Ladder:
    """What is to be measured.

    Attributes:
        sizes: Rows, rising.
        dimensions: Of the vectors.
        budget: Seconds that all may take; the next size is left out where it would take longer. None for any.
        fresh: Whether to measure again what was measured.
    """

    sizes: Sequence[int] = SHORT_LADDER
    dimensions: int = DIMENSIONS
    budget: float | None = None
    fresh: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Return what makes two measurements comparable."""
        return {
            "dimensions": self.dimensions,
            "m": M,
            "ef_construction": EF_CONSTRUCTION,
            "queries": size.QUERIES,
            "k": K,
        }


def run(ladder: Ladder, out: Path, report: Report) -> None:
    """Measure the sizes that are not measured yet, from the smallest.

    Args:
        ladder: What is to be measured.
        out: The folder of results.
        report: Who is told of the progress, and why a size was left out.
    """
    begin = time.monotonic()
    for rows in ladder.sizes:
        kept = results.sizes(out, ladder.settings)
        if not ladder.fresh and any(each["rows"] == rows for each in kept):
            report.say(f"{rows:,} x {ladder.dimensions}: measured before (--fresh measures again)")
            continue
        smaller = [each for each in kept if each["rows"] < rows]
        likely = expected([each["rows"] for each in smaller], [each["seconds"] for each in smaller], rows)
        left = None if ladder.budget is None else ladder.budget - (time.monotonic() - begin)
        if left is not None and likely > left:
            report.warn(
                f"{rows:,} x {ladder.dimensions} and more left out: about {likely / 60:.0f} minutes, and "
                f"{max(left, 0) / 60:.0f} are left of the budget; the same command goes on from here"
            )
            return
        figures, described = size.measure(rows, ladder.dimensions, report)
        results.save_size(out, rows, described, ladder.settings, figures)
