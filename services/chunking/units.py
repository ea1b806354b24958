"""The pieces that a text falls into, and that a passage is made of: paragraphs, sentences, lines, words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple, Protocol

PARAGRAPH = re.compile(r"\n\s*\n")
# The last alternative is Chinese and Japanese, which put no space after a sentence. This is but a good place for a
# cut: what is a sentence and what an abbreviation is told in sentences.py.
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”\u2019)\]])\s+|(?<=[。\uff01\uff1f])")
_LINE = re.compile(r"\n")
_WORD = re.compile(r"\s+")

Rules = tuple[re.Pattern[str], ...]

# From the best place to cut to the worst; a rule is tried when the one before it left something too long.
PROSE: Rules = (PARAGRAPH, _SENTENCE, _LINE, _WORD)
LINES: Rules = (PARAGRAPH, _LINE, _WORD)
INSIDE_SENTENCE: Rules = (_LINE, _WORD)

# Between the pieces that the rules are applied to.
HIGHEST_RANK = len(PROSE) + 1

_JOINERS = frozenset("\u200d\ufe0e\ufe0f")


class Unit(NamedTuple):
    """A span of the text that fits in a passage, and how good a place its start is for a cut."""

    start: int
    end: int
    rank: int


class Ruler(Protocol):
    """Measures spans of one text."""

    def size(self, start: int, end: int) -> int:
        """Measure a span."""
        ...

    def reach(self, start: int, limit: int) -> int:
        """Return the farthest end of a span from `start` that is no larger than `limit`, at least one character on."""
        ...


class Characters:
    """Measures spans in characters."""

    def size(self, start: int, end: int) -> int:
        """Count the characters of a span."""
        return end - start

    def reach(self, start: int, limit: int) -> int:
        """Return the end of so many characters."""
        return start + limit


def paragraph_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the paragraphs stand, without the blank lines between them and white space at their ends."""
    start = 0
    for gap in PARAGRAPH.finditer(text):
        yield from _trimmed(text, start, gap.start())
        start = gap.end()
    yield from _trimmed(text, start, len(text))


def divide(text: str, unit: Unit, rules: Rules, ruler: Ruler, limit: int) -> Iterator[Unit]:
    """Yield a span whole if it fits, else its parts by the first rule that makes them fit.

    Args:
        text: What the span is of.
        unit: The span; its rank is that of its first part.
        rules: Tried in order; after the last one words are cut.
        ruler: Measures.
        limit: No unit is larger, unless it is a single character.
    """
    if ruler.size(unit.start, unit.end) <= limit:
        if not text[unit.start : unit.end].isspace():
            yield unit
        return
    if not rules:
        yield from _slices(text, unit, ruler, limit)
        return
    for part in _split(text, unit, rules[0], len(rules)):
        yield from divide(text, part, rules[1:], ruler, limit)


def tears_character(text: str, at: int) -> bool:
    """Tell whether a cut would part an accent or an emoji sequence from its base."""
    return 0 < at < len(text) and (_continues(text[at]) or text[at - 1] == "\u200d")


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    part = text[start:end]
    kept = part.lstrip("\n")
    if kept.strip():
        yield end - len(kept), end - len(kept) + len(kept.rstrip())


def _split(text: str, unit: Unit, rule: re.Pattern[str], rank: int) -> Iterator[Unit]:
    start, next_rank = unit.start, unit.rank
    for gap in rule.finditer(text, unit.start, unit.end):
        if gap.start() > start:
            yield Unit(start, gap.start(), next_rank)
            next_rank = rank
        start = gap.end()
    if start < unit.end:
        yield Unit(start, unit.end, next_rank)


def _slices(text: str, unit: Unit, ruler: Ruler, limit: int) -> Iterator[Unit]:
    start, rank = unit.start, unit.rank
    while start < unit.end:
        end = _whole_characters(text, start, min(ruler.reach(start, limit), unit.end))
        yield Unit(start, end, rank)
        start, rank = end, 0


def _whole_characters(text: str, start: int, end: int) -> int:
    """Move `end` back so that accents and emoji sequences stay with their base, if they have one."""
    return next((at for at in range(end, start, -1) if not tears_character(text, at)), end)


def _continues(character: str) -> bool:
    return character in _JOINERS or unicodedata.combining(character) != 0
