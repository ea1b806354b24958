"""A passage tells where it stands in the text that it was cut from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcorpus.services.chunking import Passage, chunk_html, chunk_markdown, chunk_sentences, chunk_text
from pgcorpus.services.sources import find_sources

ANY_TEXT = st.text(
    alphabet=st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from(" \n\n\t.!。a<>#*`-/&;![]"),
    ),
    max_size=300,
)
LIMITS = st.tuples(st.integers(1, 60), st.integers(0, 60)).map(lambda pair: (max(pair), min(pair)))

# Sections with blocks of all kinds, blank lines and all.
MARKDOWN = st.lists(
    st.sampled_from(
        ["# Top", "## Sub *two*", "Some text.", "* one\n* two", "```\ncode\n\n\nmore\n```", "<!-- comment -->",
         "| a | b |\n|---|---|\n| c |", "---", "    indented", "Last\nlines.  ", "[ref]: http://example.org/",
         "\n", "é" * 30]
    ),
    max_size=12,
).map("\n\n".join)  # fmt: skip


def own(text: str, passage: Passage) -> str:
    """The slice that a passage names."""
    assert passage.start is not None
    assert passage.end is not None
    assert 0 <= passage.start < passage.end <= len(text)
    return text[passage.start : passage.end]


def single_blank_lines(text: str) -> str:
    return re.sub(r"\s*\n\s*\n", "\n\n", text)


@given(text=ANY_TEXT, limits=LIMITS)
@settings(max_examples=400, deadline=None)
def test_a_passage_of_plain_text_is_its_slice(text: str, limits: tuple[int, int]) -> None:
    """To the letter, but that several blank lines between paragraphs become one; slices are in order and apart."""
    at = 0
    for passage in chunk_text(text, *limits):
        slice_ = own(text, passage)
        assert single_blank_lines(slice_) == single_blank_lines(passage.content)
        if not re.search(r"[^\S\n]\n\s*\n|\n\s+\n", slice_):
            assert slice_ == passage.content
        assert passage.start is not None
        assert passage.start >= at
        at = passage.end or 0


@given(text=ANY_TEXT, limits=LIMITS, overlap=st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_a_passage_of_sentences_is_its_slice_to_the_letter(text: str, limits: tuple[int, int], overlap: int) -> None:
    """White space between paragraphs and all, and what it repeats included."""
    for passage in chunk_sentences(text, *limits, overlap):
        assert own(text, passage) == passage.content


@given(text=st.one_of(MARKDOWN, ANY_TEXT), front=st.sampled_from(["", "---\ntitle: T\n---\n"]), limits=LIMITS)
@settings(max_examples=400, deadline=None)
def test_a_passage_of_markdown_is_its_slice_behind_the_heading_path(
    text: str, front: str, limits: tuple[int, int]
) -> None:
    """The slice is what stands behind the heading path, in the text with newlines for line ends."""
    text = (front + text).replace("\r\n", "\n").replace("\r", "\n")
    for passage in chunk_markdown(text, *limits):
        if passage.start is not None:
            slice_ = single_blank_lines(own(text, passage))
            body = single_blank_lines(passage.content)
            assert body.endswith(slice_)
            lead = body.removesuffix(slice_).strip()
            assert passage.metadata.get("heading", "").endswith(lead)


def test_markdown_gives_offsets_wherever_nothing_was_left_out() -> None:
    """Under headings, behind front matter and in code; not around a comment, and not for a heading alone."""
    text = "---\ntitle: T\n---\n\n# A\n\nOne\n\n* x\n\n\n* y\n\n## B\n\n<!-- c -->\n\nTwo."
    text += "\n\n## C\n\nl\n\n---\n\nr\n\n## D\n"
    found = {passage.content: passage for passage in chunk_markdown(text)}
    assert own(text, found["A\n\nOne\n\n* x\n\n\n* y"]) == "One\n\n* x\n\n\n* y"
    assert own(text, found["A > B\n\nTwo."]) == "Two."
    assert found["A > C\n\nl\n\nr"].start is None
    assert found["A > D"].start is None


def test_html_gives_none() -> None:
    """Its text is not a slice of the markup."""
    assert [(passage.start, passage.end) for passage in chunk_html("<p>one<p>two")] == [(None, None)]


def test_where_a_passage_stands_makes_no_other_passage() -> None:
    """Passages are equal where they say the same, and so are their keys."""
    assert Passage("a", {}, 0, 1) == Passage("a", {}, 5, 6)
    assert Passage("a", {}, 0, 1) != Passage("b", {}, 0, 1)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.jsonl"])
def test_offsets_are_in_the_metadata_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Not otherwise: a word put in would rewrite every row behind it."""
    monkeypatch.chdir(tmp_path)
    text = "Some words.\r\n\r\nMore words.\r\n"
    Path(name).write_bytes((f'{{"content": "{text.strip()!r}"}}' if name == "a.jsonl" else text).encode())
    (plain,) = find_sources([name]).sources[0].passages()
    (placed,) = find_sources([name], offsets=True).sources[0].passages()
    assert plain.metadata.keys().isdisjoint({"start", "end"})
    places = {key: placed.metadata.get(key) for key in ("start", "end")}
    assert places == {"start": plain.start, "end": plain.end}
    if name in {"a.txt", "a.md"}:
        assert places == {"start": 0, "end": 24}
    if name == "a.html":
        assert "start" not in placed.metadata
