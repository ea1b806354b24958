"""A plot of recall against the setting that decides it, as numbers for an SVG."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 20, 56
SHAPES = ("circle", "square", "triangle", "diamond")
_NO_RANGE = 1.5  # a single setting still needs some room on each side


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on an axis."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a line: where it is, and what was measured."""

    x: float
    y: float
    point: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """A line.

    Attributes:
        label: What the searches had in common.
        shape: Of its dots: lines are told apart without colour too.
        number: For its style, from 0.
        dots: From left to right.
    """

    label: str
    shape: str
    number: int
    dots: Sequence[Dot]

    @property
    def path(self) -> str:
        """The ``points`` of an SVG polyline."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


@dataclass(frozen=True, slots=True)
class Plot:
    """All that the SVG draws, in its units."""

    series: Sequence[Series]
    x_name: str
    x_marks: Sequence[Mark]
    y_marks: Sequence[Mark]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def plotted(points: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Return a plot with a line for each mode and filter; None of no points.

    Args:
        points: Those with ``ef_search`` or ``probes`` are drawn; an exact search finds everything.
    """
    points = [point for point in points if setting(point)]
    if not points:
        return None
    settings = sorted({setting(point) for point in points})
    lowest = _floor(min(float(point["recall"]) for point in points))
    groups = groupby(sorted(points, key=lambda point: (_label(point), setting(point))), key=_label)
    series = [
        Series(label, SHAPES[i % len(SHAPES)], i, [_dot(point, settings, lowest) for point in some])
        for i, (label, some) in enumerate(groups)
    ]
    name = "ef_search" if points[0].get("ef_search") else "probes"
    return Plot(series, name, [Mark(_x(each, settings), str(each)) for each in _few(settings)], _y_marks(lowest))


def setting(point: Mapping[str, Any]) -> int:
    """Return what a point was measured at, ``ef_search`` or ``probes``; 0 of an exact search."""
    return int(point.get("ef_search") or point.get("probes") or 0)


def _dot(point: Mapping[str, Any], settings: Sequence[int], lowest: float) -> Dot:
    return Dot(_x(setting(point), settings), _y(float(point["recall"]), lowest), point)


def _x(value: int, settings: Sequence[int]) -> float:
    """Logarithmic: from 10 to 20 recall gains more than from 510 to 520."""
    low, high = settings[0], settings[-1]
    if low == high:
        low, high = low / _NO_RANGE, high * _NO_RANGE  # type: ignore[assignment]
    share = math.log(value / low) / math.log(high / low)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(value: float, lowest: float) -> float:
    share = (value - lowest) / (1 - lowest)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _floor(recall: float) -> float:
    """Return where the axis begins: a twentieth below, so that small differences near 1 are seen."""
    return max(0.0, min(0.9, math.floor(recall * 20) / 20))


def _y_marks(lowest: float) -> list[Mark]:
    step = next(step for step in (0.02, 0.05, 0.1, 0.2) if (1 - lowest) / step <= 6)
    count = math.floor((1 - lowest) / step + 1e-9)
    return [Mark(_y(1 - i * step, lowest), f"{1 - i * step:.2f}") for i in range(count + 1)]


def _few(settings: Sequence[int]) -> list[int]:
    """Return settings far enough apart for their labels, from the largest down."""
    kept: list[int] = []
    for each in reversed(settings):
        if not kept or _x(kept[-1], settings) - _x(each, settings) >= 44:
            kept.append(each)
    return kept


def _label(point: Mapping[str, Any]) -> str:
    form, rerank, mode, where = (point.get(name) for name in ("form", "rerank", "mode", "filter"))
    parts = [f"index of the form {form}"] if form and form != "vector" else []
    parts += [f"{rerank} re-ranked"] if rerank else []
    parts += [f"iterative scan {mode}"] if mode else []
    parts += [f"filter {json.dumps(where, ensure_ascii=False)}"] if where else []
    return ", ".join(parts) or "no filter"
