"""Sentences: where they stand in a text, and passages made of whole ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pgcorpus.errors import ConfigError
from pgcorpus.services.chunking.abbreviations import is_abbreviation
from pgcorpus.services.chunking.packing import Size, cut
from pgcorpus.services.chunking.passages import MAX_CHARS, MIN_CHARS, Passage, check_limits, check_storable
from pgcorpus.services.chunking.units import HIGHEST_RANK, INSIDE_SENTENCE, PARAGRAPH, Characters, Unit, divide

# Where a sentence may end: a blank line, the start of a list item, heading or table row, or a stop. Stops of the
# scripts that put a space behind them need it; Chinese and Japanese put none. The runs are matched whole
# (possessively, and from their start), or a line of a million full stops would take quadratic time.
_CLOSERS = "\"'”\u2019»)\\]」』】\uff09"
_MARKER = r"[ \t]*(?:[-*+•>|]|#{1,6}|\d{1,9}[.)])[ \t]"
_END = re.compile(
    rf"\n\s*\n|\n(?={_MARKER})"
    rf"|(?<![.!?…।॥؟\u06d4\u0589።])(?P<stop>[.!?…।॥؟\u06d4\u0589።]++)(?P<closer>[{_CLOSERS}]*+)\s+"
    rf"|[。\uff01\uff1f｡][。\uff01\uff1f｡…]*+[{_CLOSERS}]*+\s*"
)

_AT_MARKER = re.compile(_MARKER)
_ELLIPSES = frozenset({"...", "…"})

_NEARBY = 24
_LIST_NUMBER = re.compile(r"\d{1,3}|[a-z]|[ivx]{1,4}")


def sentences(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text stand: `text[start:end]` is one, without white space around it.

    A blank line, a list item, a heading's or table row's mark, and a full stop, question or exclamation mark end a
    sentence; abbreviations ("e.g.", "Dr.", "U.S."), initials, decimals and numbers of list items do not. The rule
    knows no grammar, and the abbreviations of English and some of German and French.

    Args:
        text: Any text; all of it but white space is in some sentence.
    """
    spans = []
    start = 0
    for end in _END.finditer(text):
        if _is_end(text, end):
            spans += _trimmed(text, start, end.end())
            start = end.end()
    return spans + _trimmed(text, start, len(text))


def chunk_sentences(
    text: str, max_chars: int = MAX_CHARS, min_chars: int = MIN_CHARS, overlap: int = 0
) -> list[Passage]:
    """Split plain text into passages of whole sentences.

    Cuts are where the text itself decides, as in :func:`chunk_text`: an edit changes the passages near it. A passage
    is `text[start:end]` to the letter.

    Args:
        text: The whole text; empty or blank text has no passages.
        max_chars: No passage is longer, in characters, what it repeats included; a sentence that alone is longer is
            cut at a line's end, then between words.
        min_chars: Passages shorter than this are joined to a neighbour where both fit together.
        overlap: Sentences of the passage before that each repeats, or as many of them as fit.

    Raises:
        ConfigError: If a limit makes no sense.
        SourceError: If the text holds a NUL character or half a surrogate pair.
    """
    check_limits(max_chars, min_chars)
    if overlap < 0:
        raise ConfigError(f"An overlap of {overlap} sentences is impossible: choose 0 or more")
    check_storable(text)
    units = list(_units(text, max_chars))
    size = _size(units, overlap)
    passages = []
    previous = 0
    for first, after in cut(text, units, size, max_chars, min_chars):
        begin = _beginning(units, max(previous, first - overlap), first, after, max_chars)
        start, end = units[begin].start, units[after - 1].end
        passages.append(Passage(text[start:end], start=start, end=end))
        previous = first
    return passages


def _size(units: Sequence[Unit], overlap: int) -> Size:
    """Measure passages with what they repeat, so that this fits too."""

    def size(first: int, after: int) -> int:
        return units[after - 1].end - units[max(0, first - overlap)].start

    return size


def _beginning(units: Sequence[Unit], begin: int, first: int, after: int, limit: int) -> int:
    """Return the first unit that a passage can repeat; a long sentence may leave no room."""
    while begin < first and units[after - 1].end - units[begin].start > limit:
        begin += 1
    return begin


def _units(text: str, limit: int) -> Iterator[Unit]:
    before = 0
    for start, end in sentences(text):
        is_paragraph = PARAGRAPH.search(text, before, start) is not None
        unit = Unit(start, end, HIGHEST_RANK if is_paragraph else HIGHEST_RANK - 1)
        yield from divide(text, unit, INSIDE_SENTENCE, Characters(), limit)
        before = end


def _trimmed(text: str, start: int, end: int) -> list[tuple[int, int]]:
    part = text[start:end]
    own = part.lstrip()
    return [(end - len(own), end - len(own) + len(own.rstrip()))] if own else []


def _is_end(text: str, found: re.Match[str]) -> bool:
    stop, gap = found["stop"], found[0]
    if stop is None or PARAGRAPH.search(gap) or ("\n" in gap and _AT_MARKER.match(text, found.end())):
        return True
    following = text[found.end() : found.end() + _NEARBY]
    if (found["closer"] or stop in _ELLIPSES) and following[:1].islower():
        return False  # "Really?" he asked.
    at = found.start()
    before = text[max(0, at - _NEARBY) : at]
    return stop != "." or not (_is_list_number(text, at) or is_abbreviation(before, following))


def _is_list_number(text: str, at: int) -> bool:
    """Tell the full stop of "1. First"."""
    start = text.rfind("\n", max(0, at - _NEARBY), at) + 1
    is_near = start > 0 or at < _NEARBY
    return is_near and _LIST_NUMBER.fullmatch(text[start:at].strip()) is not None
