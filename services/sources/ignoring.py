"""Which files of a folder are left out: patterns in Git's syntax."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pathspec import GitIgnoreSpec, Pattern

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.services.sources.formats import decode

IGNORE_FILE = ".pgcorpusignore"

# Git's "a/**" is all that lies in a, and "a/**/" all folders in it, but not a itself, as the library takes it.
_ALL_INSIDE = re.compile(r"/\*\*(/?)[ \t]*$")
# The library's name for the slash at which a pattern's own match ends; what follows is below it.
_OWN_END = "ps_d"


@dataclass(frozen=True)
class Patterns:
    """The patterns of one place, relative to its folder."""

    folder: Path
    spec: GitIgnoreSpec

    def verdict(self, path: Path, *, is_folder: bool) -> bool | None:
        """Return whether a path is ignored, or None where no pattern speaks of it: the last that does decides."""
        name = path.relative_to(self.folder).as_posix() + "/" * is_folder
        return next((pattern.include for pattern in reversed(self.spec.patterns) if _is_of(pattern, name)), None)


def _is_of(pattern: Pattern, name: str) -> bool:
    """Tell whether a pattern speaks of a path, and not of a folder above it.

    The library has all below a folder match too: "!keep/" would take "keep/a.tmp" back. Here each folder on the way is
    asked about by itself, as in Git.
    """
    regex: re.Pattern[str] | None = getattr(pattern, "regex", None)  # a comment has none
    return regex is not None and any(_own_end(found) in (-1, len(name) - 1) for found in regex.finditer(name))


def _own_end(found: re.Match[str]) -> int:
    return found.start(_OWN_END) if _OWN_END in found.re.groupindex else -1


@dataclass(frozen=True)
class IgnoreRules:
    """What holds in one folder of a search: the caller's patterns, then those of the nearest ignore file.

    Args:
        file: What ignore files are called; None if there are none.
        patterns: From the one that is asked first to the last.
        given: How many of these are the caller's.
    """

    file: str | None
    patterns: tuple[Patterns, ...] = ()
    given: int = 0

    @classmethod
    def of_search(cls, folder: Path, lines: Iterable[str], file: str | None) -> IgnoreRules:
        """Return what holds in the folder that a search begins in, without its own ignore file.

        Raises:
            ConfigError: If a pattern cannot be understood.
        """
        lines = tuple(lines)
        try:
            return cls(file, (Patterns(folder, _compile(lines)),) if lines else (), len(lines[:1]))
        except ValueError as exc:
            raise ConfigError(f"ignore= has a pattern that cannot be understood: {exc}") from exc

    def inside(self, folder: Path) -> IgnoreRules:
        """Add what the folder's own ignore file says.

        Raises:
            SourceError: If that file cannot be read or understood.
        """
        path = folder / self.file if self.file else None
        if path is None or not path.is_file():
            return self
        own = Patterns(folder, _read(path))
        return replace(self, patterns=(*self.patterns[: self.given], own, *self.patterns[self.given :]))

    def ignore(self, path: Path, *, is_folder: bool = False) -> bool:
        """Tell whether a file or folder is left out."""
        if path.name == self.file and not is_folder:
            return True
        verdicts = (patterns.verdict(path, is_folder=is_folder) for patterns in self.patterns)
        return next((verdict for verdict in verdicts if verdict is not None), False)


def _read(path: Path) -> GitIgnoreSpec:
    try:
        return _compile(decode(path.read_bytes(), str(path)).split("\n"))
    except OSError as exc:
        raise SourceError(f"{path} cannot be read ({exc.strerror}): check its permissions") from exc
    except ValueError as exc:
        raise SourceError(f"{path} has a pattern that cannot be understood: {exc}") from exc


def _compile(lines: Iterable[str]) -> GitIgnoreSpec:
    return GitIgnoreSpec.from_lines([_ALL_INSIDE.sub(r"/**/*\1", line) for line in lines])
