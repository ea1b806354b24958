"""What a source's new version changes in the database: a pure comparison."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pgcorpus.models import content_hash
from pgcorpus.models.collection import DEFAULT_LANGUAGE
from pgcorpus.repositories.values import same_json
from pgcorpus.repositories.writing.drafts import MAX_NAME_BYTES, Draft, check_draft, check_keys, check_name
from pgcorpus.repositories.writing.positions import assign_positions

__all__ = ["MAX_NAME_BYTES", "Changes", "Draft", "Stored", "SyncReport", "check_drafts", "check_name", "compare"]


class Stored(NamedTuple):
    """What the database has of a document, as far as a comparison needs it."""

    source: str
    key: str
    content_hash: bytes | None
    position: int | None
    meta: dict[str, Any]
    language: str
    embedded: bool


@dataclass(frozen=True, slots=True)
class SyncReport:
    """How many documents a write added, updated, left as they were, and deleted."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0

    def __add__(self, other: SyncReport) -> SyncReport:
        return SyncReport(
            self.added + other.added,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.deleted + other.deleted,
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """The writes that bring one source to its new version.

    Attributes:
        inserts: New documents with their positions.
        rewrites: Documents whose content changed.
        touches: Documents whose metadata, position or further columns changed, or may have.
        deletes: Keys of documents that vanished.
        unchanged: How many are as they were.
    """

    inserts: list[tuple[Draft, int]]
    rewrites: list[tuple[Draft, int]]
    touches: list[tuple[Draft, int]]
    deletes: list[str]
    unchanged: int

    def needing_embedding(self) -> list[Draft]:
        """Return the drafts whose embedding is not in the database yet."""
        return [draft for draft, _ in [*self.inserts, *self.rewrites]]


def compare(drafts: Sequence[Draft], stored: Iterable[Stored], language: str = DEFAULT_LANGUAGE) -> Changes:
    """Return what has to be written for a source to become these drafts, in this order.

    Args:
        drafts: All documents of the source.
        stored: What the database has of it.
        language: Of drafts that name none.

    Raises:
        DocumentError: Two drafts have one key, or a draft cannot be stored; the message names the position.
    """
    check_drafts(drafts)
    drafts = [draft if draft.language else replace(draft, language=language) for draft in drafts]
    present = {row.key: row for row in stored}
    positions = assign_positions([row.position if (row := present.get(d.key)) else None for d in drafts])
    changes = Changes([], [], [], sorted(present.keys() - {draft.key for draft in drafts}), 0)
    unchanged = 0
    for draft, position in zip(drafts, positions, strict=True):
        target = _kind_of_change(draft, position, present.get(draft.key), changes)
        if target is None:
            unchanged += 1
        else:
            target.append((draft, position))
    return Changes(changes.inserts, changes.rewrites, changes.touches, changes.deletes, unchanged)


def _kind_of_change(
    draft: Draft, position: int, row: Stored | None, changes: Changes
) -> list[tuple[Draft, int]] | None:
    if row is None:
        return changes.inserts
    if row.content_hash != content_hash(draft.content) or not row.embedded:
        return changes.rewrites
    same = row.position == position and row.language == draft.language and same_json(row.meta, dict(draft.meta))
    # Whether further columns differ is for the server to say: it writes only what does.
    return None if same and not draft.fields else changes.touches


def check_drafts(drafts: Sequence[Draft]) -> None:
    """Pass if every draft can be stored under a key of its own.

    Raises:
        DocumentError: A draft has no content or key, text or metadata that PostgreSQL cannot hold, a name that is
            too long, or the key of another; the message names its position.
    """
    for position, draft in enumerate(drafts):
        check_draft(draft, f"document {position}")
    check_keys(drafts, needed=True)
