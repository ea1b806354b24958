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
    """The writes that bring one source to its new version: places in its list of drafts, which may be on disk.

    Attributes:
        inserts: New documents.
        rewrites: Documents whose content changed, or that wait for their embedding.
        touches: Documents whose metadata, position or further columns changed, or may have.
        deletes: Keys of documents that vanished.
        unchanged: How many are as they were.
        positions: Of every draft, the position it is to have.
        keys: Of every draft, its key.
    """

    inserts: list[int]
    rewrites: list[int]
    touches: list[int]
    deletes: list[str]
    unchanged: int
    positions: list[int]
    keys: list[str]

    def needing_embedding(self) -> list[int]:
        """Return the places of the drafts whose embedding is not in the database yet."""
        return [*self.inserts, *self.rewrites]

    def report(self) -> SyncReport:
        """Return what the writes amount to."""
        updated = len(self.rewrites) + len(self.touches)
        return SyncReport(len(self.inserts), updated, self.unchanged, len(self.deletes))


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
    present = {row.key: row for row in stored}
    keys = [draft.key for draft in drafts]
    positions = assign_positions([row.position if (row := present.get(key)) else None for key in keys])
    changes = Changes([], [], [], sorted(present.keys() - set(keys)), 0, positions, keys)
    for place, draft in enumerate(drafts):
        target = _kind_of_change(draft, positions[place], language, present.get(draft.key), changes)
        if target is not None:
            target.append(place)
    return replace(changes, unchanged=len(keys) - len(changes.needing_embedding()) - len(changes.touches))


def _kind_of_change(
    draft: Draft, position: int, language: str, row: Stored | None, changes: Changes
) -> list[int] | None:
    if row is None:
        return changes.inserts
    if row.content_hash != content_hash(draft.content) or not row.embedded:
        return changes.rewrites
    same_language = row.language == (draft.language or language)
    same = row.position == position and same_language and same_json(row.meta, dict(draft.meta))
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
