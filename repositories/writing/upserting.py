"""Documents written by key: inserted where they are new, updated where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from pgcorpus.models import Collection, content_hash
from pgcorpus.repositories.writing.drafts import Draft
from pgcorpus.repositories.writing.inserting import insert_rows
from pgcorpus.repositories.writing.rows import RowMaker
from pgcorpus.repositories.writing.statements import upserted


@dataclass(frozen=True, slots=True)
class UpsertReport:
    """How many documents an upsert inserted, updated, and left as they were."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: UpsertReport) -> UpsertReport:
        return UpsertReport(
            self.inserted + other.inserted, self.updated + other.updated, self.unchanged + other.unchanged
        )


def upsert_drafts(
    connection: Connection, model: type[Any], collection: Collection, drafts: Sequence[Draft]
) -> UpsertReport:
    """Write drafts in key order, so that two writers never wait for each other in a circle.

    Args:
        connection: In a savepoint or transaction.
        model: The mapped document class.
        collection: Theirs.
        drafts: Checked; each with a key of its own.
    """
    maker = RowMaker(model, checked=True, noun="document")
    made = zip(drafts, maker.rows(values_of(draft, collection) for draft in drafts), strict=True)
    rows = [row for _, row in sorted(made, key=lambda pair: pair[0].key)]
    inserted = updated = 0
    for _, returned in insert_rows(connection, rows, upserted):
        new = sum(row.version == 1 for row in returned)
        inserted, updated = inserted + new, updated + len(returned) - new
    return UpsertReport(inserted, updated, len(drafts) - inserted - updated)


def values_of(draft: Draft, collection: Collection, source: str | None = None) -> dict[str, Any]:
    """Return a draft as a mapping of the model's attributes.

    Args:
        draft: Checked; without a key it takes the model's default.
        collection: Its language is that of drafts that name none.
        source: The source of a draft that names none.
    """
    values = {
        "collection_id": collection.id,
        "content": draft.content,
        "content_hash": content_hash(draft.content),
        "source": source if draft.source is None else draft.source,
        "position": draft.position,
        "meta": draft.meta if type(draft.meta) is dict else dict(draft.meta),
        "embedding": draft.embedding,
        "language": draft.language or collection.language,
    }
    if draft.key:
        values["key"] = draft.key
    return values | dict(draft.fields) if draft.fields else values
