"""PDF files are read page by page where the extra is installed, and refused with a way out where they cannot be."""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path

import pytest

from pgcorpus.errors import MissingExtraError, SourceError
from pgcorpus.services.chunking import Passage, chunk_sentences
from pgcorpus.services.sources import NO_PDF, belongs_to, find_sources
from tests.support.pdf import encrypted, pdf

TWO_PAGES = pdf(["First page,", "two lines."], ["Second (page)."], title="A \\ title")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error(name: str, data: bytes) -> str:
    Path(name).write_bytes(data)
    with pytest.raises(SourceError) as caught:
        find_sources([name])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(name: str, data: bytes, **options) -> list[Passage]:
    Path(name).write_bytes(data)
    (source,) = find_sources([name], **options).sources
    assert source.size == len(data)
    return list(source.passages())


def test_pages_become_passages_with_their_number_and_the_title() -> None:
    common = {"format": "pdf", "title": "A \\ title"}
    assert read("a.pdf", TWO_PAGES) == [
        Passage("First page,\ntwo lines.", {**common, "page": 1}),
        Passage("Second (page).", {**common, "page": 2}),
    ]


def test_a_file_without_a_title_has_none_and_a_blank_page_no_passage() -> None:
    assert read("a.PDF", pdf([], ["Text."])) == [Passage("Text.", {"format": "pdf", "page": 2})]


def test_a_long_page_is_cut_as_asked() -> None:
    """By the limits, or by a chunker of the caller's; offsets are into the page's text."""
    page = [f"This is line {number} of it." for number in range(40)]
    passages = read("a.pdf", pdf(["x"], page), max_chars=200, offsets=True)
    assert len(passages) > 5
    assert max(len(passage.content) for passage in passages) <= 200
    assert [passage.metadata["page"] for passage in passages] == [1] + [2] * (len(passages) - 1)
    text = "\n".join(page)
    assert all(text[p.metadata["start"] : p.metadata["end"]] == p.content for p in passages[1:])
    whole = read("a.pdf", pdf(page), chunk=lambda text: chunk_sentences(text, 100, 0))
    assert all(passage.content.endswith("it.") for passage in whole)


def test_a_folder_may_hold_them_beside_others() -> None:
    Path("b.md").write_text("text")
    Path("a.pdf").write_bytes(TWO_PAGES)
    found = find_sources(["."])
    assert [source.name for source in found.sources] == ["a.pdf", "b.md"]
    assert belongs_to("a.pdf", "")


def test_pages_are_read_as_they_are_drawn() -> None:
    """A damaged page is told when it is reached, with its number; what stands before it is there."""
    at = TWO_PAGES.rindex(b"<< /Length")
    Path("a.pdf").write_bytes(TWO_PAGES[:at] + b"<< /Filter /Nonsense" + TWO_PAGES[at + 2 :])
    passages = iter(find_sources(["a.pdf"]).sources[0].passages())
    assert next(passages).content.startswith("First")
    with pytest.raises(SourceError, match=r"a\.pdf page 2 cannot be read as PDF \(.*Nonsense"):
        next(passages)


# --- What cannot be read


def test_a_password_is_asked_to_be_taken_off() -> None:
    assert error("a.pdf", encrypted(TWO_PAGES, "secret")).startswith("a.pdf is encrypted: take its password off")


def test_a_file_that_only_forbids_printing_is_read() -> None:
    """Any viewer shows it; its user's password is empty."""
    assert len(read("a.pdf", encrypted(TWO_PAGES, ""))) == 2


def test_a_file_without_text_is_to_be_recognised_first() -> None:
    """An indexed nothing would look like success."""
    assert "a.pdf has no text, as if scanned: recognise its text, e.g. ocrmypdf" in error("a.pdf", pdf([], []))


@pytest.mark.parametrize(
    "data", [b"no PDF at all", b"%PDF-1.4\n", TWO_PAGES[:200], TWO_PAGES.replace(b"/Pages", b"/Xages")]
)
def test_a_damaged_file_is_named_with_a_way_to_repair_it(data: bytes) -> None:
    message = error("a.pdf", data)
    assert message.startswith("a.pdf ")
    assert "repair it, e.g. qpdf in.pdf out.pdf, or leave it out" in message or "has no text" in message


def test_whatever_is_damaged_is_a_source_error_or_read(caplog: pytest.LogCaptureFixture) -> None:
    """pypdf raises anything at a damaged file; none of it gets past."""
    caplog.set_level(logging.CRITICAL, "pypdf")
    rng = random.Random(1)
    refused = 0
    for _ in range(300):
        data = bytearray(TWO_PAGES)
        for _ in range(rng.randint(1, 12)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 3)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 3)))
        try:
            read("a.pdf", bytes(data))
        except SourceError as exc:
            assert str(exc).startswith("a.pdf")  # noqa: PT017 - many are read
            refused += 1
    assert 0 < refused < 300


# --- Without the extra


@pytest.fixture
def without_pypdf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)


@pytest.mark.usefixtures("without_pypdf")
def test_without_the_extra_a_named_file_asks_for_it() -> None:
    Path("a.pdf").write_bytes(TWO_PAGES)
    with pytest.raises(MissingExtraError, match=r"a\.pdf needs an optional install: pip install 'pgcorpus\[pdf\]'"):
        find_sources(["a.pdf"])


@pytest.mark.usefixtures("without_pypdf")
def test_without_the_extra_files_in_a_folder_are_skipped_and_what_is_stored_of_them_is_kept() -> None:
    """An ingest deletes what belongs to a folder and was not found; a file that cannot be read has not vanished."""
    Path("b.md").write_text("text")
    Path("a.pdf").write_bytes(TWO_PAGES)
    found = find_sources(["."])
    assert [source.name for source in found.sources] == ["b.md"]
    assert [(skipped.path, skipped.reason) for skipped in found.skipped] == [("a.pdf", NO_PDF)]
    assert "pip install 'pgcorpus[pdf]'" in NO_PDF
    assert not belongs_to("a.pdf", "")
    Path("b.md").unlink()
    with pytest.raises(SourceError, match=r"holds nothing to read.*pgcorpus\[pdf\]"):
        find_sources(["."])
