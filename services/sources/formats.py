"""The formats that can be read, and how a text of each is cut."""

from __future__ import annotations

import codecs
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.services.chunking import (
    MAX_CHARS,
    MIN_CHARS,
    Chunker,
    Passage,
    chunk_html,
    chunk_markdown,
    chunk_text,
    normalize_newlines,
)
from pgcorpus.services.chunking.passages import check_limits

_SUFFIXES = {
    "text": (".txt", ".text", ".rst", ".log"),
    "markdown": (".md", ".markdown"),
    "html": (".html", ".htm", ".xhtml"),
    "jsonl": (".jsonl", ".ndjson"),
    "pdf": (".pdf",),
}
FORMATS = tuple(name for name in _SUFFIXES if name != "pdf")
"""The formats of text: of standard input, and of documents from elsewhere. A PDF is always a file."""
FORMAT_BY_SUFFIX: Mapping[str, str] = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}

_CHUNKERS: Mapping[str, Callable[[str, int, int], list[Passage]]] = {
    "text": chunk_text,
    "markdown": chunk_markdown,
    "html": chunk_html,
}
# MIN_CHARS of MAX_CHARS.
_SMALL = MAX_CHARS // MIN_CHARS


def format_of(name: str) -> str | None:
    """Return the format that a file's suffix stands for, or None."""
    return FORMAT_BY_SUFFIX.get(PurePosixPath(name).suffix.lower())


def can_read_pdf() -> bool:
    """Tell whether the extra `pdf` is installed."""
    return importlib.util.find_spec("pypdf") is not None


@dataclass(frozen=True, slots=True)
class Cutting:
    """How texts are cut.

    Args:
        chunk: In place of the formats' own chunkers.
        max_chars: For those; None is `MAX_CHARS`.
        min_chars: For those; None is a sixth of `max_chars`.
        offsets: Put `start` and `end` into the metadata.

    Raises:
        ConfigError: If the limits make no sense, or are given beside `chunk`.
    """

    chunk: Chunker | None = None
    max_chars: int | None = None
    min_chars: int | None = None
    offsets: bool = False

    def __post_init__(self) -> None:
        if self.chunk is not None and not (self.max_chars is None and self.min_chars is None):
            raise ConfigError("max_chars and min_chars are for the formats' own chunkers: give them to chunk itself")
        check_limits(*self._limits())

    def passages(self, text: str, format_name: str, metadata: Mapping[str, Any]) -> Iterator[Passage]:
        """Cut a text, and put metadata under those of each passage."""
        for part in self._parts(text, format_name):
            if not isinstance(part, Passage):
                raise ConfigError(f"chunk gave {type(part).__name__} instead of Passage: make each part a Passage(...)")
            place = {"start": part.start, "end": part.end} if self.offsets and part.start is not None else {}
            yield Passage(part.content, {**metadata, **place, **part.metadata}, part.start, part.end)

    def _parts(self, text: str, format_name: str) -> Iterable[Passage]:
        if self.chunk is not None:
            return self.chunk(text) if text.strip() else ()
        return _CHUNKERS[format_name](text, *self._limits())

    def _limits(self) -> tuple[int, int]:
        most = MAX_CHARS if self.max_chars is None else self.max_chars
        return most, most // _SMALL if self.min_chars is None else self.min_chars


def decode(data: bytes, name: str, at: int = 0) -> str:
    """Decode UTF-8 with or without a byte order mark, and turn every line end into a newline.

    Args:
        data: The whole file, or some lines of it.
        name: What an error calls it.
        at: Where the data begin in the file.

    Raises:
        SourceError: If it is not UTF-8 text; the message says at which byte, counted from 0.
    """
    if at == 0 and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SourceError(f"{name} is UTF-16: convert it, e.g. iconv -f UTF-16 -t UTF-8")
    nul = data.find(b"\0")
    if nul >= 0:
        raise SourceError(f"{name} is not text: byte {at + nul} is NUL. Leave it out or convert it to text")
    mark = len(codecs.BOM_UTF8) if at == 0 and data.startswith(codecs.BOM_UTF8) else 0
    try:
        return normalize_newlines(data[mark:].decode())
    except UnicodeDecodeError as exc:
        bad = mark + exc.start
        raise SourceError(
            f"{name} is not UTF-8: byte {at + bad} is 0x{data[bad]:02x}. Convert it to UTF-8 or leave it out"
        ) from exc
