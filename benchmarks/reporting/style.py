"""The house style of the plots: one colour and one sign for each name, quiet axes, text that stays text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

# Okabe and Ito's colours, which most of the colour-blind tell apart; ours first.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SIGNS = ("o", "s", "^", "D", "v", "P", "X")
INK, GRID = "#333333", "#DDDDDD"
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": 110,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "pgcorpus",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
WIDTH, HEIGHT = 7.2, 4.0


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style for a while."""
    with mpl.rc_context(STYLE):
        yield


def canvas(columns: int = 1, rows: int = 1, height: float = HEIGHT) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure, and its axes from left to right and top to bottom.

    Args:
        columns: Of axes.
        rows: Of axes.
        height: Of a row, in inches.
    """
    figure = Figure(figsize=(WIDTH if columns == 1 else 9.6, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [each for row in axes for each in row]


def look_of(names: Sequence[str], first: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the colour and the sign of each name, the same in every plot of the same names.

    Args:
        names: In the order of the legend.
        first: The one that gets our colour.
    """
    ordered = sorted(names, key=lambda name: name != first) if first in names else list(names)
    looks = {}
    for number, name in enumerate(ordered):
        looks[name] = {"color": COLOURS[number % len(COLOURS)], "marker": SIGNS[number % len(SIGNS)]}
    return looks


def plain_numbers(axis: Any) -> None:
    """Write a logarithmic axis as plain numbers: 100, not ten to the second."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def bars(
    axes: Axes, middles: dict[str, float], spans: dict[str, tuple[float, float]], looks: dict[str, Any], unit: str
) -> None:
    """Draw horizontal bars with what lies between low and high, and the value as text.

    Args:
        axes: Where.
        middles: By name, in order from the top.
        spans: Low and high, by name.
        looks: By name.
        unit: Of the values.
    """
    names = list(middles)
    axes.barh(names, [middles[name] for name in names], color=[looks[name]["color"] for name in names], height=0.6)
    for name in names:
        low, high = spans.get(name, (middles[name], middles[name]))
        if high > low:
            axes.plot([low, high], [name, name], color=INK, linewidth=0.8, marker="|", markersize=6)
        text = f"{middles[name]:,.0f}" if middles[name] >= 1_000 else f"{middles[name]:,.3g}"
        axes.annotate(text, (high, name), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlabel(unit)
    axes.margins(x=0.15)


def as_svg(figure: Figure) -> str:
    """Return a figure as an ``<svg>`` element, without a date."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write a figure as PNG and SVG, and return the latter for a page.

    Args:
        figure: The figure.
        folder: Where to.
        name: Of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    svg = as_svg(figure)
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    figure.savefig(folder / f"{name}.png", dpi=160)
    return svg
