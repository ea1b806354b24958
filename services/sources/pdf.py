"""PDF files: the text of each page, by the extra `pdf`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from pgcorpus.errors import MissingExtraError, SourceError
from pgcorpus.services.chunking import Passage, normalize_newlines, replace_unstorable
from pgcorpus.services.sources.formats import Cutting, can_read_pdf

if TYPE_CHECKING:
    from pypdf import PdfReader


def read_pdf(stream: BinaryIO, name: str, cutting: Cutting) -> Iterator[Passage]:
    """Yield the passages of a PDF page by page; `page`, counted from 1, and `title` become metadata.

    A page is cut by itself: a paragraph that runs over its end becomes two passages, so that each has one page.

    Args:
        stream: The file.
        name: What an error calls it.
        cutting: How each page's text is cut; offsets are into that.

    Raises:
        MissingExtraError: If pypdf is not installed.
        SourceError: If the file is encrypted or damaged.
    """
    reader = _open(stream, name)
    title = _title(reader, name)
    common = {"format": "pdf", **({"title": title} if title else {})}
    for number, text in enumerate(_pages(reader, name), start=1):
        yield from cutting.passages(text, "text", {**common, "page": number})


def check_pdf(stream: BinaryIO, name: str) -> None:
    """Find what :func:`read_pdf` would refuse, and files without text; pages behind the first text are not looked at.

    Raises:
        MissingExtraError: If pypdf is not installed.
        SourceError: If the file is encrypted or damaged, or no page has text.
    """
    if not any(text.strip() for text in _pages(_open(stream, name), name)):
        raise SourceError(
            f"{name} has no text, as if scanned: recognise its text, e.g. ocrmypdf in.pdf out.pdf, or leave it out"
        )


def _open(stream: BinaryIO, name: str) -> PdfReader:
    if not can_read_pdf():
        raise MissingExtraError("pdf", f"reading {name}")
    from pypdf import PdfReader

    with _damage_told(name):
        reader = PdfReader(stream)
        # Many files are encrypted without a password, to forbid printing; any viewer shows them.
        is_locked = reader.is_encrypted and not _decrypt(reader, name)
    if is_locked:
        raise SourceError(f"{name} is encrypted: take its password off, e.g. qpdf --decrypt, or leave it out")
    return reader


def _decrypt(reader: PdfReader, name: str) -> bool:
    from pypdf.errors import DependencyError

    try:
        return bool(reader.decrypt(""))
    except DependencyError as exc:
        raise SourceError(
            f"{name} is encrypted with AES: pip install cryptography, or decrypt it, e.g. qpdf --decrypt"
        ) from exc


def _title(reader: PdfReader, name: str) -> str:
    with _damage_told(name):
        title = reader.metadata.title if reader.metadata else None
        return replace_unstorable(" ".join(str(title or "").split()))


def _pages(reader: PdfReader, name: str) -> Iterator[str]:
    number = 0
    while True:
        with _damage_told(f"{name} page {number + 1}"):
            if number >= len(reader.pages):
                return
            text = reader.pages[number].extract_text()
        # Fonts without a table of their characters give anything.
        yield replace_unstorable(normalize_newlines(text))
        number += 1


@contextmanager
def _damage_told(place: str) -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except Exception as exc:  # a damaged file makes pypdf raise anything: KeyError, TypeError, RecursionError
        cause = " ".join(str(exc).split())[:100] or type(exc).__name__
        raise SourceError(
            f"{place} cannot be read as PDF ({cause}): repair it, e.g. qpdf in.pdf out.pdf, or leave it out"
        ) from exc
