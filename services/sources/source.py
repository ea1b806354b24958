"""A source: a named list of passages, read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pgcorpus.errors import SourceError
from pgcorpus.repositories.values import text_problem
from pgcorpus.repositories.writing.sync import MAX_NAME_BYTES
from pgcorpus.services.chunking import Passage


@dataclass(frozen=True)
class Source:
    """Something that documents come from.

    Args:
        name: Stored as the documents' source.
        size: Bytes, for a progress bar.
        read: Reads and splits it; what it returns may be drawn only once, and is never all in memory if it is an
            iterator.
    """

    name: str
    size: int
    read: Callable[[], Iterable[Passage]] = field(repr=False, compare=False)

    def passages(self) -> Iterable[Passage]:
        """Read the source and split it.

        Raises:
            SourceError: If it cannot be read as what it should be, here or while the passages are drawn; the message
                names the source.
        """
        with self._named():
            passages = self.read()
        return self._drawn(passages) if isinstance(passages, Iterator) else passages

    def _drawn(self, passages: Iterator[Passage]) -> Iterator[Passage]:
        with self._named():
            yield from passages

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except SourceError as exc:
            if self.name in str(exc):
                raise
            raise SourceError(f"{self.name}: {exc}") from exc


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


def name_problem(name: str) -> str | None:
    """Return why a text cannot be a source's name, or None."""
    if not name.strip():
        return "is empty"
    if problem := text_problem(name):
        return problem
    return f"is longer than {MAX_NAME_BYTES:,} bytes" if len(name.encode()) > MAX_NAME_BYTES else None
