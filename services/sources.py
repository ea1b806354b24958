"""Files, folders and standard input become sources: named lists of passages.

Whatever can be checked without much work is checked before the first passage is read, so that a bad file is found
before anything is written.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pgcorpus.errors import SourceError
from pgcorpus.repositories.writing.sync import MAX_NAME_BYTES
from pgcorpus.services.chunking import Passage
from pgcorpus.services.formats import FORMAT_BY_SUFFIX, FORMATS, check_passages, decode, format_of, read_passages

STDIN = "-"

# "https://..." and "python:json" are names that others gave; they are no files under the current directory.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


@dataclass(frozen=True)
class Source:
    """Something that documents come from.

    Args:
        name: Stored as the documents' source.
        size: Bytes, for a progress bar.
        read: Reads and splits it.
    """

    name: str
    size: int
    read: Callable[[], list[Passage]] = field(repr=False, compare=False)

    def passages(self) -> list[Passage]:
        """Read the source and split it.

        Raises:
            SourceError: If it cannot be read as what it should be.
        """
        return self.read()


@dataclass(frozen=True)
class Skipped:
    """A directory entry that was not read, and why: `reason` completes "skipped 3 ..."."""

    path: str
    reason: str


@dataclass(frozen=True)
class SourceSet:
    """What a list of paths stands for.

    Args:
        sources: In the order of the paths, a directory's files sorted by name; each file once.
        skipped: What lay in a directory and was not read.
        roots: The name prefixes of the directories, for `belongs_to`.
    """

    sources: tuple[Source, ...]
    skipped: tuple[Skipped, ...] = ()
    roots: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """All bytes."""
        return sum(source.size for source in self.sources)


HIDDEN = "hidden files and folders"
OTHER_SUFFIX = "files with other suffixes"
EMPTY = "empty files"
LINKED_FOLDER = "linked folders"
SPECIAL = "special files"


def find_sources(
    paths: Sequence[Path | str],
    *,
    stdin: BinaryIO | None = None,
    stdin_name: str = "stdin",
    stdin_format: str | None = None,
    empty_folders: bool = False,
) -> SourceSet:
    """Find the files that the paths stand for, and check that each can be read.

    Args:
        paths: Files and directories; `-` is standard input. Directories are searched to the bottom for files with a
            readable suffix; links to other directories are not followed, as they may lead out of the tree or back up.
        stdin: Read in place of the process's standard input.
        stdin_name: The name of standard input's source.
        stdin_format: One of `text` (the default), `markdown`, `html` and `jsonl`.
        empty_folders: Take a folder with nothing to read as it is, so that what was stored of it can be deleted.

    Raises:
        SourceError: If something is missing, unreadable, empty or not UTF-8 text, or a directory holds nothing to
            read, or a JSON line is not what it must be.
    """
    finder = _Finder(empty_folders)
    for path in paths:
        if str(path) == STDIN:
            finder.add(STDIN, lambda: _stdin_source(stdin or _process_stdin(), stdin_name, stdin_format))
        else:
            finder.add_path(Path(path))
    return SourceSet(tuple(finder.sources.values()), tuple(finder.skipped), tuple(dict.fromkeys(finder.roots)))


def belongs_to(source_name: str, root: str) -> bool:
    """Tell whether a source's name is one that a search of the directory could have given.

    Args:
        source_name: A source's name.
        root: One of `SourceSet.roots`: `"docs/"`, `"/srv/docs/"`, or `""` for the current directory.
    """
    if not source_name.startswith(root) or format_of(source_name) is None:
        return False
    below = source_name.removeprefix(root)
    if not root and (below.startswith("/") or _SCHEME.match(below)):
        return False
    return not any(part.startswith(".") for part in below.split("/"))


@dataclass
class _Finder:
    """Collects sources by their real paths, so that a file given twice is one source."""

    empty_folders: bool = False
    sources: dict[str, Source] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    skipped: list[Skipped] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)

    def add(self, identity: str, make: Callable[[], Source]) -> None:
        if identity in self.sources:
            return
        source = make()
        if source.name in self.names:
            raise SourceError(f"two inputs are called {source.name}: give standard input another name")
        self.sources[identity] = source
        self.names.add(source.name)

    def add_path(self, path: Path) -> None:
        if stat.S_ISDIR(_status(path).st_mode):
            self.add_directory(path)
        else:
            self.add_file(path, format_of(path.name))

    def add_file(self, path: Path, format_name: str | None) -> None:
        status = _status(path)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{path} is not a regular file: pipe its content in and name it -")
        if status.st_size == 0:
            raise SourceError(f"{path} is empty: fill it or leave it out")
        self.add(os.path.realpath(path), lambda: _file_source(path, status.st_size, format_name))

    def add_directory(self, directory: Path) -> None:
        found = False
        for path in self._walk(directory):
            reason = _reason_to_skip(path)
            if reason:
                self.skipped.append(Skipped(_name(path), reason))
            else:
                self.add_file(path, format_of(path.name))
                found = True
        if not found and not self.empty_folders:
            suffixes = " ".join(FORMAT_BY_SUFFIX)
            raise SourceError(f"{directory} holds nothing to read: put files there that end in {suffixes}")
        self.roots += _roots(directory)

    def _walk(self, directory: Path) -> Iterator[Path]:
        for folder, subfolders, files in os.walk(directory, onerror=_raise_unreadable):
            for name in sorted(subfolders):
                path = Path(folder, name)
                reason = HIDDEN if name.startswith(".") else LINKED_FOLDER if path.is_symlink() else None
                if reason:
                    subfolders.remove(name)
                    self.skipped.append(Skipped(_name(path), reason))
            subfolders.sort()
            yield from (Path(folder, name) for name in sorted(files))


def _reason_to_skip(path: Path) -> str | None:
    if path.name.startswith("."):
        return HIDDEN
    if format_of(path.name) is None:
        return OTHER_SUFFIX
    status = _status(path)
    # Opening a pipe would wait for a writer.
    if not stat.S_ISREG(status.st_mode):
        return SPECIAL
    return EMPTY if status.st_size == 0 else None


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError as exc:
        fix = "remove the broken link" if path.is_symlink() else "check the path"
        raise SourceError(f"{path} does not exist: {fix}") from exc
    except (OSError, ValueError) as exc:
        raise SourceError(f"{path} cannot be read ({_cause(exc)}): check the path and its permissions") from exc


def _raise_unreadable(exc: OSError) -> None:
    raise SourceError(f"{exc.filename} cannot be read ({_cause(exc)}): check its permissions") from exc


def _cause(exc: OSError | ValueError) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or str(exc)


def _file_source(path: Path, size: int, format_name: str | None) -> Source:
    name = _name(path)
    # Decoding and parsing cost next to nothing beside embedding, and find a bad file before anything is written.
    try:
        check_passages(decode(_read_bytes(path), str(path)), name, format_name or "text")
    except SourceError as exc:
        if format_name is None:
            readable = " ".join(FORMAT_BY_SUFFIX)
            raise SourceError(f"{exc}. (Its suffix is none of {readable}, so it was read as text.)") from exc
        raise
    return Source(name, size, lambda: read_passages(decode(_read_bytes(path), name), name, format_name or "text"))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SourceError(f"{path} cannot be read ({_cause(exc)}): check its permissions") from exc


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would rename what lies behind a link


def _name(path: Path) -> str:
    """Name a file by its path from the current directory, or in full if it lies elsewhere."""
    full, here = _absolute(path), Path.cwd()
    name = (full.relative_to(here) if full.is_relative_to(here) else full).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise SourceError(f"The file name {name!a} is not UTF-8: rename the file") from exc
    if len(name.encode()) > MAX_NAME_BYTES:
        raise SourceError(
            f"The path {name[:80]}... is longer than {MAX_NAME_BYTES:,} bytes: run from a folder nearer to it"
        )
    return name


def _roots(directory: Path) -> list[str]:
    full, here = _absolute(directory), Path.cwd()
    if full == here:
        return [""]
    root = _name(full).rstrip("/") + "/"
    # Files under the current directory have relative names, even when the search began above it.
    return [root, ""] if here.is_relative_to(full) else [root]


def _process_stdin() -> BinaryIO:
    if sys.stdin is None:
        raise SourceError("There is no standard input: name a file instead of -")
    return sys.stdin.buffer


def _stdin_source(stream: BinaryIO, name: str, format_name: str | None) -> Source:
    chosen = format_name or "text"
    if chosen not in FORMATS:
        raise SourceError(f"Standard input cannot be read as {chosen!r}: choose one of {', '.join(FORMATS)}")
    data = stream.read()
    if not data:
        raise SourceError("Standard input is empty: pipe text into the command, or leave - out")
    text = decode(data, "standard input")
    check_passages(text, name, chosen)
    return Source(name, len(data), lambda: read_passages(text, name, chosen))
