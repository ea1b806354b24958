"""Blocks of text, as a format's reader finds them, joined and cut into passages."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from pgcorpus.services.chunking.packing import cut
from pgcorpus.services.chunking.units import HIGHEST_RANK, LINES, PROSE, Characters, Unit, divide, paragraph_spans

_BETWEEN_BLOCKS = "\n\n"


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of text that is kept whole when it fits: a paragraph, a list, a block of code."""

    text: str
    by_line: bool = False
    """Cut at line ends before sentence ends: code, tables, preformatted text."""
    start: int | None = None
    """Where it stands in the text it was read from, if it is a slice of it."""


class Piece(NamedTuple):
    """A passage's own text, and where it stands in the text that the blocks were read from."""

    text: str
    start: int | None
    end: int | None


def paragraphs(text: str) -> list[Block]:
    """Split plain text at blank lines."""
    return [Block(text[start:end], start=start) for start, end in paragraph_spans(text)]


def pack(blocks: Sequence[Block], max_chars: int, min_chars: int) -> list[Piece]:
    """Join short blocks and cut long ones into passages.

    Args:
        blocks: Pieces in reading order.
        max_chars: No passage is longer, in characters.
        min_chars: Passages shorter than this are joined to a neighbour where both fit together.
    """
    text = _BETWEEN_BLOCKS.join(block.text for block in blocks)
    starts = _joined_starts(blocks)
    units = list(_units(text, blocks, starts, max_chars))

    def size(first: int, after: int) -> int:
        return units[after - 1].end - units[first].start

    pieces = []
    for first, after in cut(text, units, size, max_chars, min_chars):
        start = units[first].start
        own = text[start : units[after - 1].end].rstrip()
        last = _origin(blocks, starts, start + len(own) - 1)
        pieces.append(Piece(own, _origin(blocks, starts, start), None if last is None else last + 1))
    return pieces


def _joined_starts(blocks: Sequence[Block]) -> list[int]:
    return list(accumulate((len(block.text) + len(_BETWEEN_BLOCKS) for block in blocks), initial=0))


def _units(text: str, blocks: Sequence[Block], starts: Sequence[int], limit: int) -> Iterator[Unit]:
    for start, block in zip(starts, blocks, strict=False):
        unit = Unit(start, start + len(block.text), HIGHEST_RANK)
        yield from divide(text, unit, LINES if block.by_line else PROSE, Characters(), limit)


def _origin(blocks: Sequence[Block], starts: Sequence[int], at: int) -> int | None:
    """Return where a character of the joined blocks stands in the text that they were read from."""
    number = bisect_right(starts, at) - 1
    origin = blocks[number].start
    return None if origin is None else origin + at - starts[number]
