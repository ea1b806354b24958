"""The parts of the suite, each on a private server of its own, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.comparison import run as comparison
from benchmarks.comparison import terminal
from benchmarks.comparison.state import Options
from benchmarks.forms import run as forms
from benchmarks.progress import Report
from benchmarks.scale import run as scale
from benchmarks.scale.run import LADDER, SHORT_LADDER, Ladder
from benchmarks.tuning import run as tuning

# Fewer, and the planner rightly scans our table rather than ask the index.
QUICK_ROWS = 8_000
QUICK_ROUNDS = 4
# Two points show that it works; a third, that the growth is fitted.
QUICK_LADDER = (2_000, 5_000, 10_000)
DIMENSIONS = (1536, 384)
PARTS = ("comparison", "forms", "tuning", "scale")


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        parts: Those to measure, in turn.
        comparison: Of the comparison; the other parts take its rows.
        ladder: Of the sizes.
        builds: How often each form of index is built.
        out: The folder of results.
        peers: Where the figures of the peers are saved, one object each.
    """

    parts: Sequence[str]
    comparison: Options
    ladder: Ladder
    builds: int
    out: Path
    peers: Path


def quick(asked: Asked) -> Asked:
    """Return the same with so little of everything that it is done in minutes."""
    return replace(
        asked,
        comparison=replace(asked.comparison, rows=QUICK_ROWS, rounds=QUICK_ROUNDS),
        ladder=replace(asked.ladder, sizes=QUICK_LADDER),
        builds=1,
    )


def ladder(sizes: Sequence[int], budget: float | None, *, far: bool, fresh: bool) -> Ladder:
    """Return the sizes to measure.

    Args:
        sizes: Those asked for, in any order; none for the usual ones.
        budget: Minutes.
        far: Whether the usual ones go up to a million rows.
        fresh: Whether to measure again what was measured.
    """
    usual = LADDER if far else SHORT_LADDER
    return Ladder(tuple(sorted(sizes)) or usual, budget=None if budget is None else 60 * budget, fresh=fresh)


def measure(asked: Asked, report: Report) -> None:
    """Measure the parts and keep what each found as soon as it is there.

    Args:
        asked: What to measure.
        report: Who is told of the progress, and shown the figures.
    """
    for part in PARTS:
        if part in asked.parts:
            _MEASURES[part](asked, report)


def _comparison(asked: Asked, report: Report) -> None:
    measured = comparison.run(asked.comparison, report)
    figures: Mapping[str, Any] = measured["results"]["figures"]
    terminal.show(report.console, figures)
    report.remind()
    report.saved(results.write(asked.peers, figures))
    report.saved(results.save(asked.out, "comparison", measured))


def _forms(asked: Asked, report: Report) -> None:
    measured = forms.run(asked.comparison.rows, DIMENSIONS, report, asked.builds)
    report.saved(results.save(asked.out, "forms", measured))


def _tuning(asked: Asked, report: Report) -> None:
    report.saved(results.save(asked.out, "tuning", tuning.run(asked.comparison.rows, report)))


def _scale(asked: Asked, report: Report) -> None:
    scale.run(asked.ladder, asked.out, report)


_MEASURES: Mapping[str, Callable[[Asked, Report], None]] = {
    "comparison": _comparison,
    "forms": _forms,
    "tuning": _tuning,
    "scale": _scale,
}
