"""The tables of the report and of docs/benchmarks.md, from the results as they are kept: one source for both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.comparison.summary import RATIOS
from benchmarks.curves import at_recall, by_index
from benchmarks.forms.acceptance import acceptance, reference
from benchmarks.forms.kinds import FULL
from benchmarks.noise import Interval
from benchmarks.scale.growth import SERIES, recall_at_default
from benchmarks.terms import MB

Measured = Mapping[str, Any]
RECALLS = (0.9, 0.95, 0.98, 0.99)


class Table(NamedTuple):
    """A table of text.

    Attributes:
        head: Of its columns; the first is of names.
        rows: As many cells each.
    """

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def ratios(comparison: Measured) -> Table:
    """Of pgcorpus to the base: median, the interval that the rounds leave it, and whether it differs from 1 at all."""
    results = comparison["results"]
    rows = [
        (ratio.text, "" if ratio.wanted is None else f"{ratio.wanted:g}", *_interval(results["ratios"][name]))
        for name, ratio in RATIOS.items()
        if results["ratios"].get(name)
    ]
    control = ("*the base beside itself, which is noise*", "", *_interval(results["control"]))
    return Table(("Ratio to the base", "wanted", "median", "95 % interval", "differs from 1"), [*rows, control])


def libraries(comparison: Measured) -> Table:
    """Of each peer the ratios, and what its filtered searches return."""
    columns = ("p50_ratio", "hard_p50_ratio", "cpu_ratio", "qps4_ratio", "delayed_ratio", "ingest_ratio")
    head = ("Client", "median", "hard set", "CPU", "queries a second, 4 threads", "1 ms delay", "write")
    rows = []
    for peer, figures in comparison["results"]["figures"].items():
        if not figures.get("skipped"):
            cells = (number(figures[column]) for column in columns)
            rows.append((peer, *cells, number(figures["filtered_rows"], 1), number(figures["filtered_recall"])))
    return Table((*head, "worst filter: rows of 10", "recall"), rows)


def recall(comparison: Measured) -> Table:
    """Queries a second of each peer at some recalls, read off its line of the best points."""
    curves = comparison["results"]["curves"]
    rows = [(peer, *(number(at_recall(points, each, "qps"), 0) for each in RECALLS)) for peer, points in curves.items()]
    return Table(("Queries a second, one client, hard set", *(f"recall {each:g}" for each in RECALLS)), rows)


def filters(comparison: Measured) -> Table:
    """Recall, rows and time of each peer by selectivity."""
    found = comparison["results"]["filters"]
    parts = sorted({point["selectivity"] for points in found.values() for point in points.values()})
    rows = []
    for peer, points in found.items():
        by_part = {point["selectivity"]: point for point in points.values()}
        cells = (by_part.get(part) for part in parts)
        rows.append((peer, *(_filtered(cell) for cell in cells)))
    return Table(("Rows of 10 · recall · p50 ms", *(f"{100 * part:g} %" for part in parts)), rows)


def ingest(comparison: Measured) -> Table:
    """Rows a second of each way to write, and the client's CPU of a search."""
    results = comparison["results"]
    rows = [(name, *_interval(span, 0)[:2]) for name, span in results["ingest"].items()]
    return Table(("Rows a second, no vector index", "median", "of the rounds"), rows)


def forms(measured: Measured) -> Table:
    """Of each form of index: build, size, and the recall and speed at the default ``ef_search``."""
    rows = []
    for dimensions, found in measured["results"].items():
        for name, each in found.items():
            times = {f"{at:g}": number(at_recall(by_index(each["points"]), at)) for at in (0.95, 0.98)}
            build, size = each["build_seconds"], each["bytes"] / MB
            rows.append((dimensions, name, number(build[0], 1), number(size, 0), *times.values()))
    return Table(("Dimensions", "Index", "build, s", "MB", "p50 ms at recall .95", "at .98"), rows)


def accepted(measured: Measured) -> Table:
    """The setting at which the smaller forms come within .01 of the full index's recall, with size and speed."""
    rows = []
    for dimensions, found in measured["results"].items():
        full, bytes_ = reference(found), found[FULL]["bytes"]
        rows.append((dimensions, FULL, f"ef_search {full['ef_search']}", *_cost(full, full, 1.0)))
        for name, best in acceptance(found).items():
            share = found[name]["bytes"] / bytes_
            rows.append((dimensions, name, *_accepted(best, full, share)))
    return Table(("Dimensions", "Index", "setting", "recall@10", "p50 ms", "p50, ratio", "size, ratio"), rows)


def tuning(measured: Measured) -> Table:
    """Searches at the default and for a recall of .98."""
    rows = []
    for name, each in measured["results"].items():
        chosen = ", ".join(f"{key} {value}" for key, value in (each["setting"] or {}).items()) or "none reached it"
        default, tuned = each["default"], each["tuned"]
        ratio = Interval(*each["ratio"])
        cells = (number(default["recall"], 3), number(default["p50_ms"]), chosen, number(tuned["recall"], 3))
        rows.append(
            (name, *cells, number(tuned["p50_ms"]), f"{ratio.middle:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
        )
    default = f"default ({measured['settings']['ef_search']}): recall"
    return Table(("Set", default, "p50 ms", "calibrated", "recall", "p50 ms", "time, ratio"), rows)


def scale(measured: Measured) -> Table:
    """Each size, and the power law of each figure."""
    head = ("Rows", *(f"{each.title}, {each.unit}" for each in SERIES), "recall at the default ef_search")
    sizes = measured["results"]
    rows = [
        (f"{size['rows']:,}", *(number(each.value(size)) for each in SERIES), number(recall_at_default(size), 3))
        for size in sizes
    ]
    laws = (each.law(sizes) for each in SERIES)
    told = ("-" if law is None else f"n^{law.exponent:.2f}" + _error(law.error) for law in laws)
    return Table(head, [*rows, ("grows as", *told, "")])


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure as text: three digits that count, and no more after the point than asked for."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{min(digits, 1) if abs(value) >= 10 else digits}f}"


def _interval(values: Any, digits: int = 2) -> tuple[str, str, str]:
    span = Interval(*values)
    lies = f"{number(span.low, digits)} to {number(span.high, digits)}"
    return number(span.middle, digits), lies, "yes" if span.tells_from(1) else "no: noise"


def _filtered(point: Measured | None) -> str:
    return "-" if point is None else f"{point['rows']:.1f} · {point['recall']:.2f} · {number(point['p50_ms'], 1)}"


def _accepted(best: Measured | None, full: Measured, size: float) -> tuple[str, ...]:
    if best is None:
        return ("not reached", "-", "-", "-", f"{size:.2f}")
    name = "rerank" if "rerank" in best else "ef_search"
    return (f"{name} {best[name]}", *_cost(best, full, size))


def _cost(point: Measured, full: Measured, size: float) -> tuple[str, ...]:
    return f"{point['recall']:.3f}", number(point["p50_ms"]), number(point["p50_ms"] / full["p50_ms"]), f"{size:.2f}"


def _error(error: float | None) -> str:
    return "" if error is None else f" ± {error:.2f}"


# By the name of the place in docs/benchmarks.md: the part it is of, and what makes it.
TABLES: Mapping[str, tuple[str, Callable[[Measured], Table]]] = {
    "ratios": ("comparison", ratios),
    "libraries": ("comparison", libraries),
    "recall": ("comparison", recall),
    "filters": ("comparison", filters),
    "ingest": ("comparison", ingest),
    "forms": ("forms", forms),
    "accepted": ("forms", accepted),
    "tuning": ("tuning", tuning),
    "scale": ("scale", scale),
}
