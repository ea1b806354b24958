"""Files and standard input as sources: names, checks, reading."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pgcorpus.errors import SourceError
from pgcorpus.repositories.writing.sync import MAX_NAME_BYTES
from pgcorpus.services.chunking import Passage
from pgcorpus.services.sources.formats import FORMAT_BY_SUFFIX, FORMATS, Cutting, decode
from pgcorpus.services.sources.json_lines import check_json_lines, read_json_lines
from pgcorpus.services.sources.pdf import check_pdf, read_pdf
from pgcorpus.services.sources.source import Source


class _Streamed(NamedTuple):
    """How a format is read that need not be in memory as a whole."""

    check: Callable[[BinaryIO, str], None]
    read: Callable[[BinaryIO, str, Cutting], Iterator[Passage]]


_STREAMED = {"jsonl": _Streamed(check_json_lines, read_json_lines), "pdf": _Streamed(check_pdf, read_pdf)}


def file_source(path: Path, size: int, format_name: str | None, cutting: Cutting) -> Source:
    """Make a file a source, once it is checked.

    Args:
        path: A regular file.
        size: Its bytes.
        format_name: What its suffix stands for; without one it is read as text.
        cutting: How its text is cut.

    Raises:
        SourceError: If it cannot be read as its format.
        MissingExtraError: If its format needs an extra.
    """
    name = name_of(path)
    # Decoding and parsing cost next to nothing beside embedding, and find a bad file before anything is written.
    try:
        _check(path, format_name or "text")
    except SourceError as exc:
        if format_name is None:
            readable = " ".join(FORMAT_BY_SUFFIX)
            raise SourceError(f"{exc}. (Its suffix is none of {readable}, so it was read as text.)") from exc
        raise
    return Source(name, size, partial(_read, path, name, format_name or "text", cutting))


def stdin_source(stream: BinaryIO | None, name: str, format_name: str | None, cutting: Cutting) -> Source:
    """Read standard input, which cannot be read twice, and make it a source.

    Raises:
        SourceError: If it is empty, not UTF-8 text, or of an unknown format.
    """
    chosen = format_name or "text"
    if chosen not in FORMATS:
        raise SourceError(f"Standard input cannot be read as {chosen!r}: choose one of {', '.join(FORMATS)}")
    data = (stream or _process_stdin()).read()
    if not data:
        raise SourceError("Standard input is empty: pipe text into the command, or leave - out")
    if chosen in _STREAMED:
        _STREAMED[chosen].check(io.BytesIO(data), name)
        return Source(name, len(data), lambda: _STREAMED[chosen].read(io.BytesIO(data), name, cutting))
    text = decode(data, "standard input")
    return Source(name, len(data), lambda: read_text(text, chosen, cutting))


def read_text(text: str, format_name: str, cutting: Cutting) -> list[Passage]:
    """Cut a file's text as its format asks; the format joins the metadata."""
    return list(cutting.passages(text, format_name, {"format": format_name}))


def name_of(path: Path) -> str:
    """Name a file by its path from the current directory, or in full if it lies elsewhere.

    Raises:
        SourceError: If PostgreSQL cannot store that name.
    """
    name = relative(path)
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise SourceError(f"The file name {name!a} is not UTF-8: rename the file") from exc
    if len(name.encode()) > MAX_NAME_BYTES:
        raise SourceError(
            f"The path {name[:80]}... is longer than {MAX_NAME_BYTES:,} bytes: run from a folder nearer to it"
        )
    return name


def relative(path: Path) -> str:
    """Return a path from the current directory, or in full if it lies elsewhere."""
    full, here = absolute(path), Path.cwd()
    return (full.relative_to(here) if full.is_relative_to(here) else full).as_posix()


def absolute(path: Path) -> Path:
    """Return a path in full."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would rename what lies behind a link


def cause(exc: OSError | ValueError) -> str:
    """Say in a few words what the system refused."""
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)


def _check(path: Path, format_name: str) -> None:
    if format_name in _STREAMED:
        with _opened(path) as stream:
            _STREAMED[format_name].check(stream, str(path))
    else:
        decode(_read_bytes(path), str(path))


def _read(path: Path, name: str, format_name: str, cutting: Cutting) -> Iterable[Passage]:
    if format_name in _STREAMED:
        return _stream(path, name, _STREAMED[format_name], cutting)
    return read_text(decode(_read_bytes(path), name), format_name, cutting)


def _stream(path: Path, name: str, streamed: _Streamed, cutting: Cutting) -> Iterator[Passage]:
    with _opened(path) as stream:
        yield from streamed.read(stream, name, cutting)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with _refusal_told(path), path.open("rb") as stream:
        yield stream


def _read_bytes(path: Path) -> bytes:
    with _refusal_told(path):
        return path.read_bytes()


@contextmanager
def _refusal_told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise SourceError(f"{path} was removed before it was read: run again") from exc
    except OSError as exc:
        raise SourceError(f"{path} cannot be read ({cause(exc)}): check its permissions") from exc


def _process_stdin() -> BinaryIO:
    if sys.stdin is None:
        raise SourceError("There is no standard input: name a file instead of -")
    return sys.stdin.buffer
