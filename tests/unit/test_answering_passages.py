"""What a model is shown fits the budget, the best first, each once, and whole where it can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcorpus.services.answering.passages import ShownPassage, estimate_tokens, pack
from tests.support.passages import contents, hit


def characters(passage: ShownPassage) -> int:
    return len(passage.text)


def test_what_fits_is_shown_in_its_order_and_numbered_from_one() -> None:
    packed = pack([hit("aaaa"), hit("bb"), hit("cccc")], 10, characters)
    assert [(passage.number, passage.text) for passage in packed] == [(1, "aaaa"), (2, "bb"), (3, "cccc")]


def test_what_does_not_fit_is_skipped_for_what_comes_behind_it() -> None:
    assert contents(pack([hit("aaaa"), hit("b" * 20), hit("cc")], 7, characters)) == ["aaaa", "cc"]


def test_the_same_content_is_shown_once() -> None:
    packed = pack([hit("A cat\nsleeps."), hit("A cat  sleeps. "), hit("A dog.")], 100, characters)
    assert contents(packed) == ["A cat\nsleeps.", "A dog."]
    assert [passage.number for passage in packed] == [1, 2]


def test_only_the_first_is_cut_and_at_the_end_of_a_sentence() -> None:
    long = "The first sentence is here. The second one is here. The third one is here."
    assert contents(pack([hit(long), hit(long.upper())], 60, characters)) == [
        "The first sentence is here. The second one is here."
    ]


def test_without_a_sentence_that_fits_it_is_cut_after_a_word_and_else_after_a_character() -> None:
    assert contents(pack([hit("one two three four five")], 10, characters)) == ["one two"]
    assert contents(pack([hit("x" * 100)], 10, characters)) == ["x" * 10]


def test_an_empty_document_is_not_shown() -> None:
    assert contents(pack([hit("  \n"), hit("A cat.")], 100, characters)) == ["A cat."]


@given(st.lists(st.text(max_size=80), max_size=8), st.integers(0, 200))
def test_the_budget_holds_and_what_is_shown_is_the_documents_own_text(texts: list[str], budget: int) -> None:
    packed = pack([hit(text) for text in texts], budget, characters)
    assert sum(map(characters, packed)) <= budget
    assert [passage.number for passage in packed] == list(range(1, len(packed) + 1))
    for passage in packed:
        assert passage.hit.document.content.startswith(passage.text)
    for passage in packed[1:]:
        assert passage.text == passage.hit.document.content


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abc", 1), ("abcd", 2), ("\u4e2d", 1), ("\ud800", 1)])
def test_the_estimate_is_a_token_for_three_bytes(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens
