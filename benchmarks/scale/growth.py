"""How figures grow with the rows: a power law, fitted, and the figures that are followed over the sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.curves import at_recall, by_index
from benchmarks.terms import MB, default_ef_search

# At this recall sizes are compared: at one ef_search a larger set has a lower one.
RECALL = 0.95
Size = Mapping[str, Any]


class Growth(NamedTuple):
    """``factor * rows ** exponent``.

    Attributes:
        factor: The figure at one row, as the law has it.
        exponent: 1 is in proportion, 0 is constant.
        error: Standard error of the exponent; None of two points, which any line fits.
    """

    factor: float
    exponent: float
    error: float | None

    def at(self, rows: float) -> float:
        """Return the figure at so many rows."""
        return float(self.factor * rows**self.exponent)


def fit(rows: Sequence[float], figures: Sequence[float]) -> Growth | None:
    """Fit a power law by least squares of the logarithms.

    Args:
        rows: The sizes.
        figures: At each, more than 0.

    Returns:
        None for fewer than two sizes.
    """
    if len(set(rows)) < 2:
        return None
    x, y = np.log(np.asarray(rows, float)), np.log(np.asarray(figures, float))
    exponent, offset = np.polyfit(x, y, 1)
    return Growth(float(np.exp(offset)), float(exponent), _error(x, y - (exponent * x + offset)))


def _error(x: np.ndarray, rest: np.ndarray) -> float | None:
    free = len(x) - 2
    return float(np.sqrt(np.sum(rest**2) / free / np.sum((x - x.mean()) ** 2))) if free > 0 else None


def expected(rows: Sequence[float], seconds: Sequence[float], following: float) -> float:
    """Return how long the next size will take: by the law if there is one, at least in proportion to the last."""
    if not rows:
        return 0.0
    law = fit(rows, seconds)
    in_proportion = seconds[-1] * following / rows[-1]
    return max(in_proportion, law.at(following)) if law else in_proportion


@dataclass(frozen=True)
class Series:
    """One figure by the rows.

    Attributes:
        title: What it is.
        unit: Of its values.
        value: From a size; None where it has none.
    """

    title: str
    unit: str
    value: Callable[[Size], float | None]

    def of(self, sizes: Sequence[Size]) -> tuple[list[int], list[float]]:
        """Return the rows and the values of the sizes that have one."""
        pairs = [(size["rows"], value) for size in sizes if (value := self.value(size) or 0.0) > 0]
        return [rows for rows, _ in pairs], [value for _, value in pairs]

    def law(self, sizes: Sequence[Size]) -> Growth | None:
        """Return the power law that fits; None for fewer than two sizes."""
        return fit(*self.of(sizes))


def p50_at_recall(size: Size) -> float | None:
    """Return the milliseconds of a search by the index at the recall at which sizes are compared."""
    return at_recall(by_index(size["points"]), RECALL)


def recall_at_default(size: Size) -> float:
    """Return the recall at the default ``ef_search``."""
    return float(next(point["recall"] for point in size["points"] if point["ef_search"] == default_ef_search()))


def _megabytes(name: str) -> Callable[[Size], float | None]:
    return lambda size: size[name] / MB if size[name] else None


SERIES = (
    Series("load", "seconds", lambda size: size["load_seconds"]),
    Series("build", "seconds", lambda size: size["build_seconds"]),
    Series("index", "MB", _megabytes("index_bytes")),
    Series("memory that the build added", "MB", _megabytes("build_added")),
    Series(f"p50 at recall {RECALL}", "ms", p50_at_recall),
    Series("exact search", "ms", lambda size: size["exact_ms"][0]),
)
