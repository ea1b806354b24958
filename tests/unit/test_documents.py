"""Texts from anywhere become sources, one at a time, and a bad one is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.services.chunking import Passage, chunk_sentences
from pgcorpus.services.sources import Item, Source, documents, find_sources


def read(*items: object, **options) -> list[list[Passage]]:
    return [list(source.passages()) for source in documents(items, **options)]  # type: ignore[arg-type]


def test_items_become_sources_by_their_format() -> None:
    """Their metadata stand under those that the format finds; line ends become newlines."""
    items = [
        {"source": "a", "content": "One.\r\n\r\nTwo."},
        {"source": "b", "content": "# Top\n\ntext", "format": "markdown", "metadata": {"year": 1, "title": "mine"}},
        Item("c", "<h1>T</h1>text", format="html"),
        {"source": "d", "content": '{"content": "x", "metadata": {"n": 2}}', "format": "jsonl", "metadata": {"n": 1}},
    ]
    sources = list(documents(items))
    assert [(source.name, source.size) for source in sources] == [("a", 12), ("b", 11), ("c", 14), ("d", 38)]
    assert read(*items) == [
        [Passage("One.\n\nTwo.")],
        [Passage("Top\n\ntext", {"year": 1, "title": "Top", "heading": "Top"})],
        [Passage("T\n\ntext", {"heading": "T"})],
        [Passage("x", {"n": 2})],
    ]


def test_a_call_has_a_format_and_a_chunker_of_its_own() -> None:
    """The item's own format outdoes the call's; the chunker outdoes both."""
    item = {"source": "a", "content": "# Top\n\nOne. Two."}
    assert read(item, format="markdown")[0][0].metadata == {"title": "Top", "heading": "Top"}
    assert read(item | {"format": "text"}, format="markdown")[0][0].metadata == {}

    def chunk(text: str) -> Iterator[Passage]:
        yield from (Passage(part.content, {"own": True}) for part in chunk_sentences(text, 10, 0))

    parts = read(item | {"metadata": {"own": False, "x": 1}}, chunk=chunk)[0]
    assert [part.content for part in parts] == ["# Top", "One. Two."]
    assert {frozenset(part.metadata.items()) for part in parts} == {frozenset({"own": True, "x": 1}.items())}


def test_blank_items_are_sources_without_passages() -> None:
    """An ingest then deletes what is stored of them; a chunker is not asked."""
    assert read({"source": "a", "content": " \n"}) == [[]]
    assert read({"source": "a", "content": ""}, chunk=lambda _: pytest.fail("it was asked")) == [[]]


def test_items_are_drawn_one_at_a_time() -> None:
    """A stream without end is no problem."""
    drawn = []

    def items() -> Iterator[Item]:
        number = 0
        while True:
            drawn.append(number)
            yield Item(f"s{number}", "text")
            number += 1

    sources = documents(items())
    assert drawn == []
    assert next(sources).name == "s0"
    assert next(sources).name == "s1"
    assert drawn == [0, 1]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("text", "item 2: str instead of {"),
        ({"content": "x"}, "item 2: no 'source'"),
        ({"source": "b"}, "item 2: no 'content'"),
        ({"source": "b", "content": "x", "meta": {}}, "item 2: unknown field 'meta': put it into 'metadata'"),
        ({"source": 5, "content": "x"}, "item 2: 'source' is int"),
        ({"source": " ", "content": "x"}, "item 2: 'source' is empty"),
        ({"source": "b\0", "content": "x"}, "item 2: 'source' holds a null character"),
        ({"source": "b" * 3000, "content": "x"}, "item 2: 'source' is longer than"),
        ({"source": "b", "content": b"x"}, "item 2: 'content' of b is bytes"),
        ({"source": "b", "content": None}, "item 2: 'content' of b is NoneType"),
        ({"source": "b", "content": "x", "format": "pdf"}, "item 2: 'format' of b is 'pdf': choose one of text,"),
        ({"source": "b", "content": "x", "metadata": [1]}, "item 2: 'metadata' of b is list"),
        ({"source": "b", "content": "x", "metadata": {"a": {1}}}, "item 2: metadata.a: .* has no place in JSON .b."),
        ({"source": "a", "content": "x"}, "item 2: an earlier one is called 'a' too"),
    ],
)
def test_a_bad_item_is_named_by_its_number(item: object, message: str) -> None:
    """The one before it is there."""
    sources = documents([{"source": "a", "content": "fine"}, item])  # type: ignore[list-item]
    assert next(sources).name == "a"
    with pytest.raises(SourceError, match=message):
        next(sources)


def test_a_format_that_is_none_is_refused() -> None:
    """Of the call it is a mistake of the program's."""
    with pytest.raises(ConfigError, match="no format 'pdf': choose one of text, markdown, html, jsonl"):
        read(format="pdf")


def test_what_cannot_be_stored_is_told_with_the_sources_name() -> None:
    """Whoever cut it."""
    with pytest.raises(SourceError, match=r"wiki/a: Character 1 is '\\x00'"):
        read({"source": "wiki/a", "content": "a\0b"})
    with pytest.raises(SourceError, match="wiki/a line 1: broken JSON"):
        read({"source": "wiki/a", "content": "{", "format": "jsonl"})


def test_a_source_names_itself_in_every_error() -> None:
    """While it is read, and while passages are drawn; once."""

    def late() -> Iterator[Passage]:
        yield Passage("one")
        raise SourceError("it broke off")

    with pytest.raises(SourceError) as caught:
        list(Source("wiki/a", 1, late).passages())
    assert str(caught.value) == "wiki/a: it broke off"

    def named() -> list[Passage]:
        raise SourceError("wiki/a line 3: broken")

    with pytest.raises(SourceError) as caught:
        Source("wiki/a", 1, named).passages()
    assert str(caught.value) == "wiki/a line 3: broken"


# --- The same ways to cut files


def test_files_are_cut_by_a_chunker_of_ones_own(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every format; the format stays in the metadata of files, and JSON lines keep their own."""
    monkeypatch.chdir(tmp_path)
    contents = {"a.txt": "One. Two.", "b.md": "# A\n\nOne.", "c.html": "<p>One.", "d.jsonl": '{"content": "One. Two."}'}
    for name, text in contents.items():
        (tmp_path / name).write_text(text)
    found = find_sources(["."], chunk=lambda text: [Passage(text.upper(), {"cut": "whole"})]).sources
    passages = [part for source in found for part in source.passages()]
    assert [(part.content, part.metadata) for part in passages] == [
        ("ONE. TWO.", {"format": "text", "cut": "whole"}),
        ("# A\n\nONE.", {"format": "markdown", "cut": "whole"}),
        ("<P>ONE.", {"format": "html", "cut": "whole"}),
        ("ONE. TWO.", {"cut": "whole"}),
    ]


def test_files_are_cut_to_the_limits_given(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least follows the most, unless it is given; beside a chunker of one's own they mean nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("\n\n".join(f"Paragraph {number} of them." for number in range(50)))
    (source,) = find_sources(["a.txt"], max_chars=100).sources
    assert max(len(passage.content) for passage in source.passages()) <= 100
    (tiny,) = find_sources(["a.txt"], max_chars=100, min_chars=0).sources
    (large,) = find_sources(["a.txt"], max_chars=100, min_chars=100).sources
    assert len(list(tiny.passages())) > len(list(large.passages()))
    with pytest.raises(ConfigError, match="impossible"):
        find_sources(["a.txt"], max_chars=100, min_chars=200)
    with pytest.raises(ConfigError, match="give them to chunk itself"):
        find_sources(["a.txt"], max_chars=100, chunk=chunk_sentences)


def test_a_chunker_that_gives_no_passages_is_told_so(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of texts is the likely mistake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    (source,) = find_sources(["a.txt"], chunk=str.split).sources  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="chunk gave str instead of Passage"):
        list(source.passages())
