"""What each plot of the report shows, from the results as they are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.curves import pareto
from benchmarks.reporting.style import bars, canvas, look_of, plain_numbers
from benchmarks.scale.growth import SERIES, Series
from benchmarks.terms import MB, OURS

# A recall below this is of no use to anyone.
POOR = 0.5


def recall_against_speed(comparison: Mapping[str, Any]) -> Figure:
    """Draw each peer's line of the best points, as ann-benchmarks does, and the other points faintly."""
    figure, (axes,) = canvas(height=4.6)
    _curves(axes, comparison["results"]["curves"], OURS)
    axes.set_title("Recall against queries a second, hard set, one client (up and to the right is better)")
    return figure


def filtered(comparison: Mapping[str, Any]) -> Figure:
    """Draw the recall, the rows returned and the time under filters, by selectivity."""
    figure, axes = canvas(columns=3, height=3.4)
    filters = comparison["results"]["filters"]
    looks = look_of(list(filters), OURS)
    for each, (field, title) in zip(
        axes, (("recall", "recall@10"), ("rows", "rows returned, of 10"), ("p50_ms", "p50, ms")), strict=True
    ):
        for number, (peer, points) in enumerate(filters.items()):
            line = sorted(points.values(), key=lambda point: point["selectivity"])
            # Several peers answer alike: the signs of those below look out from under the others.
            size = 9 - number
            each.plot(
                [100 * point["selectivity"] for point in line],
                [p[field] for p in line],
                label=peer,
                markersize=size,
                **looks[peer],
            )
        each.set(xscale="log", title=title, xlabel="rows that match, %")
        plain_numbers(each.xaxis)
    axes[2].set_yscale("log")
    plain_numbers(axes[2].yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def ingest_and_cpu(comparison: Mapping[str, Any]) -> Figure:
    """Draw the rows a second of a load without a vector index, and the client's CPU time of a search."""
    figure, (left, right) = canvas(columns=2, height=3.2)
    results = comparison["results"]
    for axes, key, unit in ((left, "ingest", "rows a second"), (right, "cpu_ms", "client CPU of a search, ms")):
        measured = {name: span for name, span in results[key].items() if "," not in name}
        spans = {name: (span[1], span[2]) for name, span in measured.items()}
        bars(axes, {name: span[0] for name, span in measured.items()}, spans, look_of(list(measured), OURS), unit)
    return figure


def forms(measured: Mapping[str, Any]) -> Figure:
    """Draw recall against speed, build time and size of each form of index, a row of plots for each dimension."""
    sets = measured["results"]
    figure, axes = canvas(columns=3, rows=len(sets), height=3.4)
    for number, (dimensions, found) in enumerate(sets.items()):
        curves, build, size = axes[3 * number : 3 * number + 3]
        _curves(curves, {name: each["points"] for name, each in found.items()}, None)
        curves.set_title(f"{dimensions} dimensions")
        looks = look_of(list(found))
        seconds = {name: each["build_seconds"] for name, each in found.items()}
        spans = {name: (span[1], span[2]) for name, span in seconds.items()}
        bars(build, {name: span[0] for name, span in seconds.items()}, spans, looks, "seconds to build")
        bars(size, {name: each["bytes"] / MB for name, each in found.items()}, {}, looks, "MB")
        size.set_yticklabels([])
    return figure


def growth(scale: Mapping[str, Any]) -> Figure:
    """Draw each figure by the rows, both logarithmic, with the fitted power law."""
    figure, axes = canvas(columns=3, rows=-(-len(SERIES) // 3), height=2.9)
    for each, series in zip(axes, SERIES, strict=False):
        _law(each, series, scale["results"])
    for unused in axes[len(SERIES) :]:
        unused.set_visible(False)
    return figure


def tuned(tuning: Mapping[str, Any]) -> Figure:
    """Draw what a calibrated search takes beside one at the default, and what both find."""
    figure, (left, right) = canvas(columns=2, height=2.6)
    for axes, field, unit in ((left, "p50_ms", "p50, ms"), (right, "recall", "recall@10 of held-out queries")):
        values = {
            f"{name}, {way}": each[way][field]
            for name, each in tuning["results"].items()
            for way in ("default", "tuned")
        }
        looks = {name: {"color": "#D55E00" if name.endswith("tuned") else "#0072B2"} for name in values}
        bars(axes, values, {}, looks, unit)
    return figure


def _curves(axes: Axes, curves: Mapping[str, Any], first: str | None) -> None:
    looks = look_of(list(curves), first)
    for name, points in curves.items():
        # Where the planner preferred an exact scan, it says nothing of the index.
        asked = [point for point in points if point.get("indexed", True)]
        line = pareto(asked)
        axes.plot([p["recall"] for p in line], [p["qps"] for p in line], label=name, **looks[name])
        axes.scatter([p["recall"] for p in asked], [p["qps"] for p in asked], s=9, alpha=0.4, **looks[name])
        axes.fill_between(
            [p["recall"] for p in line],
            [p["qps_low"] for p in line],
            [p["qps_high"] for p in line],
            alpha=0.12,
            color=looks[name]["color"],
            linewidth=0,
        )
    axes.set(yscale="log", xlabel="recall@10", ylabel="queries a second", xlim=(POOR, 1 + (1 - POOR) / 40))
    plain_numbers(axes.yaxis)
    axes.legend()


def _law(axes: Axes, series: Series, sizes: Any) -> None:
    rows, values = series.of(sizes)
    if not rows:
        axes.set(title=f"{series.title}: not measured", xticks=[], yticks=[])
        return
    axes.plot(rows, values, "o", color="#D55E00")
    law = series.law(sizes)
    if law:
        line = np.geomspace(min(rows), max(rows), 50)
        axes.plot(line, [law.at(each) for each in line], color="#0072B2", linewidth=1)
        told = f"n^{law.exponent:.2f}" + ("" if law.error is None else f" ± {law.error:.2f}")
        axes.annotate(told, (0.05, 0.9), xycoords="axes fraction")
    axes.set(xscale="log", yscale="log", title=series.title, xlabel="rows", ylabel=series.unit)
    plain_numbers(axes.yaxis)
    plain_numbers(axes.xaxis)
    axes.set_xticks(rows)
    axes.tick_params(axis="x", rotation=30)


# By the name of the file: the part it is of, and what draws it.
PLOTS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Figure]]] = {
    "recall": ("comparison", recall_against_speed),
    "filters": ("comparison", filtered),
    "ingest-and-cpu": ("comparison", ingest_and_cpu),
    "forms": ("forms", forms),
    "tuning": ("tuning", tuned),
    "scale": ("scale", growth),
}
