"""What every peer can be asked to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.data import Row
from benchmarks.target import Target

Search = Callable[[Any], Any]


@dataclass(frozen=True)
class Table:
    """A peer's own table, filled and indexed by the run itself.

    Attributes:
        name: Its name in the schema ``public``.
        fill: INSERT ... SELECT from ``pgcorpus.documents``.
        parameters: Of that statement.
    """

    name: str
    fill: str
    parameters: Sequence[Any] = ()


class Peer(ABC):
    """One way to use pgvector from Python.

    Args:
        target: Where to connect.
    """

    # Whether it wants lists of floats, which are then made before a clock runs.
    wants_lists: ClassVar[bool] = False
    # Whose versions are reported.
    distributions: ClassVar[tuple[str, ...]] = ("pgvector",)

    def __init__(self, target: Target) -> None:
        self.target = target

    def create(self) -> Table | None:
        """Create its own table, without a vector index; None where it uses ours."""
        return None

    @abstractmethod
    def searcher(self, mode: str, field: str | None = None) -> Search:
        """Return a function from a query vector to the ten nearest passages, for use in one thread.

        Args:
            mode: ``search``, or another way that this peer has.
            field: A metadata field that must be 0.
        """

    @abstractmethod
    def numbers(self, found: Any) -> list[int]:
        """Return the numbers of the passages found, nearest first."""

    @abstractmethod
    def write(self, mode: str, rows: Sequence[Row]) -> None:
        """Store rows and commit.

        Args:
            mode: ``write``, or another way that this peer has.
            rows: The passages.
        """
