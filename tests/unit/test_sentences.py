"""Sentences are found where they are, and passages are made of whole ones."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.services.chunking import chunk_sentences, sentences

ANY_TEXT = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from(" \n\t.!?。a\"')1-#|…"),
    ),
    max_size=300,
)


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


# Sentences as a reader finds them, parted by a bar.
PROSE = [
    "It works.|It is fast!|Is it?|Yes.",
    "Dr. Smith met Mrs. Jones.|They spoke.",
    "Pi is 3.14 or so.|E is 2.71.",
    "Use e.g. this, i.e. that.|Then stop.",
    "The U.S. Army left.|So did he.",
    "He lives in the U.S.|He likes it.",
    "J. R. R. Tolkien wrote it.|He was a friend of C. S. Lewis.",
    "So do I.|Then we go.",
    "See Fig. 3 and No. 5 on p. 12.|It says no.|Nobody came.",
    "Acme Inc. makes cars.|Bolts, nuts, etc. are sold by Acme Corp.|The rest is not.",
    '"Really?" he asked.|"Yes!" she said.|(So it was.)|Good.',
    "Wait... what was that?|Well...|Then go.",
    "Das gilt bzw. galt ca. 1990.|Ende.",
    "Version 2.0 is out.|Get v3.1.2 of psycopg.",
    "Call foo.bar() now.|Then example.org answers.",
    "At 5 p.m. we left.|It was 6 a.m.|The door was open.",
    "Das ist aus.|Über das Ende sprach niemand.",
    "What?!|No...|Yes.",
]


@pytest.mark.parametrize("marked", PROSE)
def test_prose_falls_into_its_sentences(marked: str) -> None:
    """Abbreviations, initials, decimals and questions quoted end none."""
    assert found(marked.replace("|", " ")) == marked.split("|")


@pytest.mark.parametrize(
    "marked", ["这是一句。|这是另一句\uff01|「好吗\uff1f」|是的……", "これは文です。|これも文です。"]
)
def test_sentences_without_spaces_between_them_are_found(marked: str) -> None:
    """Chinese and Japanese put no space after a sentence, and a quotation's end stays with it."""
    assert found(marked.replace("|", "")) == marked.split("|")


@pytest.mark.parametrize("marked", ["यह एक वाक्य है।|यह दूसरा है।", "هل هذا سؤال؟|نعم."])
def test_stops_of_other_scripts_end_sentences(marked: str) -> None:
    """Hindi and Arabic have their own."""
    assert found(marked.replace("|", " ")) == marked.split("|")


def test_paragraphs_lists_and_headings_end_sentences() -> None:
    """A line that goes on does not."""
    text = (
        "# Title\n\nA line\ngoes on. And ends\n- one\n- two etc.\n- three\n1. First\n2. Second item.\n\nJ.\n\nS. Bach"
    )
    expected = ["# Title", "A line\ngoes on.", "And ends", "- one", "- two etc.", "- three", "1. First",
                "2. Second item.", "J.", "S. Bach"]  # fmt: skip
    assert found(text) == expected


@given(text=ANY_TEXT)
@settings(max_examples=400, deadline=None)
def test_all_but_white_space_is_in_one_sentence(text: str) -> None:
    """Spans are in order, apart, and have no white space at their ends."""
    at = 0
    for start, end in sentences(text):
        assert text[at:start].strip() == ""
        assert text[start:end] == text[start:end].strip() != ""
        at = end
    assert text[at:].strip() == ""


@pytest.mark.parametrize(
    "text", ["." * 300_000, ". " * 150_000, "\n" * 300_000, "a\n" + " " * 300_000, "。" * 300_000, '."' * 150_000]
)
def test_monotonous_text_takes_no_quadratic_time(text: str) -> None:
    """A quadratic search would take minutes."""
    assert "".join("".join(found(text)).split()) == "".join(text.split())


# --- Passages


def essay(seed: int) -> list[str]:
    """Paragraphs of one to eight sentences, each with its own words."""
    rng = random.Random(seed)

    def sentence() -> str:
        return "Word" + " ".join(str(rng.randrange(9999)) for _ in range(rng.randint(2, 25))) + "."

    return [" ".join(sentence() for _ in range(rng.randint(1, 8))) for _ in range(60)]


def test_no_sentence_is_cut_while_it_fits() -> None:
    """Each passage is some whole sentences, and none is missing."""
    text = "\n\n".join(essay(1))
    whole = found(text)
    passages = chunk_sentences(text, 300, 60)
    parts = [part for passage in passages for part in found(passage.content)]
    assert parts == whole
    assert max(len(passage.content) for passage in passages) <= 300
    assert sum(len(passage.content) for passage in passages) / len(passages) > 150


def test_abbreviations_are_not_cut_from_their_names() -> None:
    """What chunk_text may part, as it knows no abbreviations, stays together."""
    text = " ".join(f"Dr. Smith met Mr. Jones of the U.S. Army on p. {number}." for number in range(100))
    for passage in chunk_sentences(text, 200, 50):
        assert passage.content.startswith("Dr. Smith")
        assert passage.content[-1] == "."
        assert passage.content[-2].isdigit()


@given(text=ANY_TEXT, most=st.integers(1, 60), overlap=st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_passages_that_fit_and_lose_nothing(text: str, most: int, overlap: int) -> None:
    """What is repeated is within the limit too."""
    at = 0
    for passage in chunk_sentences(text, most, 0, overlap):
        assert 0 < len(passage.content) <= most
        assert passage.content == text[passage.start : passage.end]
        assert passage.start is not None
        assert passage.end is not None
        assert text[at : passage.start].strip() == ""
        assert passage.end > at
        at = passage.end
    assert text[at:].strip() == ""


def test_the_overlap_is_whole_sentences_of_the_passage_before() -> None:
    """As many as asked for, unless there is no room or the passage before has fewer."""
    text = "\n\n".join(essay(2))
    passages = [found(passage.content) for passage in chunk_sentences(text, 600, 100, overlap=2)]
    shared = [
        max(number for number in range(5) if number == 0 or before[-number:] == after[:number])
        for before, after in pairwise(passages)
    ]
    assert max(shared) == 2
    assert shared.count(2) > len(shared) * 0.8


def test_an_insertion_usually_changes_one_or_two_passages() -> None:
    """Cuts are where the text itself decides, here too; an overlap changes the next one as well."""
    for overlap, most in ((0, 2), (1, 3)):
        changed = []
        for seed in range(40):
            paragraphs = essay(seed)
            at = seed % len(paragraphs)
            longer = [*paragraphs[:at], "An inserted remark.", *paragraphs[at:]]
            old, new = (
                {passage.content for passage in chunk_sentences("\n\n".join(text), overlap=overlap)}
                for text in (paragraphs, longer)
            )
            changed.append(len(new - old))
        assert sum(changed) / len(changed) < most


def test_bad_limits_and_texts_are_refused() -> None:
    """As by the other chunkers."""
    with pytest.raises(ConfigError, match="overlap of -1"):
        chunk_sentences("text", overlap=-1)
    with pytest.raises(ConfigError, match="impossible"):
        chunk_sentences("text", 10, 20)
    with pytest.raises(SourceError, match="Character 1 "):
        chunk_sentences("a\0b")
    assert chunk_sentences(" \n ") == []
