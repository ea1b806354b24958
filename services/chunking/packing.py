"""Where a long text is cut into passages.

Filling passages from the start ("greedy") would move every later cut when one paragraph is inserted, and so
embed the rest of the file anew. Here the text itself decides. Every possible cut has a strength, taken from
the characters around it and nothing else; a cut is made where the stretch over which it is the strongest is
longer than a passage may be. Such a cut sees no farther than one passage to each side, so an edit moves the
cuts near it and no others. And what lies between two cuts fits: else its strongest place had been cut. The
average passage has three fifths of the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from zlib import crc32

from pgcorpus.services.chunking.units import Unit

_CONTEXT_CHARS = 32
# A merge makes new neighbours, so small pieces get a second chance; each round looks one passage farther.
_MERGE_ROUNDS = 2

Strength = tuple[int, int]
Size = Callable[[int, int], int]
"""Measures a passage by the index of its first unit, and of the one after its last: characters, tokens."""


def cut(text: str, units: Sequence[Unit], size: Size, limit: int, small: int) -> list[tuple[int, int]]:
    """Return the passages that the units make, each by its first unit and the one after its last.

    Args:
        text: What the units are spans of.
        units: Each fits; in reading order.
        size: Measures a passage; grows with it to both sides.
        limit: No passage is larger.
        small: Passages smaller than this are joined to a neighbour where both fit together.
    """
    if not units:
        return []
    strengths = [(unit.rank, _context_hash(text, unit.start)) for unit in units]
    edges = _fill_overlong(_edges(strengths, size, limit), size, limit)
    for _ in range(_MERGE_ROUNDS):
        edges = _merge_small(strengths, edges, size, limit, small)
    return list(pairwise(edges))


def _context_hash(text: str, at: int) -> int:
    return crc32(text[max(0, at - _CONTEXT_CHARS) : at + _CONTEXT_CHARS].encode())


def _edges(strengths: Sequence[Strength], size: Size, limit: int) -> list[int]:
    """Return the indexes of the units that begin a passage, and the number of units at the end."""
    cuts = [at for at in range(1, len(strengths)) if _reach(strengths, at, size, limit) > limit]
    return [0, *cuts, len(strengths)]


def _reach(strengths: Sequence[Strength], at: int, size: Size, limit: int) -> int:
    """Measure the stretch in which no other cut is as strong, or until it exceeds the limit."""
    first = at - 1
    while first > 0 and strengths[first] < strengths[at] and size(first, at) <= limit:
        first -= 1
    after = at + 1
    while after < len(strengths) and strengths[after] < strengths[at] and size(first, after) <= limit:
        after += 1
    return size(first, after)


def _fill_overlong(edges: Sequence[int], size: Size, limit: int) -> list[int]:
    """Fill from the start where equal strengths outdid each other, as in text that repeats itself."""
    filled = [0]
    for first, after in pairwise(edges):
        for at in range(first + 1, after):
            if size(filled[-1], at + 1) > limit:
                filled.append(at)
        filled.append(after)
    return filled


def _merge_small(strengths: Sequence[Strength], edges: Sequence[int], size: Size, limit: int, small: int) -> list[int]:
    """Take out cuts beside small pieces, never two in a row: a merge depends on its neighbours only."""

    def is_removable(at: int) -> bool:
        before, here, after = edges[at - 1 : at + 2]
        smaller = min(size(before, here), size(here, after))
        return smaller < small and size(before, after) <= limit

    removable = {at: strengths[edges[at]] for at in range(1, len(edges) - 1) if is_removable(at)}
    weakest = {
        at
        for at, strength in removable.items()
        if all(strength < removable[other] for other in (at - 1, at + 1) if other in removable)
    }
    return [edge for at, edge in enumerate(edges) if at not in weakest]
