"""An answer without a chat model says nothing of its own: every quote is in its document, letter by letter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pgcorpus.services.answering.quoting import (
    LABEL,
    MAX_CHARACTERS,
    MAX_SENTENCES,
    as_text,
    candidates,
    nearest_sentences,
)
from tests.support.openai_server import embedding_of
from tests.support.passages import shown

TEXT = st.text(st.sampled_from("ab .!?\n\t\u2028\u4e2d-*#0"), max_size=900)


@given(st.lists(TEXT, max_size=5))
def test_every_quote_is_a_part_of_its_document_and_no_more_than_a_hundred_are_embedded(texts: list[str]) -> None:
    passages = shown(*texts)
    found = candidates(passages)
    assert len(found) <= MAX_SENTENCES
    for sentence in found:
        assert sentence.text in sentence.passage.hit.document.content
        assert 0 < len(sentence.text) <= MAX_CHARACTERS
        assert sentence.text.strip()
    assert bool(found) == any(text.strip() for text in texts)


def test_many_sentences_are_cut_off_at_a_hundred_of_the_best_passages() -> None:
    passages = shown(*(" ".join(f"This is sentence {i} of passage {n}." for i in range(60)) for n in range(3)))
    assert [sentence.passage.number for sentence in candidates(passages)] == [1] * 60 + [2] * 40


def test_a_sentence_that_stands_twice_is_quoted_once_and_scraps_are_not() -> None:
    found = candidates(
        shown("Apples grow on tall trees. Yes. See?", "Apples grow\non tall trees. Pears grow on them too.")
    )
    assert [sentence.text for sentence in found] == ["Apples grow on tall trees.", "Pears grow on them too."]


def test_a_short_sentence_of_a_script_that_needs_few_characters_is_quoted() -> None:
    first = "\u82f9\u679c\u6811\u957f\u5728\u5c71\u4e0a\u3002"
    second = "\u68a8\u6811\u4e5f\u957f\u5728\u90a3\u91cc\u3002"
    assert [sentence.text for sentence in candidates(shown(first + second + "\u662f\u3002"))] == [first, second]


def test_the_nearest_sentences_are_quoted_with_their_numbers() -> None:
    found = candidates(shown("Apples grow on tall trees. A car has an engine.", "Pears grow on short trees."))
    vectors = np.stack([embedding_of(sentence.text, 8) for sentence in found])
    quotes = nearest_sentences(found, 3 * vectors[2], vectors, 1)
    assert [(quote.number, quote.quote) for quote in quotes] == [(2, "Pears grow on short trees.")]
    assert as_text(quotes) == f"{LABEL}\n“Pears grow on short trees.” [2]"
    assert len(nearest_sentences(found, vectors[0], vectors, 9)) == 3
