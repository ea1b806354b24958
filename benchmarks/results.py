"""What runs leave behind: one JSON file a part, each with the machine that it was measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent / "out"
# In the order of the report.
PARTS = ("comparison", "forms", "tuning")
SIZES = "scale"


def save(out: Path, part: str, measured: Mapping[str, Any]) -> Path:
    """Write a part's results and return the file.

    Args:
        out: The folder of results.
        part: Its name.
        measured: With ``machine``, ``settings`` and ``results``.
    """
    return write(out / f"{part}.json", {"measured": _now(), **measured})


def load(out: Path) -> dict[str, Any]:
    """Return the results there are, by part; of ``scale`` the sizes, rising, in a list.

    Args:
        out: The folder of results.
    """
    found = {part: json.loads((out / f"{part}.json").read_text()) for part in PARTS if (out / f"{part}.json").is_file()}
    steps = _steps(out)
    if steps:
        # The machine and settings of the largest: it takes the longest.
        found[SIZES] = {**steps[-1], "results": [each["results"] for each in steps if _alike(each, steps[-1])]}
    return found


def save_size(out: Path, rows: int, machine: Any, settings: Mapping[str, Any], figures: Any) -> Path:
    """Write the figures of one size and return the file."""
    measured = {"measured": _now(), "machine": machine, "settings": settings, "results": figures}
    return write(out / SIZES / f"{settings['dimensions']}-{rows:08d}.json", measured)


def sizes(out: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of the sizes that were measured with these settings, rising."""
    return [each["results"] for each in _steps(out) if each["settings"] == settings]


def _steps(out: Path) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [json.loads(path.read_text()) for path in (out / SIZES).glob("*.json")]
    return sorted(steps, key=lambda each: each["results"]["rows"])


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one["settings"] == other["settings"])


def write(path: Path, figures: Mapping[str, Any]) -> Path:
    """Write figures as JSON, and return the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: what is there is not measured again.
    part = path.with_suffix(".part")
    part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return part.replace(path)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
