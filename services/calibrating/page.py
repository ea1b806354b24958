"""A calibration as a page that needs nothing else, and the files beside it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgcorpus.services.calibrating.drawing import INK, drawn, require_plots
from pgcorpus.services.calibrating.measuring import described
from pgcorpus.services.calibrating.reports import CalibrationReport, Measured

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
# What stands before the drawing in a file of its own has no place inside a page.
_PROLOG = re.compile(r"^.*?(?=<svg )", re.DOTALL)


def prepare_report(folder: Path) -> None:
    """Pass if a report can be written: better to know before anything is measured.

    Args:
        folder: Made where there is none.

    Raises:
        MissingExtraError: matplotlib or Jinja2 is not installed.
        OSError: Nothing can be written there.
    """
    require_plots()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def write_report(report: CalibrationReport, folder: Path) -> list[Path]:
    """Write ``report.html``, ``recall.svg`` and ``recall.png``, and return their paths.

    Args:
        report: The calibration.
        folder: Made where there is none.

    Raises:
        MissingExtraError: matplotlib or Jinja2 is not installed.
    """
    prepare_report(folder)
    svg = drawn(report, "svg")
    files = {"report.html": page(report, svg.decode()).encode(), "recall.svg": svg, "recall.png": drawn(report, "png")}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in files]


def page(report: CalibrationReport, svg: str) -> str:
    """Return the page.

    Args:
        report: The calibration.
        svg: Its plot.
    """
    plot = _PROLOG.sub("", svg).replace(INK, "currentColor")
    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            plot=plot,
            chosen=report.chosen(),
            chosen_filtered=report.chosen(filtered=True) if report.filters else None,
            default=report.at(report.default),
        )
    )


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    made.filters |= {"described": described, "shown": _shown, "groupby_filter": _by_filter}
    return made


def _finalized(value: Any) -> Any:
    """Names are hostile input: what steers a text's direction, or a terminal, is not shown."""
    if type(value) is not str:
        return value
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in value)


def _shown(where: Any) -> str:
    return "no filter" if where is None else f"filter {json.dumps(where, ensure_ascii=False)}"


def _by_filter(measured: Iterable[Measured]) -> list[list[Measured]]:
    return [list(of_filter) for _, of_filter in groupby(measured, lambda each: each.where)]
