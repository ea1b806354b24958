"""Which passages a text cites."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pgcorpus.services.answering.answers import Citation
from pgcorpus.services.answering.passages import ShownPassage

# [1], [1, 2], [1-3], and what models write who were taught another way: [^1], [passage 1], and in lenticular brackets
# with or without a dagger and a name. `rows[1]` in code cites nothing, and a year has four digits.
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_NUMBERS = r"[0-9]{1,3}"
_PART = _NUMBERS + r"(?:\s*[-\u2013]\s*" + _NUMBERS + r")?"
_LIST = rf"\s*({_PART}(?:\s*[,;]\s*{_PART})*)\s*"
_CITATION = re.compile(
    rf"\[(?:\^|\s*passages?\b)?{_LIST}\]"
    rf"|\u3010{_LIST}(?:\u2020[^\u3011]{{0,200}})?\u3011",
    re.IGNORECASE,
)


def read_citations(text: str, passages: Sequence[ShownPassage]) -> tuple[tuple[Citation, ...], tuple[int, ...]]:
    """Return the citations of an answer by number, and the numbers that belong to no passage.

    Args:
        text: What the model wrote.
        passages: What it was shown.
    """
    known = {passage.number: passage for passage in passages}
    numbers = sorted(set(cited_numbers(text)))
    citations = tuple(Citation(number, known[number].hit) for number in numbers if number in known)
    return citations, tuple(number for number in numbers if number not in known)


def cited_numbers(text: str) -> Iterator[int]:
    """Yield every number that a text cites, outside of code."""
    for found in _CITATION.finditer(_CODE.sub(" ", text)):
        for part in re.split("[,;]", found[1] or found[2]):
            first, *last = (int(number) for number in re.findall(_NUMBERS, part))
            yield from range(first, last[0] + 1) if last else (first,)
