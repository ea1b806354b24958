"""Which retrieved documents a model is shown: the best first, each once, whole, within a number of tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pgcorpus.services.chunking import sentences
from pgcorpus.services.retrieval import Retrieved

BYTES_PER_TOKEN = 3

_WORD = re.compile(r"\S+")


class ShownPassage(NamedTuple):
    """A document as the model is shown it.

    Attributes:
        number: What it is cited by; from 1.
        hit: The document as it was retrieved.
        text: Its content, or the beginning of it where the whole did not fit.
    """

    number: int
    hit: Retrieved
    text: str


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has: a token for every three bytes of UTF-8, rounded up.

    English prose has a token for about four bytes, so that this is a third too many; of code and of other scripts it
    can be too few. It is an estimate and no bound: a budget that must hold takes the model's own tokenizer.
    """
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def distinct(hits: Iterable[Retrieved]) -> list[Retrieved]:
    """Return the hits without those whose content came before."""
    by_content: dict[str, Retrieved] = {}
    for hit in hits:
        by_content.setdefault(" ".join(hit.document.content.split()), hit)
    return list(by_content.values())


def pack(hits: Sequence[Retrieved], budget: int, cost: Callable[[ShownPassage], int]) -> list[ShownPassage]:
    """Return the passages that fit into a budget.

    The order stays. What does not fit is skipped for what comes behind it; only the first of all is cut, at the end of
    a sentence, rather than left out.

    Args:
        hits: The best first.
        budget: In tokens.
        cost: The tokens of a passage with what stands around it.
    """
    packed: list[ShownPassage] = []
    left = budget
    for hit in distinct(hits):
        passage = ShownPassage(len(packed) + 1, hit, hit.document.content)
        if not packed:
            passage = beginning(passage, left, cost)
        if passage.text.strip() and (tokens := cost(passage)) <= left:
            packed.append(passage)
            left -= tokens
    return packed


def beginning(passage: ShownPassage, budget: int, cost: Callable[[ShownPassage], int]) -> ShownPassage:
    """Return a passage cut to a budget: after a sentence, else after a word, else after a character."""
    content = passage.text
    if cost(passage) <= budget:
        return passage
    ends: Sequence[int]
    for ends in ([end for _, end in sentences(content)], _word_ends(content), range(1, len(content))):
        fitting = bisect_right(ends, budget, key=lambda end: cost(passage._replace(text=content[:end])))
        if fitting:
            return passage._replace(text=content[: ends[fitting - 1]])
    return passage._replace(text="")


def _word_ends(content: str) -> list[int]:
    return [word.end() for word in _WORD.finditer(content)]
