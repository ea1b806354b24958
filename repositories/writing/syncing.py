"""Sources brought in step: what is stored of them is compared, and what differs is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from pgcorpus.errors import DocumentError, VectorError
from pgcorpus.models import Collection
from pgcorpus.repositories.collections import Collections
from pgcorpus.repositories.scope import Scope
from pgcorpus.repositories.transactions import connection_of
from pgcorpus.repositories.writing import statements
from pgcorpus.repositories.writing.drafts import Draft, check_name, checked_vector
from pgcorpus.repositories.writing.inserting import insert_rows
from pgcorpus.repositories.writing.refusals import as_document_errors
from pgcorpus.repositories.writing.rows import RowMaker
from pgcorpus.repositories.writing.sync import Changes, Stored, SyncReport, compare
from pgcorpus.repositories.writing.upserting import UpsertReport, upsert_drafts, values_of

_KEY_ELSEWHERE = "A key of another source's document is free once that is deleted, or its source synced without it."


class SourceSync:
    """Plans and writes new versions of sources.

    Args:
        session: The repository's session.
        scope: The collection and the model.
        collections: Of the same scope.
    """

    def __init__(self, session: Session, scope: Scope, collections: Collections) -> None:
        self._session = session
        self._scope = scope
        self._collections = collections

    def plan(self, sources: Mapping[str, Sequence[Draft]]) -> list[Draft]:
        """Return the drafts whose embedding is not stored yet."""
        _check_sources(sources)
        found = self._collections.find()
        stored = self._stored(self._scope.checked(found), sources) if found else {}
        language = found.language if found else self._scope.language
        changes = [compare(drafts, stored.get(source, ()), language) for source, drafts in sources.items()]
        return [draft for change in changes for draft in change.needing_embedding()]

    def write(self, sources: Mapping[str, Sequence[Draft]]) -> SyncReport:
        """Make the sources consist of these drafts; all or none.

        Of content that is stored and embedded already, the stored embedding stays, whatever the draft gives.
        """
        _check_sources(sources)
        collection = self._collections.ensure()
        with as_document_errors("document", _KEY_ELSEWHERE), self._session.begin_nested():
            return self._write_all(collection, sources)

    def _write_all(self, collection: Collection, sources: Mapping[str, Sequence[Draft]]) -> SyncReport:
        self._connection.execute(statements.lock_sources(collection.id, list(sources)))
        stored = self._stored(collection, sources)
        changes = {
            source: compare(drafts, stored.get(source, ()), collection.language) for source, drafts in sources.items()
        }
        for source, change in changes.items():
            self._check_embeddings(change, sources[source])
        # Of all sources first: a document may have moved from one to another.
        self._delete_keys(collection.id, [key for change in changes.values() for key in change.deletes])
        reports = [self._write(collection, source, change) for source, change in changes.items()]
        return sum(reports, SyncReport())

    def _stored(self, collection: Collection, sources: Mapping[str, Any]) -> dict[str, list[Stored]]:
        rows = self._session.execute(statements.stored_of_sources(self._scope.model, collection.id, list(sources)))
        by_source: dict[str, list[Stored]] = {}
        for row in rows:
            by_source.setdefault(row.source, []).append(Stored(*row))
        return by_source

    def _check_embeddings(self, change: Changes, drafts: Sequence[Draft]) -> None:
        positions = {draft.key: position for position, draft in enumerate(drafts)}
        for draft in change.needing_embedding():
            place = f"document {positions[draft.key]}, {draft.key!r}"
            if draft.embedding is None:
                raise VectorError(f"{place} is new or changed and has no embedding")
            checked_vector(draft.embedding, self._scope.dimensions, place)

    def _delete_keys(self, collection_id: int, keys: Sequence[str]) -> None:
        if keys:
            self._session.execute(statements.delete_keys(self._scope.model, collection_id, sorted(keys)))

    def _write(self, collection: Collection, source: str, change: Changes) -> SyncReport:
        self._insert(collection, [_placed(item, source) for item in change.inserts])
        updates = [_placed(item, source) for item in change.rewrites]
        updates += [replace(_placed(item, source), embedding=None) for item in change.touches]
        done = self._update(collection, updates)
        return SyncReport(
            len(change.inserts) + done.inserted, done.updated, change.unchanged + done.unchanged, len(change.deletes)
        )

    def _insert(self, collection: Collection, drafts: Iterable[Draft]) -> None:
        maker = RowMaker(self._scope.model, checked=True, noun="document")
        ordered = sorted(drafts, key=lambda draft: draft.key)  # so that two writers never wait in a circle
        rows = maker.rows(values_of(draft, collection) for draft in ordered)
        for _ in insert_rows(self._connection, rows):
            pass

    def _update(self, collection: Collection, drafts: Sequence[Draft]) -> UpsertReport:
        return upsert_drafts(self._connection, self._scope.model, collection, drafts)

    @property
    def _connection(self) -> Connection:
        return connection_of(self._session, self._scope.model)


def _placed(item: tuple[Draft, int], source: str) -> Draft:
    draft, position = item
    return replace(draft, source=source, position=position)


def _check_sources(sources: Mapping[str, Sequence[Draft]]) -> None:
    for source, drafts in sources.items():
        check_name(source, f"the source's name {str(source)[:60]!r}")
        for position, draft in enumerate(drafts):
            if draft.source not in (None, source):
                raise DocumentError(f"document {position}: its source is {draft.source!r}, not {source!r}")
    if len(sources) > statements.MAX_SOURCES:
        raise DocumentError(f"{len(sources):,} sources at once: at most {statements.MAX_SOURCES:,}")
