"""Templates to HTML: everything escaped, and nothing in a text steers what stands around it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgcorpus.cli.output import printable, snippet
from pgcorpus.errors import MissingExtraError

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent
_UNITS = ("B", "kB", "MB", "GB", "TB")

STATIC = {
    "/static/explorer.css": "text/css; charset=utf-8",
    "/static/icon.svg": "image/svg+xml",
}


def render(template: str, **values: Any) -> str:
    """Return a template as HTML."""
    return environment().get_template(template).render(**values)


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the templates.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as exc:
        raise MissingExtraError("explorer", "the Explorer") from exc
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    made.filters.update(_FILTERS)
    made.globals["style_version"] = hashlib.sha256(static_file("/static/explorer.css")).hexdigest()[:12]
    return made


@lru_cache(maxsize=8)
def static_file(path: str) -> bytes:
    """Return one of the files of :data:`STATIC`."""
    return (_HERE / path.removeprefix("/")).read_bytes()


def plain(text: str) -> str:
    """Return a text without control characters and those that turn the direction of what follows."""
    return printable(text.replace("\r\n", "\n"))


def _finalized(value: Any) -> Any:
    """Every text that a template prints passes here; one that is markup already was printed before."""
    return plain(value) if type(value) is str else value


def shown(value: Any) -> str:
    """Return a JSON value for a reader: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _number(value: float) -> str:
    return f"{value:,}"


def _figure(value: float | None) -> str:
    """A score or distance; larger numbers need no four decimals."""
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 1_000 else f"{value:,.0f}"


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _size(value: float) -> str:
    amount, unit = float(value), _UNITS[0]
    for unit in _UNITS:
        if amount < 1_000 or unit == _UNITS[-1]:
            break
        amount /= 1_000
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


def _date(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S %Z}".strip()


def _cut(text: str, length: int = 80) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _heading(meta: Any) -> str | None:
    """Return the heading of a passage, or the title of what it is from."""
    given = [meta.get(key) for key in ("heading", "title")] if isinstance(meta, dict) else []
    return next((each for each in given if isinstance(each, str) and each.strip()), None)


_FILTERS = {
    "beginning": snippet,
    "cut": _cut,
    "date": _date,
    "figure": _figure,
    "heading": _heading,
    "ms": _milliseconds,
    "number": _number,
    "pretty": _pretty,
    "shown": shown,
    "size": _size,
}
