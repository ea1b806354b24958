"""The notes of ``pgcorpus index`` in the comments of indexes, by which what it did is told from drift.

A comment is parts between semicolons; all but the notes are a host's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_BUILT = re.compile(r"built by pgcorpus index(?: instead of (?P<dropped>.+))?")
_TUNED = re.compile(r"tuned by pgcorpus index: (?P<now>[\w=, ]+) instead of (?P<before>[\w=, ]+)")


def mark_built(comment: str | None, instead_of: Iterable[str] = ()) -> str:
    """Return the comment of an index that no model declares.

    Args:
        comment: What it has.
        instead_of: The names of those that a model declares, and that were dropped since there is this one.
    """
    dropped = ", ".join(sorted(instead_of))
    note = "built by pgcorpus index"
    return _with(comment, _BUILT, f"{note} instead of {dropped}" if dropped else note)


def is_built(comment: str | None) -> bool:
    """Return whether ``pgcorpus index build`` made an index."""
    return _found(comment, _BUILT) is not None


def built_instead_of(comment: str | None) -> frozenset[str]:
    """Return the names of the declared indexes that were dropped, since there is this one."""
    built = _found(comment, _BUILT)
    return frozenset((built["dropped"] or "").split(", ")) - {""} if built else frozenset()


def mark_tuned(comment: str | None, before: Mapping[str, int], now: Mapping[str, int]) -> str:
    """Return the comment of an index that gets other parameters than its model declares.

    Args:
        comment: What it has.
        before: The parameters it has, all of the method's.
        now: Those that it gets.
    """
    declared = before_tuning(comment, before) or before
    note = "" if declared == now else f"tuned by pgcorpus index: {_said(now)} instead of {_said(declared)}"
    return _with(comment, _TUNED, note)


def before_tuning(comment: str | None, options: Mapping[str, int]) -> dict[str, int] | None:
    """Return the parameters that an index had before it was tuned, or None if it was not, or was changed since."""
    tuned = _found(comment, _TUNED)
    return _read(tuned["before"]) if tuned and _read(tuned["now"]) == dict(options) else None


def _parts(comment: str | None) -> list[str]:
    return comment.split("; ") if comment else []


def _found(comment: str | None, note: re.Pattern[str]) -> re.Match[str] | None:
    return next((found for part in _parts(comment) if (found := note.fullmatch(part))), None)


def _with(comment: str | None, note: re.Pattern[str], new: str) -> str:
    others = [part for part in _parts(comment) if not note.fullmatch(part)]
    return "; ".join([*others, new] if new else others)


def _said(options: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(options.items()))


def _read(said: str) -> dict[str, int]:
    pairs = (part.partition("=") for part in said.split(", "))
    return {name: int(value) for name, _, value in pairs if value.isdigit()}
