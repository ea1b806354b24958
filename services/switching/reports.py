"""What a switch of models says: how far it is, what it did, and what stands behind a collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from pgcorpus.repositories.switching.standing import State

if TYPE_CHECKING:
    from pgcorpus.services.switching.comparing import Comparison
    from pgcorpus.services.switching.flipping import Flipped


class Stage(StrEnum):
    """What a switch is doing."""

    FILLING = "embedding"
    INDEXING = "building the vector index"
    CATCHING_UP = "catching up"
    COMPARING = "comparing"
    FLIPPING = "changing places"
    SWEEPING = "carrying late writes over"
    DELETING = "deleting what was retired"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is.

    Attributes:
        stage: What is done.
        done: Documents, or queries, done with.
        total: Of how many; 0 where nobody knows.
    """

    stage: Stage
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Filled:
    """What brought the new collection in step.

    Attributes:
        copied: Documents copied with a new embedding, or without one where they had none.
        deleted: Documents deleted since they were copied, or changed.
        passes: How often the collection was gone through.
        seconds: Time spent.
    """

    copied: int = 0
    deleted: int = 0
    passes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LateWrites:
    """What was written to a collection after it was retired, and carried over to the active one.

    Attributes:
        inserted: Documents inserted late.
        updated: Documents changed late.
        deleted: Documents deleted late.
        pending: Transactions that had begun before the flip, had touched the documents, and went on when it stopped
            to wait: what they change is carried over by the next ``finish`` or ``rollback``.
    """

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    pending: int = 0

    @property
    def total(self) -> int:
        """Documents carried over."""
        return self.inserted + self.updated + self.deleted

    def __add__(self, other: LateWrites) -> LateWrites:
        return LateWrites(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.deleted + other.deleted,
            max(self.pending, other.pending),
        )


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """What a switch did.

    Attributes:
        collection: Its name.
        old_model: The model before.
        new_model: The model switched to.
        filled: How the new collection was brought in step.
        late: What was carried over before: of a collection that takes its place back.
        comparison: Of the two models; None where it was left out.
        flipped: How they changed places; None where they did not.
    """

    collection: str
    old_model: str | None
    new_model: str
    filled: Filled = field(default_factory=Filled)
    late: LateWrites = field(default_factory=LateWrites)
    comparison: Comparison | None = None
    flipped: Flipped | None = None


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    """A collection that stands behind another.

    Attributes:
        name: Its name.
        embedding_model: Its model.
        state: Whether it is being filled, was retired, or is being deleted.
        documents: How many it has.
    """

    name: str
    embedding_model: str | None
    state: State
    documents: int


@dataclass(frozen=True, slots=True)
class SwitchStatus:
    """A collection and what stands behind it.

    Attributes:
        collection: Its name.
        embedding_model: Its model.
        documents: How many it has.
        shadows: What stands behind it, the oldest first.
    """

    collection: str
    embedding_model: str | None
    documents: int
    shadows: tuple[ShadowStatus, ...] = ()
