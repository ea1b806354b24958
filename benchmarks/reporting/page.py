"""The report: one HTML file with the plots in it, and the plots as files of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import pyplot

from benchmarks.reporting import style
from benchmarks.reporting.plots import PLOTS
from benchmarks.reporting.tables import TABLES

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html"


def write(found: Mapping[str, Any], out: Path) -> Path:
    """Write the report of what there is, and return its file.

    Args:
        found: The results, by part.
        out: The folder of results; the plots go into ``plots`` in it.
    """
    with style.house_style():
        pictures = {name: _picture(name, found, out) for name, (part, _) in PLOTS.items() if part in found}
    path = out / PAGE
    path.write_text(render(found, pictures), encoding="utf-8")
    return path


def render(found: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        found: The results, by part.
        pictures: The plots as ``<svg>`` elements, by name.
    """
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    tables = {name: make(found[part]) for name, (part, make) in TABLES.items() if part in found}
    # Drawn here, from numbers and names of our own.
    drawn = {name: Markup(svg) for name, svg in pictures.items()}  # noqa: S704
    return environment.get_template(PAGE).render(found=found, tables=tables, pictures=drawn)


def _picture(name: str, found: Mapping[str, Any], out: Path) -> str:
    part, draw = PLOTS[name]
    figure = draw(found[part])
    svg = style.save(figure, out / "plots", name)
    pyplot.close(figure)
    return svg
