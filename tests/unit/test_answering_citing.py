"""A citation is a number that belongs to a passage; what a model invents is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgcorpus.services.answering.citing import cited_numbers, read_citations
from tests.support.passages import shown


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Trees grow [1].", [1]),
        ("Trees grow[2][1], they do.", [2, 1]),
        ("[1, 3; 4] and [ 7 ]", [1, 3, 4, 7]),
        ("[2-4] and [6\N{EN DASH}7]", [2, 3, 4, 6, 7]),
        ("Write `rows[0]`, or\n```\na = b[1]\n```\nas it says [2].", [2]),
        ("```\nan open block [1]", []),
        ("In [2020] [x1] [] [-1] [1.5] (1)", []),
        ("[\N{ARABIC-INDIC DIGIT ONE}]", []),
        ("[9-1]", []),
        ("\N{LEFT BLACK LENTICULAR BRACKET}1\N{RIGHT BLACK LENTICULAR BRACKET}", [1]),
        ("\N{LEFT BLACK LENTICULAR BRACKET}2\N{DAGGER}guide.md\N{RIGHT BLACK LENTICULAR BRACKET}", [2]),
        ("[^1], [passage 2], [Passages 3-4], [999999999999]", [1, 2, 3, 4]),
    ],
)
def test_numbers_in_square_brackets_cite_and_code_does_not(text: str, numbers: list[int]) -> None:
    assert list(cited_numbers(text)) == numbers


def test_a_number_of_no_passage_is_reported_and_is_no_citation() -> None:
    citations, unknown = read_citations("So it is [2][7], and [0], and [2].", shown("a", "b"))
    assert [(citation.number, citation.document.content) for citation in citations] == [(2, "b")]
    assert unknown == (0, 7)


@given(st.text(st.sampled_from("[]0123456789,- `a"), max_size=60), st.integers(0, 5))
def test_whatever_a_model_writes_citations_belong_to_passages_and_the_rest_is_unknown(text: str, count: int) -> None:
    passages = shown(*"abcde"[:count])
    citations, unknown = read_citations(text, passages)
    by_number = {passage.number: passage.hit for passage in passages}
    assert all(by_number[citation.number] is citation.hit for citation in citations)
    assert not by_number.keys() & set(unknown)
    assert {citation.number for citation in citations} | set(unknown) == set(cited_numbers(text))
