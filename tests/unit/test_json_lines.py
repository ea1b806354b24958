"""JSON lines are read one at a time, and each bad one is named."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcorpus.errors import SourceError
from pgcorpus.services.chunking import Passage
from pgcorpus.services.sources import find_sources
from pgcorpus.services.sources.formats import Cutting
from pgcorpus.services.sources.json_lines import read_json_lines


def read(text: str) -> list[Passage]:
    return list(read_json_lines(io.BytesIO(text.encode()), "d.jsonl", Cutting()))


def error(path: str) -> str:
    """The message of the SourceError that finding the file gives, which must be one line."""
    with pytest.raises(SourceError) as caught:
        find_sources([path])
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def json_lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_json_lines_keep_content_and_metadata_as_they_are() -> None:
    """All lines are passages of one source, blank lines are skipped, and nothing is added to the metadata."""
    metadata = {"year": 2024, "tags": ["a", None, True], "deep": {"x": 1.5}}
    text = json_lines({"content": "One."}) + "\n  \n" + json_lines({"content": "Two.", "metadata": metadata})
    assert read(text) == [Passage("One.", {}), Passage("Two.", metadata)]


def test_a_long_content_is_split_and_each_part_has_the_metadata() -> None:
    """A line is a document, however long."""
    content = "A sentence that is repeated. " * 200
    passages = read(json_lines({"content": content, "metadata": {"a": 1}}))
    assert len(passages) > 3
    assert all(passage.metadata == {"a": 1} for passage in passages)


def test_a_line_may_hold_unicode_line_separators() -> None:
    """JSON allows U+2028 inside a string; it ends no line."""
    assert read('{"content": "a\u2028b\x85c"}')[0].content == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"content": "a"', "broken JSON at column"),
        ("text", "broken JSON at column 1"),
        ('["content"]', "an array instead of an object"),
        ("null", "null instead of an object"),
        ("{}", 'no "content"'),
        ('{"content": 5}', '"content" is a number'),
        ('{"content": true}', '"content" is a boolean'),
        ('{"content": " "}', '"content" is empty'),
        ('{"content": "a", "metadata": null}', '"metadata" is null'),
        ('{"content": "a", "metadata": []}', '"metadata" is an array'),
        ('{"content": "a", "text": "b"}', 'unknown field "text"'),
        ('{"content": "a", "content": "b"}', 'duplicate key "content"'),
        ('{"content": "a", "metadata": {"x": {"k": 1, "k": 1}}}', 'duplicate key "k"'),
        ('{"content": "a", "metadata": {"x": NaN}}', "NaN is not JSON"),
        ('{"content": "a", "metadata": {"x": -Infinity}}', "-Infinity is not JSON"),
        ('{"content": "a", "metadata": {"x": 1e999}}', "1e999 is out of range"),
        ('{"content": "a", "metadata": {"x": ' + "9" * 5000 + "}}", "5000 digits: write it as a string"),
        ('{"content": "a\\u0000"}', "\\u0000"),
        ('{"content": "a", "metadata": {"x": ["\\ud800"]}}', "\\ud800"),
        ('{"content": "a", "metadata": {"\\u0000": 1}}', "\\u0000"),
        ('{"content": "a", "metadata": {"x": ' + "[" * 100_000 + "]" * 100_000 + "}}", "nested too deep"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_the_fix(line: str, message: str) -> None:
    """Nothing is guessed, and nothing that PostgreSQL would refuse gets past."""
    Path("docs.jsonl").write_text('{"content": "good"}\n\n' + line + "\n")
    said = error("docs.jsonl")
    assert said.startswith("docs.jsonl line 3: ")
    assert message in said
    assert ": " in said.removeprefix("docs.jsonl line 3: ")
    assert len(said) < 250


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(metadata=st.dictionaries(st.text(), JSON_VALUES, max_size=4))
@settings(max_examples=150, deadline=None)
def test_any_metadata_comes_back_as_it_was_or_is_refused(metadata: dict[str, object]) -> None:
    """The only metadata refused are those with characters that PostgreSQL cannot store."""
    try:
        (passage,) = read(json_lines({"content": "x", "metadata": metadata}))
    except SourceError as exc:
        assert "cannot be stored by PostgreSQL" in str(exc)  # noqa: PT017 - most examples raise nothing
        assert "\\u0000" in json.dumps(metadata) or "\\ud" in json.dumps(metadata)
    else:
        assert passage.metadata == metadata


# --- Memory, and bytes


def test_a_file_of_any_length_is_read_in_bounded_memory() -> None:
    """Of ten thousand lines one is in memory, when they are checked as when they are read."""
    line = json_lines({"content": "words " * 170, "metadata": {"number": 1}})
    with Path("long.jsonl").open("w") as file:
        for _ in range(10):
            file.write(line * 1000)
    assert Path("long.jsonl").stat().st_size > 10_000_000
    tracemalloc.start()
    (source,) = find_sources(["long.jsonl"]).sources
    deque(source.passages(), maxlen=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_passages_are_there_before_the_last_line_is_read() -> None:
    """What is drawn is read, and the file may change behind it until then."""
    Path("a.jsonl").write_text(json_lines({"content": "One."}, *({"content": "x" * 1000} for _ in range(1000))))
    passages = iter(find_sources(["a.jsonl"]).sources[0].passages())
    assert next(passages) == Passage("One.")
    with Path("a.jsonl").open("a") as file:
        file.write("no JSON\n")
    with pytest.raises(SourceError, match=r"a\.jsonl line 1002: broken JSON"):
        deque(passages, maxlen=0)


def test_a_file_that_vanishes_before_it_is_read_is_named() -> None:
    """A late failure is the same kind of error."""
    Path("a.jsonl").write_text(json_lines({"content": "One."}))
    (source,) = find_sources(["a.jsonl"]).sources
    Path("a.jsonl").unlink()
    with pytest.raises(SourceError, match=r"a\.jsonl was removed before it was read"):
        list(source.passages())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_end_lines(end: str) -> None:
    """A byte order mark and the line ends of Windows and old Macs are no text, and lines are counted all the same."""
    lines = ["\ufeff" + json_lines({"content": "One."}).rstrip(), "", json_lines({"content": "Two."}).rstrip()]
    assert read(end.join(lines)) == read(end.join([*lines, ""])) == [Passage("One."), Passage("Two.")]
    with pytest.raises(SourceError, match="line 4"):
        read(end.join([*lines, "{"]))


def test_a_byte_that_is_no_text_is_named_by_its_place_in_the_file() -> None:
    """Lines are decoded one by one, but counted from the file's start."""
    Path("a.jsonl").write_bytes(b'{"content": "a"}\n{"content": "\xff"}\n')
    assert "a.jsonl is not UTF-8: byte 30 is 0xff" in error("a.jsonl")
    Path("b.jsonl").write_bytes(b'{"content": "a"}\n\0')
    assert "b.jsonl is not text: byte 17 is NUL" in error("b.jsonl")
