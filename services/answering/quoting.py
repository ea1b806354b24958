"""An answer without a chat model: the sentences nearest to the question, word for word."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from pgcorpus.services.answering.answers import Citation
from pgcorpus.services.answering.passages import ShownPassage
from pgcorpus.services.chunking import sentences
from pgcorpus.services.embedding.base import Vectors

MAX_SENTENCES = 100
# A heading or a stray word says nothing; a table without full stops is no sentence. Of UTF-8: a sentence of Chinese has
# few characters, of three bytes each.
MIN_BYTES = 20
MAX_CHARACTERS = 600

LABEL = "Quoted from the documents:"


class Sentence(NamedTuple):
    """A sentence of a passage, word for word."""

    passage: ShownPassage
    text: str


def candidates(passages: Sequence[ShownPassage]) -> list[Sentence]:
    """Return what may be quoted: the first 100 sentences of the passages, each text once.

    Args:
        passages: The best first.
    """
    by_text: dict[str, Sentence] = {}
    for passage in passages:
        for start, end in sentences(passage.text):
            sentence = Sentence(passage, _shortened(passage.text[start:end].strip()))
            if len(sentence.text.encode()) >= MIN_BYTES:
                by_text.setdefault(" ".join(sentence.text.split()), sentence)
    return list(islice(by_text.values(), MAX_SENTENCES)) or _beginnings(passages)


def _beginnings(passages: Sequence[ShownPassage]) -> list[Sentence]:
    """What there is to quote of passages without a sentence."""
    return [Sentence(each, _shortened(text)) for each in passages if (text := each.text.strip())][:MAX_SENTENCES]


def _shortened(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    cut = text[:MAX_CHARACTERS]
    return cut.rsplit(None, 1)[0] if len(cut.split()) > 1 else cut


def nearest_sentences(
    found: Sequence[Sentence], question: Vectors, vectors: Vectors, count: int
) -> tuple[Citation, ...]:
    """Return the sentences most similar to the question as citations, the nearest first.

    Args:
        found: What may be quoted.
        question: Shape (dimensions,).
        vectors: Of the sentences, shape (len(found), dimensions).
        count: How many to quote.
    """
    similarities = (vectors @ question) / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(question))
    best = np.argsort(-similarities, kind="stable")[:count]
    return tuple(Citation(found[i].passage.number, found[i].passage.hit, found[i].text) for i in best)


def as_text(quotes: Sequence[Citation]) -> str:
    """Return quotes as the text of an answer, marked as what they are."""
    lines = [
        f"\N{LEFT DOUBLE QUOTATION MARK}{each.quote}\N{RIGHT DOUBLE QUOTATION MARK} [{each.number}]" for each in quotes
    ]
    return "\n".join([LABEL, *lines])
