"""Paths become sources; whatever is wrong is said in one line, with the fix, before anything is written."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgcorpus.errors import SourceError
from pgcorpus.services.chunking import Passage
from pgcorpus.services.sources import (
    EMPTY,
    HIDDEN,
    LINKED_FOLDER,
    OTHER_SUFFIX,
    SPECIAL,
    SourceSet,
    belongs_to,
    find_sources,
)
from pgcorpus.services.sources.formats import decode
from tests.support.accounts import not_as_root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(path: Path, data: str | bytes = "Some text.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def names(found: SourceSet) -> list[str]:
    return [source.name for source in found.sources]


def read_all(*paths: Path | str, **options) -> list[Passage]:
    return [part for source in find_sources(paths, **options).sources for part in source.passages()]


def error(*paths: Path | str, **options) -> str:
    """The message of the SourceError that the paths give, which must be one line."""
    with pytest.raises(SourceError) as caught:
        read_all(*paths, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- Which files


def test_each_suffix_has_its_format(here: Path) -> None:
    """Every listed suffix is read, in any case, and the format is in the metadata."""
    expected = {
        "text": ["a.txt", "a.text", "a.rst", "a.log"],
        "markdown": ["a.md", "a.MARKDOWN"],
        "html": ["a.html", "a.htm", "a.xhtml"],
    }
    for format_name, files in expected.items():
        for name in files:
            write(here / name)
            (source,) = find_sources([name]).sources
            assert source.passages() == [Passage("Some text.", {"format": format_name})]


def test_titles_and_headings_join_the_format(here: Path) -> None:
    """A file's structure is metadata to filter by."""
    write(here / "a.md", "# Top\n\n## Sub\n\ntext")
    (passage,) = find_sources(["a.md"]).sources[0].passages()
    assert passage.metadata == {"format": "markdown", "title": "Top", "heading": "Top > Sub"}


def test_a_named_file_of_unknown_suffix_is_text_if_it_can_be(here: Path) -> None:
    """README is read; an image is refused, and the message names the suffixes that are known."""
    write(here / "README")
    write(here / "photo.png", b"\x89PNG\r\n\x1a\n")
    assert find_sources(["README"]).sources[0].passages()[0].metadata == {"format": "text"}
    assert "photo.png is not UTF-8: byte 0 is 0x89" in error("photo.png")
    assert ".md" in error("photo.png")


def test_a_directory_is_searched_in_order_and_says_what_it_left_out(here: Path) -> None:
    """Names are sorted; hidden, empty, special and unknown files and linked folders are skipped, each for a reason."""
    for name in [
        "docs/b.md",
        "docs/c/y.txt",
        "docs/a/z.txt",
        "docs/a.txt",
        "docs/.git/x.md",
        "docs/.x.md",
        "docs/p.png",
    ]:
        write(here / name)
    write(here / "docs/empty.txt", "")
    (here / "docs/linked").symlink_to(here / "docs/a")
    os.mkfifo(here / "docs/pipe.txt")
    found = find_sources(["docs"])
    assert names(found) == ["docs/a.txt", "docs/b.md", "docs/a/z.txt", "docs/c/y.txt"]
    assert {(item.path, item.reason) for item in found.skipped} == {
        ("docs/.git", HIDDEN),
        ("docs/.x.md", HIDDEN),
        ("docs/p.png", OTHER_SUFFIX),
        ("docs/empty.txt", EMPTY),
        ("docs/linked", LINKED_FOLDER),
        ("docs/pipe.txt", SPECIAL),
    }


def test_links_in_circles_end(here: Path) -> None:
    """A link to the folder above is not followed."""
    write(here / "docs/a.md")
    (here / "docs/up").symlink_to(here / "docs")
    assert names(find_sources(["docs"])) == ["docs/a.md"]


def test_the_same_file_given_twice_is_one_source(here: Path) -> None:
    """Through its folder, in full, with detours or by a link: a file is read once, under its first name."""
    path = write(here / "docs/a.md")
    (here / "link.md").symlink_to(path)
    assert names(find_sources(["docs/../docs/a.md", "docs", path, "link.md"])) == ["docs/a.md"]


def test_names_are_relative_inside_the_current_directory_and_full_outside(here: Path, tmp_path: Path) -> None:
    """The same call from the same place gives the same names."""
    inside, outside = write(here / "sub/a.md"), write(tmp_path / "b.md")
    assert names(find_sources([inside, outside, "../b.md"])) == ["sub/a.md", outside.as_posix()]


def test_sizes_are_bytes(here: Path) -> None:
    """A progress bar needs them before anything is read."""
    write(here / "a.txt", "é" * 10)
    write(here / "b.txt", "x")
    assert find_sources(["."]).size == 21


# --- Standard input


def test_standard_input_is_a_source_with_a_name_and_a_format() -> None:
    """It is text unless told otherwise, and naming it twice reads it once."""
    found = find_sources(["-", "-"], stdin=io.BytesIO(b"# A\n\ntext"))
    assert (names(found), found.size) == (["stdin"], 9)
    assert found.sources[0].passages() == [Passage("# A\n\ntext", {"format": "text"})]
    options = {"stdin_name": "notes", "stdin_format": "markdown"}
    (source,) = find_sources(["-"], stdin=io.BytesIO(b"# A\n\ntext"), **options).sources
    assert source.name == "notes"
    assert source.passages()[0].metadata["heading"] == "A"


def test_bad_standard_input_is_refused() -> None:
    """Empty, binary and unknown formats are said plainly."""
    assert "empty" in error("-", stdin=io.BytesIO(b""))
    assert "byte 1 is NUL" in error("-", stdin=io.BytesIO(b"a\0"))
    assert "choose one of text, markdown" in error("-", stdin=io.BytesIO(b"a"), stdin_format="pdf")


def test_the_process_standard_input_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stream the real one is read."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert find_sources(["-"]).sources[0].passages()[0].content == "piped"


# --- What cannot be read


def test_a_missing_path_is_named(here: Path) -> None:
    """So is a link to nowhere, wherever it lies, and a name that no file can have."""
    assert "nowhere.md does not exist" in error("nowhere.md")
    write(here / "docs/a.md")
    (here / "docs/broken.md").symlink_to("nothing")
    assert "broken.md does not exist: remove the broken link" in error("docs")
    assert "cannot be read" in error("a\0b.md")


def test_a_link_to_itself_is_an_error_not_a_loop(here: Path) -> None:
    """The system's own message is passed on."""
    (here / "self.md").symlink_to("self.md")
    assert "self.md cannot be read" in error("self.md")


@pytest.mark.parametrize("argument", ["docs", "docs/a.md", "docs/locked"])
def test_what_may_not_be_read_is_named(
    reachable_directory: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    """A file or folder without permission is an error, alone or in a directory."""
    here = Path(tempfile.mkdtemp(dir=reachable_directory))
    here.chmod(0o755)
    monkeypatch.chdir(here)
    path = write(here / "docs/a.md")
    (here / "docs/locked").mkdir()
    (here / argument if argument != "docs" else path).chmod(0)
    with not_as_root():
        assert "cannot be read (Permission denied)" in error(argument)
    (here / "docs/locked").chmod(0o700)


def test_unreadable_files_and_folders_are_errors(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is said with its reason, also where the tests run as root."""
    write(here / "docs/a.md")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "docs")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert error("docs") == "docs/a.md cannot be read (Permission denied): check its permissions"
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert error("docs") == "docs cannot be read (Permission denied): check its permissions"


def test_an_empty_file_is_an_error_when_named(here: Path) -> None:
    """In a directory it is skipped: __init__-like files are everywhere."""
    write(here / "docs/empty.md", "")
    assert "docs/empty.md is empty" in error("docs/empty.md")


def test_a_directory_without_anything_to_read_is_an_error(here: Path) -> None:
    """An indexed nothing would look like success."""
    write(here / "docs/a.png")
    write(here / "docs/empty.md", "")
    assert "docs holds nothing to read" in error("docs")
    assert ".jsonl" in error("docs")


def test_a_special_file_is_refused_rather_than_waited_for(here: Path) -> None:
    """Opening a pipe would hang until somebody writes to it."""
    os.mkfifo(here / "pipe.txt")
    assert "not a regular file" in error("pipe.txt")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"abc\0def", "byte 3 is NUL"),
        (b"abc\xff", "byte 3 is 0xff"),
        (b"\xef\xbb\xbfabc\xff", "byte 6 is 0xff"),
        ("abc".encode("utf-16"), "is UTF-16"),
        (b"caf\xe9", "byte 3 is 0xe9"),
        (b"\xed\xa0\x80", "byte 0 is 0xed"),
    ],
)
def test_what_is_not_text_is_found_before_anything_is_read(here: Path, data: bytes, message: str) -> None:
    """A binary file in a directory stops the whole call, and the message names the byte."""
    write(here / "docs/a.md")
    write(here / "docs/b.txt", data)
    with pytest.raises(SourceError) as caught:
        find_sources(["docs"])
    assert message in str(caught.value)
    assert "docs/b.txt" in str(caught.value)


def test_a_file_name_that_postgresql_cannot_store_is_refused(here: Path) -> None:
    """Names are stored as text."""
    (here / os.fsdecode(b"\xff.md")).write_text("text")
    assert "not UTF-8: rename" in error(".")


def test_a_file_that_vanishes_between_finding_and_reading_is_named(here: Path) -> None:
    """A late failure is the same kind of error."""
    path = write(here / "a.md")
    found = find_sources(["a.md"])
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.md was removed before it was read"):
        found.sources[0].passages()


def test_byte_order_marks_and_windows_line_ends_are_no_text(here: Path) -> None:
    """A file saved on Windows gives the same passages as on Linux."""
    write(here / "a.md", b"\xef\xbb\xbf# A\r\n\r\none\rtwo\r\n")
    (passage,) = find_sources(["a.md"]).sources[0].passages()
    assert passage.content == "A\n\none\ntwo"


@given(data=st.binary(max_size=40))
@settings(max_examples=300)
def test_bytes_are_text_or_a_source_error(data: bytes) -> None:
    """No file raises anything else, and what is decoded can be stored."""
    try:
        text = decode(data, "file")
    except SourceError:
        return
    assert "\0" not in text
    assert "\r" not in text
    text.encode()


# --- What belongs to a directory


def test_roots_cover_exactly_the_names_their_directory_gave(here: Path, tmp_path: Path) -> None:
    """A caller deletes what vanished under a root, so a name of another origin must not be taken for a file."""
    write(here / "docs/a.md")
    write(here / "b.md")
    write(tmp_path / "other/c.md")
    assert find_sources(["docs/"]).roots == ("docs/",)
    assert find_sources(["."]).roots == ("",)
    assert find_sources(["../other"]).roots == (f"{tmp_path.as_posix()}/other/",)
    assert find_sources(["b.md"]).roots == ()
    for arguments in (["docs"], ["."], ["../other"], [".."]):
        found = find_sources(arguments)
        assert all(any(belongs_to(name, root) for root in found.roots) for name in names(found))


@pytest.mark.parametrize(
    ("name", "root", "expected"),
    [
        ("docs/a.md", "docs/", True),
        ("docs/sub/a.MD", "docs/", True),
        ("docs2/a.md", "docs/", False),
        ("docs", "docs/", False),
        ("a.md", "", True),
        ("sub/a.md", "", True),
        ("stdin", "", False),
        ("Makefile", "", False),
        ("/srv/a.md", "", False),
        ("/srv/a.md", "/srv/", True),
        ("/srv/a.md", "/", True),
        ("https://example.org/a.html", "", False),
        ("python:email.mime.text", "", False),
        (".hidden/a.md", "", False),
        ("docs/.a.md", "docs/", False),
    ],
)
def test_a_name_belongs_to_a_root_or_not(name: str, root: str, expected: bool) -> None:
    """Under the root, readable, not hidden, and not somebody else's kind of name."""
    assert belongs_to(name, root) is expected
