"""Sources read into groups that are embedded and written together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pgcorpus.repositories import Draft, SyncReport
from pgcorpus.services.chunking import keyed
from pgcorpus.services.ingesting.shelf import Shelf
from pgcorpus.services.sources import Source

# Large enough for full requests, small enough to lose little.
GROUP_PASSAGES = 1_000
GROUP_SOURCES = 200


@dataclass
class Group:
    """Sources that are written in one transaction, each whole.

    Attributes:
        shelves: The passages of each source.
        size: Bytes, for a progress bar.
        counted: Bytes of those that the progress has already.
        needed: Of each source, the places of the passages whose embedding is not stored.
        foreseen: What writing it would do.
    """

    shelves: dict[str, Shelf] = field(default_factory=dict)
    size: float = 0
    counted: float = 0
    needed: Mapping[str, Sequence[int]] = field(default_factory=dict)
    foreseen: SyncReport = field(default_factory=SyncReport)

    @property
    def passages(self) -> int:
        """How many there are."""
        return sum(len(shelf) for shelf in self.shelves.values())

    def wanting(self) -> list[tuple[str, int]]:
        """Return source and place of each passage that needs an embedding and has none yet."""
        return [(name, place) for name, places in self.needed.items() for place in self.shelves[name].bare(places)]

    def need_all(self) -> None:
        """Ask for the embedding of every passage, stored or not."""
        self.needed = {name: range(len(shelf)) for name, shelf in self.shelves.items()}

    def close(self) -> None:
        """Give back what lies on disk."""
        for shelf in self.shelves.values():
            shelf.close()

    @contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """Give it back if something fails: nobody else knows of the group yet."""
        try:
            yield
        except BaseException:
            self.close()
            raise


def read_groups(sources: Iterable[Source], max_passages: int, max_sources: int) -> Iterator[Group]:
    """Read sources one by one, and yield groups of them.

    Args:
        sources: A name that comes twice begins a new group.
        max_passages: A group that has so many is full; a longer source makes a group of its own length.
        max_sources: Sources in a group at most.

    Raises:
        SourceError: A source cannot be read.
    """
    group = Group()
    try:
        for source in sources:
            if source.name in group.shelves:
                yield group
                group = Group()
            group.shelves[source.name] = shelf = Shelf()
            shelf.fill(_drafts(source))
            group.size += source.size
            if len(group.shelves) == max_sources or group.passages >= max_passages:
                yield group
                group = Group()
    except BaseException:
        group.close()
        raise
    if group.shelves:
        yield group


def _drafts(source: Source) -> Iterator[Draft]:
    for key, passage in keyed(source.name, source.passages()):
        yield Draft(key, passage.content, passage.metadata)
