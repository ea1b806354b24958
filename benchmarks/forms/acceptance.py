"""Which setting of a smaller form makes up for what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.curves import Point, by_index, cheapest
from benchmarks.forms.kinds import FULL
from benchmarks.terms import default_ef_search

# What a smaller form of an index may lose of the full one's recall.
MARGIN = 0.01


def acceptance(forms: Mapping[str, Any], margin: float = MARGIN) -> dict[str, Point | None]:
    """Return, of each smaller form of HNSW, the fastest setting whose recall is within a margin of the full index's.

    Args:
        forms: Of one set, as measured.
        margin: Of recall, 0 to 1.
    """
    full = reference(forms)
    smaller = [name for name, each in forms.items() if each["method"] == "hnsw" and name != FULL]
    return {name: cheapest(by_index(forms[name]["points"]), full["recall"] - margin) for name in smaller}


def reference(forms: Mapping[str, Any]) -> Point:
    """Return the full index's point at the default ``ef_search``."""
    points: list[Point] = forms[FULL]["points"]
    return next(each for each in points if each["ef_search"] == default_ef_search())
