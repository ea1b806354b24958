"""A calibration as a plot: recall by setting, and recall by time."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from pgcorpus.errors import MissingExtraError
from pgcorpus.repositories.search.recall import EXACT
from pgcorpus.services.calibrating.measuring import described
from pgcorpus.services.calibrating.reports import CalibrationReport, Measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by those who see no difference of red and green (Okabe and Ito 2008, "Color Universal Design").
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800", "#777777")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# Of text and axes: readable on white and on black; a page replaces it by the colour of its text.
INK = "#7a7a7b"
_LABEL = 60
_LABELS_ABREAST = 2

# The text of a label may hold what would otherwise be read as a formula; and the same plot is the same file.
_STYLE: Any = {
    "text.parse_math": False,
    "svg.hashsalt": "pgcorpus",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
# What would make each file another.
_UNSAID = {"Date": None, "Creator": None, "Type": None, "Format": None}


def require_plots() -> None:
    """Pass if plots can be drawn and pages written.

    Raises:
        MissingExtraError: matplotlib or Jinja2 is not installed.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as exc:
        raise MissingExtraError("plots", "a report with plots") from exc


def drawn(report: CalibrationReport, form: str) -> bytes:
    """Return the plot.

    Args:
        report: The calibration.
        form: ``png`` or ``svg``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_plots()
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context(_STYLE):
        figure = _figure(report)
        is_svg = form == "svg"
        figure.savefig(file, format=form, dpi=150, metadata=_UNSAID if is_svg else None, transparent=is_svg)
    return file.getvalue()


def _figure(report: CalibrationReport) -> Figure:
    from matplotlib.figure import Figure

    lines = _lines(report)
    figure = Figure(figsize=(9.5, 4.2 + 0.18 * ceil(len(lines) / _LABELS_ABREAST)), layout="constrained")
    by_setting, by_time = figure.subplots(1, 2, sharey=True)
    for number, (label, line) in enumerate(lines):
        marker = _MARKERS[(number + number // len(_COLOURS)) % len(_MARKERS)]  # no two lines have both in common
        style: dict[str, Any] = {"color": _COLOURS[number % len(_COLOURS)], "marker": marker, "markersize": 4}
        recalls = [measured.recall for measured in line]
        by_setting.plot([_number(measured) for measured in line], recalls, label=label, **style)
        by_time.plot([measured.p50_ms for measured in line], recalls, **style)
    exact = report.at(EXACT)
    if exact is not None:
        by_time.plot([exact.p50_ms], [exact.recall], color=INK, marker="|", markersize=14, linestyle="none")
        by_time.annotate(
            "exact", (exact.p50_ms, exact.recall), xytext=(-4, -22), textcoords="offset points", ha="right"
        )
    _finish(report, by_setting, by_time)
    if lines:
        figure.legend(loc="outside lower center", ncols=_LABELS_ABREAST, fontsize=8, frameon=False)
    return figure


def _finish(report: CalibrationReport, by_setting: Axes, by_time: Axes) -> None:
    for axes, name in ((by_setting, _setting_name(report)), (by_time, "median time, ms")):
        axes.set_xlabel(name)
        axes.set_facecolor("none")
        axes.grid(visible=True, color=INK, alpha=0.25, linewidth=0.5)
        if axes.lines:
            _scale(axes)
        axes.axhline(report.target, color=INK, linewidth=0.8, linestyle="--")
    by_setting.set_ylabel(f"recall@{report.k}")
    if (chosen := report.chosen()) is not None and not chosen.setting.exact:
        place = (_number(chosen), chosen.recall)
        by_setting.plot(*place, color=INK, marker="o", markersize=11, fillstyle="none")
        by_setting.annotate(described(chosen.setting), place, xytext=(9, -13), textcoords="offset points")


def _scale(axes: Axes) -> None:
    """In decades, with few numbers: between them matplotlib would write powers of ten, one over the other."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def _number(measured: Measured) -> int:
    return measured.setting.ef_search or measured.setting.probes or 0


def _setting_name(report: CalibrationReport) -> str:
    return "ivfflat.probes" if report.default.probes is not None else "hnsw.ef_search"


def _lines(report: CalibrationReport) -> list[tuple[str, Sequence[Measured]]]:
    """Settings that have all but their number in common, by what they have in common."""
    lines: dict[str, list[Measured]] = {}
    for measured in report.measured:
        if not measured.setting.exact:
            lines.setdefault(_label(measured), []).append(measured)
    return list(lines.items())


def _label(measured: Measured) -> str:
    setting = measured.setting
    parts = [f"rerank {setting.rerank}" if setting.rerank else "", setting.scan or "", _filter(measured.where)]
    return ", ".join(part for part in parts if part)


def _filter(where: Mapping[str, Any] | None) -> str:
    """In ASCII: not every font has every letter."""
    text = "no filter" if where is None else json.dumps(where)
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 3]}..."
