"""Positions in a source: rising, with gaps, so that an inserted passage moves none of the others."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

# Room for ten halvings between neighbours; narrower where a source is so long that an INT would overflow.
GAP = 1024
_MAX_POSITION = 2**31 - 1


def assign_positions(current: Sequence[int | None]) -> list[int]:
    """Return a rising position for each passage, keeping as many as there are in order already.

    Args:
        current: In the order wanted, each passage's present position, or None for a new one.
    """
    kept = _longest_rising(current)
    positions = [position if index in kept else None for index, position in enumerate(current)]
    return _filled(positions) or _renumbered(len(current))


def _renumbered(count: int) -> list[int]:
    step = min(GAP, _MAX_POSITION // (count + 1))
    return [step * (index + 1) for index in range(count)]


def _filled(positions: list[int | None]) -> list[int] | None:
    """Put evenly spaced positions into the holes, or return None where a hole is too narrow."""
    filled: list[int] = []
    hole = 0
    for position in [*positions, None]:
        last = len(filled) + hole == len(positions)
        if position is None and not last:
            hole += 1
            continue
        between = _spread(filled[-1] if filled else 0, position, hole)
        if between is None:
            return None
        filled += between if position is None else [*between, position]
        hole = 0
    return filled


def _spread(low: int, high: int | None, count: int) -> list[int] | None:
    """Return ``count`` positions strictly between two, or after the first where there is no second."""
    if high is None:
        high = low + GAP * (count + 1)
        if high > _MAX_POSITION:
            return None
    if high - low <= count:
        return None
    return [low + (high - low) * (index + 1) // (count + 1) for index in range(count)]


def _longest_rising(values: Sequence[int | None]) -> set[int]:
    """Return the indexes of a longest strictly rising subsequence, in O(n log n) (patience sorting)."""
    tails: list[int] = []  # tails[i]: smallest value that ends a run of i + 1
    ends: list[int] = []  # its index
    before: dict[int, int | None] = {}
    for index, value in enumerate(values):
        if value is None or value < 1:
            continue
        place = bisect_left(tails, value)
        before[index] = ends[place - 1] if place else None
        tails[place : place + 1] = [value]
        ends[place : place + 1] = [index]
    return _walk_back(ends[-1] if ends else None, before)


def _walk_back(index: int | None, before: dict[int, int | None]) -> set[int]:
    found = set()
    while index is not None:
        found.add(index)
        index = before[index]
    return found
