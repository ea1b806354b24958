"""Files, folders and standard input become sources.

Whatever can be checked without much work is checked before the first passage is read, so that a bad file is found
before anything is written.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pgcorpus.errors import SourceError
from pgcorpus.services.chunking import Chunker
from pgcorpus.services.sources.files import absolute, cause, file_source, name_of, relative, stdin_source
from pgcorpus.services.sources.formats import FORMAT_BY_SUFFIX, Cutting, can_read_pdf, format_of
from pgcorpus.services.sources.ignoring import IGNORE_FILE, IgnoreRules
from pgcorpus.services.sources.source import Skipped, Source, SourceSet

STDIN = "-"

HIDDEN = "hidden files and folders"
IGNORED = "ignored files"
OTHER_SUFFIX = "files with other suffixes"
EMPTY = "empty files"
LINKED_FOLDER = "linked folders"
SPECIAL = "special files"
NO_PDF = "PDF files, which need an optional install: pip install 'pgcorpus[pdf]'"

# "https://..." and "python:json" are names that others gave; they are no files under the current directory.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")

_Reason = Callable[[Path, IgnoreRules], str | None]


def find_sources(
    paths: Sequence[Path | str],
    *,
    stdin: BinaryIO | None = None,
    stdin_name: str = "stdin",
    stdin_format: str | None = None,
    empty_folders: bool = False,
    ignore: Sequence[str] = (),
    ignore_file: str | None = IGNORE_FILE,
    chunk: Chunker | None = None,
    max_chars: int | None = None,
    min_chars: int | None = None,
    offsets: bool = False,
) -> SourceSet:
    """Find the files that the paths stand for, and check that each can be read.

    A file that is ignored has vanished from its folder, as far as a later ingest is concerned: what was stored of it
    is deleted with what was stored of removed files; see :func:`belongs_to`.

    Args:
        paths: Files and directories; `-` is standard input. Directories are searched to the bottom for files with a
            readable suffix; links to other directories are not followed, as they may lead out of the tree or back up.
        stdin: Read in place of the process's standard input.
        stdin_name: The name of standard input's source.
        stdin_format: One of `text` (the default), `markdown`, `html` and `jsonl`.
        empty_folders: Take a folder with nothing to read as it is, so that what was stored of it can be deleted.
        ignore: Patterns of files and folders to leave out, as in a .gitignore at the top of each directory of `paths`;
            they outdo those of ignore files. A file that is named itself is read all the same.
        ignore_file: What files are called that hold such patterns, for the directory they lie in and what is below
            it; the nearest decides. Those above the directories of `paths` are not looked for. None: there are none.
        chunk: Cuts each text in place of its format's chunker: a file's, a JSON line's content, a PDF page's; of HTML
            it is given the markup.
        max_chars: The longest passage of the formats' own chunkers, 1,200 characters unless said otherwise.
        min_chars: Shorter passages are joined where they fit; a sixth of `max_chars` unless said otherwise.
        offsets: Put where each passage stands into its metadata as `start` and `end`, in characters of the decoded
            text with newlines for line ends (of a JSON line: of its content; of a PDF: of its page). The price: a word
            put in at a file's top moves all that follows, and so rewrites each of its rows, though none is embedded
            anew. HTML has none.

    Raises:
        SourceError: If something is missing, unreadable, empty or not UTF-8 text, or a directory holds nothing to
            read, or a JSON line is not what it must be, or a PDF is encrypted, damaged or without text.
        ConfigError: If a limit or pattern makes no sense.
        MissingExtraError: If a PDF is named and the extra `pdf` is not installed.
    """
    cutting = Cutting(chunk, max_chars, min_chars, offsets)
    finder = _Finder(cutting, (ignore,) if isinstance(ignore, str) else tuple(ignore), ignore_file, empty_folders)
    for path in paths:
        if str(path) == STDIN:
            finder.add(STDIN, lambda: stdin_source(stdin, stdin_name, stdin_format, cutting))
        else:
            finder.add_path(Path(path))
    return SourceSet(tuple(finder.sources.values()), tuple(finder.skipped), tuple(dict.fromkeys(finder.roots)))


def belongs_to(source_name: str, root: str) -> bool:
    """Tell whether a source's name is one that a search of the directory could have given.

    Ignored files count: one that was stored and is ignored now has vanished. PDF files count where they can be read.

    Args:
        source_name: A source's name.
        root: One of `SourceSet.roots`: `"docs/"`, `"/srv/docs/"`, or `""` for the current directory.
    """
    if not source_name.startswith(root) or not _is_readable(source_name):
        return False
    below = source_name.removeprefix(root)
    if not root and (below.startswith("/") or _SCHEME.match(below)):
        return False
    return not any(part.startswith(".") for part in below.split("/"))


def _is_readable(name: str) -> bool:
    format_name = format_of(name)
    return can_read_pdf() if format_name == "pdf" else format_name is not None


@dataclass
class _Finder:
    """Collects sources by their real paths, so that a file given twice is one source."""

    cutting: Cutting
    ignore: Sequence[str]
    ignore_file: str | None
    empty_folders: bool
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
            self.add_file(path)

    def add_file(self, path: Path) -> None:
        status = _status(path)
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{path} is not a regular file: pipe its content in and name it -")
        if status.st_size == 0:
            raise SourceError(f"{path} is empty: fill it or leave it out")
        make = lambda: file_source(path, status.st_size, format_of(path.name), self.cutting)  # noqa: E731
        self.add(os.path.realpath(path), make)

    def add_directory(self, directory: Path) -> None:
        found = False
        for path in self._walk(directory):
            self.add_file(path)
            found = True
        if not found and not self.empty_folders:
            suffixes = " ".join(FORMAT_BY_SUFFIX)
            hint = "" if can_read_pdf() else " (.pdf needs pip install 'pgcorpus[pdf]')"
            raise SourceError(f"{directory} holds nothing to read: put files there that end in {suffixes}{hint}")
        self.roots += _roots(directory)

    def _walk(self, directory: Path) -> Iterator[Path]:
        """Yield the files to read, and enter the folders that are neither hidden, ignored nor links."""
        rules = {directory: IgnoreRules.of_search(directory, self.ignore, self.ignore_file)}
        for folder, subfolders, files in os.walk(directory, onerror=_raise_unreadable):
            here = rules.pop(Path(folder)).inside(Path(folder))
            entered = self._kept(folder, subfolders, here, _reason_to_pass_by)
            rules |= dict.fromkeys(entered, here)
            subfolders[:] = [path.name for path in entered]
            yield from self._kept(folder, files, here, _reason_to_skip)

    def _kept(self, folder: str, names: Sequence[str], rules: IgnoreRules, reason_of: _Reason) -> list[Path]:
        kept = []
        for path in (Path(folder, name) for name in sorted(names)):
            reason = reason_of(path, rules)
            if reason:
                self.skipped.append(Skipped(_shown(path), reason))
            else:
                kept.append(path)
        return kept


def _reason_to_pass_by(folder: Path, rules: IgnoreRules) -> str | None:
    if folder.name.startswith("."):
        return HIDDEN
    if rules.ignore(folder, is_folder=True):
        return IGNORED
    return LINKED_FOLDER if folder.is_symlink() else None


def _reason_to_skip(path: Path, rules: IgnoreRules) -> str | None:
    if path.name.startswith("."):
        return HIDDEN
    if rules.ignore(path):
        return IGNORED
    if format_of(path.name) is None:
        return OTHER_SUFFIX
    return _reason_of_status(path) or (None if _is_readable(path.name) else NO_PDF)


def _reason_of_status(path: Path) -> str | None:
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
        raise SourceError(f"{path} cannot be read ({cause(exc)}): check the path and its permissions") from exc


def _raise_unreadable(exc: OSError) -> None:
    raise SourceError(f"{exc.filename} cannot be read ({cause(exc)}): check its permissions") from exc


def _shown(path: Path) -> str:
    """Return a path for people to read, also one whose bytes are no text."""
    return relative(path).encode(errors="replace").decode()


def _roots(directory: Path) -> list[str]:
    full, here = absolute(directory), Path.cwd()
    if full == here:
        return [""]
    root = name_of(full).rstrip("/") + "/"
    # Files under the current directory have relative names, even when the search began above it.
    return [root, ""] if here.is_relative_to(full) else [root]
