"""What was measured so far, in a file of the user's: a run that is interrupted, or killed, goes on from it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import platformdirs

from pgcorpus.repositories.search.recall import Setting
from pgcorpus.services.calibrating.asking import Answer
from pgcorpus.services.calibrating.reports import Measured

_VERSION = 1
# What was measured with a thousandth more or fewer documents holds: it moves a recall by as much.
_CHANGED = 0.001


def default_folder() -> Path:
    """Return where the files are: in the user's folder of state."""
    return platformdirs.user_state_path("pgcorpus") / "tune"


class Keeper:
    """Keeps measurements of one collection, if they are asked for in the same way on the same index.

    A file that cannot be written, or read, only means that nothing is kept.

    Args:
        folder: Of the files.
        place: Which collection of which database; the file is named after it.
        asked: All that decides what is measured.
        documents: How many the collection has.
        fresh: Begin again.

    Attributes:
        discarded: Whether there were measurements of something else.
    """

    def __init__(
        self, folder: Path, place: Mapping[str, Any], asked: Mapping[str, Any], documents: int, *, fresh: bool = False
    ) -> None:
        self._path = folder / f"{_digest(place)[:32]}.json"
        self._kept: dict[str, Any] = {
            "version": _VERSION, "asked": _digest(asked), "documents": documents, "exact": {}, "measured": {},
        }  # fmt: skip
        found = None if fresh else _read(self._path)
        fits = found is not None and self._fits(found)
        self.discarded = found is not None and not fits
        if found is not None and fits:
            self._kept |= {name: found[name] for name in ("exact", "measured")}

    def _fits(self, found: Mapping[str, Any]) -> bool:
        same = all(found.get(name) == self._kept[name] for name in ("version", "asked"))
        then, now = found.get("documents"), self._kept["documents"]
        return same and isinstance(then, int) and abs(then - now) <= _CHANGED * now

    def exact(self, group: str) -> list[Answer]:
        """Return the exact answers to a group's first queries."""
        return [Answer(tuple(distances), ms) for distances, ms in self._kept["exact"].get(group, ())]

    def keep_exact(self, group: str, answers: Sequence[Answer]) -> None:
        """Keep the exact answers to a group's first queries."""
        self._kept["exact"][group] = answers
        self._write()

    def measured(self, group: str, setting: Setting) -> Measured | None:
        """Return what was measured at a setting."""
        found = self._kept["measured"].get(_key(group, setting))
        return None if found is None else Measured(**{**found, "setting": setting})

    def keep(self, group: str, measured: Measured) -> None:
        """Keep what was measured at a setting."""
        as_json = {each.name: getattr(measured, each.name) for each in fields(measured)}
        self._kept["measured"][_key(group, measured.setting)] = as_json | {"setting": None}
        self._write()

    def forget(self) -> None:
        """Delete the file."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        """All of it or nothing: a new file takes the place of the old one."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            number, name = tempfile.mkstemp(dir=self._path.parent, prefix=self._path.stem, suffix=".part")
            try:
                with os.fdopen(number, "w") as file:
                    json.dump(self._kept, file)
                Path(name).replace(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise


def _key(group: str, setting: Setting) -> str:
    return json.dumps([group, *setting])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"exact", "measured"} <= found.keys() else None


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
