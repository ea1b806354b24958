"""Where a long text is cut into passages.

Filling passages from the start ("greedy") would move every later cut when one paragraph is inserted, and so
embed the rest of the file anew. Here the text itself decides. Every possible cut has a strength, taken from
the characters around it and nothing else; a cut is made where the stretch over which it is the strongest is
longer than a passage may be. Such a cut sees no farther than one passage to each side, so an edit moves the
cuts near it and no others. And what lies between two cuts fits: else its strongest place had been cut. The
average passage has three fifths of the limit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

_PARAGRAPH = re.compile(r"\n\s*\n")
# The last alternative is Chinese and Japanese, which put no space after a sentence.
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”\u2019)\]])\s+|(?<=[。\uff01\uff1f])")
_LINE = re.compile(r"\n")
_WORD = re.compile(r"\s+")

# From the best place to cut to the worst; a rule is tried when the one before it left something too long.
_PROSE = (_PARAGRAPH, _SENTENCE, _LINE, _WORD)
_LINES = (_PARAGRAPH, _LINE, _WORD)

_BETWEEN_BLOCKS = "\n\n"
_CONTEXT_CHARS = 32
_JOINERS = frozenset("\u200d\ufe0e\ufe0f")
# A merge makes new neighbours, so small pieces get a second chance; each round looks one passage farther.
_MERGE_ROUNDS = 2

Strength = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of text that is kept whole when it fits: a paragraph, a list, a block of code."""

    text: str
    by_line: bool = False
    """Cut at line ends before sentence ends: code, tables, preformatted text."""


class _Unit(NamedTuple):
    """A span of the text that fits in a passage, and how good a place its start is for a cut."""

    start: int
    end: int
    rank: int


def paragraphs(text: str) -> list[Block]:
    """Split plain text at blank lines."""
    return [Block(part.strip("\n").rstrip()) for part in _PARAGRAPH.split(text) if part.strip()]


def pack(blocks: Sequence[Block], max_chars: int, min_chars: int) -> list[str]:
    """Join short blocks and cut long ones into passages.

    Args:
        blocks: Pieces in reading order.
        max_chars: No passage is longer, in characters.
        min_chars: Passages shorter than this are joined to a neighbour where both fit together.
    """
    text = _BETWEEN_BLOCKS.join(block.text for block in blocks)
    units = list(_units(text, blocks, max_chars))
    if not units:
        return []
    strengths = [(unit.rank, _context_hash(text, unit.start)) for unit in units]
    edges = _fill_overlong(units, _edges(units, strengths, max_chars), max_chars)
    for _ in range(_MERGE_ROUNDS):
        edges = _merge_small(units, strengths, edges, max_chars, min_chars)
    spans = [(units[first].start, units[after - 1].end) for first, after in pairwise(edges)]
    return [text[start:end].rstrip() for start, end in spans]


def _units(text: str, blocks: Sequence[Block], limit: int) -> Iterator[_Unit]:
    start = 0
    for block in blocks:
        end = start + len(block.text)
        rules = _LINES if block.by_line else _PROSE
        yield from _divide(text, _Unit(start, end, len(_PROSE) + 1), rules, limit)
        start = end + len(_BETWEEN_BLOCKS)


def _divide(text: str, unit: _Unit, rules: tuple[re.Pattern[str], ...], limit: int) -> Iterator[_Unit]:
    if unit.end - unit.start <= limit:
        if not text[unit.start : unit.end].isspace():
            yield unit
        return
    if not rules:
        yield from _slices(text, unit, limit)
        return
    for part in _split(text, unit, rules[0], len(rules)):
        yield from _divide(text, part, rules[1:], limit)


def _split(text: str, unit: _Unit, rule: re.Pattern[str], rank: int) -> Iterator[_Unit]:
    start, next_rank = unit.start, unit.rank
    for gap in rule.finditer(text, unit.start, unit.end):
        if gap.start() > start:
            yield _Unit(start, gap.start(), next_rank)
            next_rank = rank
        start = gap.end()
    if start < unit.end:
        yield _Unit(start, unit.end, next_rank)


def _slices(text: str, unit: _Unit, limit: int) -> Iterator[_Unit]:
    start, rank = unit.start, unit.rank
    while start < unit.end:
        end = _whole_characters(text, start, min(start + limit, unit.end))
        yield _Unit(start, end, rank)
        start, rank = end, 0


def _whole_characters(text: str, start: int, end: int) -> int:
    """Move `end` back so that accents and emoji sequences stay with their base, if they have one."""
    for at in range(end, start, -1):
        if at == len(text) or not (_continues(text[at]) or text[at - 1] == "\u200d"):
            return at
    return end


def _continues(character: str) -> bool:
    return character in _JOINERS or unicodedata.combining(character) != 0


def _context_hash(text: str, at: int) -> int:
    return crc32(text[max(0, at - _CONTEXT_CHARS) : at + _CONTEXT_CHARS].encode())


def _size(units: Sequence[_Unit], first: int, after: int) -> int:
    return units[after - 1].end - units[first].start


def _edges(units: Sequence[_Unit], strengths: Sequence[Strength], limit: int) -> list[int]:
    """Return the indexes of the units that begin a passage, and the number of units at the end."""
    cuts = [at for at in range(1, len(units)) if _reach(units, strengths, at, limit) > limit]
    return [0, *cuts, len(units)]


def _reach(units: Sequence[_Unit], strengths: Sequence[Strength], at: int, limit: int) -> int:
    """Measure the stretch in which no other cut is as strong, or until it exceeds the limit."""
    first = at - 1
    while first > 0 and strengths[first] < strengths[at] and _size(units, first, at) <= limit:
        first -= 1
    after = at + 1
    while after < len(units) and strengths[after] < strengths[at] and _size(units, first, after) <= limit:
        after += 1
    return _size(units, first, after)


def _fill_overlong(units: Sequence[_Unit], edges: Sequence[int], limit: int) -> list[int]:
    """Fill from the start where equal strengths outdid each other, as in text that repeats itself."""
    filled = [0]
    for first, after in pairwise(edges):
        for at in range(first + 1, after):
            if _size(units, filled[-1], at + 1) > limit:
                filled.append(at)
        filled.append(after)
    return filled


def _merge_small(
    units: Sequence[_Unit],
    strengths: Sequence[Strength],
    edges: Sequence[int],
    limit: int,
    small: int,
) -> list[int]:
    """Take out cuts beside small pieces, never two in a row: a merge depends on its neighbours only."""

    def is_removable(at: int) -> bool:
        before, cut, after = edges[at - 1 : at + 2]
        smaller = min(_size(units, before, cut), _size(units, cut, after))
        return smaller < small and _size(units, before, after) <= limit

    removable = {at: strengths[edges[at]] for at in range(1, len(edges) - 1) if is_removable(at)}
    weakest = {
        at
        for at, strength in removable.items()
        if all(strength < removable[other] for other in (at - 1, at + 1) if other in removable)
    }
    return [edge for at, edge in enumerate(edges) if at not in weakest]
