"""Sources brought in step: what is stored of them is compared, and what differs is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
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

# Updates at a time.
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a sync of sources would do.

    Attributes:
        needed: Of each source, the places in its list of the documents whose embedding is not stored yet.
        report: What would be written.
    """

    needed: Mapping[str, Sequence[int]]
    report: SyncReport


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

    def plan(self, sources: Mapping[str, Sequence[Draft]]) -> SyncPlan:
        """Return what a write would do, and which drafts' embeddings are not stored yet."""
        _check_sources(sources)
        found = self._collections.find()
        stored = self._stored(self._scope.checked(found), sources) if found else {}
        language = found.language if found else self._scope.language
        changes = {source: compare(drafts, stored.get(source, ()), language) for source, drafts in sources.items()}
        needed = {source: change.needing_embedding() for source, change in changes.items()}
        return SyncPlan(needed, sum((change.report() for change in changes.values()), SyncReport()))

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
        return self._write_changes(collection, sources, changes)

    def _write_changes(
        self, collection: Collection, sources: Mapping[str, Sequence[Draft]], changes: Mapping[str, Changes]
    ) -> SyncReport:
        def in_key_order(kind: str) -> Iterator[Draft]:
            # Two writers then never wait in a circle; and no more of them is in memory than is being sent.
            found = [
                (change.keys[place], source, place)
                for source, change in changes.items()
                for place in getattr(change, kind)
            ]
            for _, source, place in sorted(found):
                yield replace(sources[source][place], source=source, position=changes[source].positions[place])

        self._insert(collection, in_key_order("inserts"))
        done = self._update(collection, in_key_order("rewrites"))
        done += self._update(collection, (replace(each, embedding=None) for each in in_key_order("touches")))
        foreseen = sum((change.report() for change in changes.values()), SyncReport())
        # Of the touches the server knows which ones differ.
        return replace(
            foreseen,
            added=foreseen.added + done.inserted,
            updated=done.updated,
            unchanged=foreseen.unchanged + done.unchanged,
        )

    def _stored(self, collection: Collection, sources: Mapping[str, Any]) -> dict[str, list[Stored]]:
        rows = self._session.execute(statements.stored_of_sources(self._scope.model, collection.id, list(sources)))
        by_source: dict[str, list[Stored]] = {}
        for row in rows:
            by_source.setdefault(row.source, []).append(Stored(*row))
        return by_source

    def _check_embeddings(self, change: Changes, drafts: Sequence[Draft]) -> None:
        for place in change.needing_embedding():
            draft = drafts[place]
            name = f"document {place}, {draft.key!r}"
            if draft.embedding is None:
                raise VectorError(f"{name} is new or changed and has no embedding")
            checked_vector(draft.embedding, self._scope.dimensions, name)

    def _delete_keys(self, collection_id: int, keys: Sequence[str]) -> None:
        if keys:
            self._session.execute(statements.delete_keys(self._scope.model, collection_id, sorted(keys)))

    def _insert(self, collection: Collection, drafts: Iterable[Draft]) -> None:
        maker = RowMaker(self._scope.model, checked=True, noun="document")
        rows = maker.rows(values_of(draft, collection) for draft in drafts)
        for _ in insert_rows(self._connection, rows):
            pass

    def _update(self, collection: Collection, drafts: Iterator[Draft]) -> UpsertReport:
        done = UpsertReport()
        while page := list(islice(drafts, _PAGE)):
            done += upsert_drafts(self._connection, self._scope.model, collection, page)
        return done

    @property
    def _connection(self) -> Connection:
        return connection_of(self._session, self._scope.model)


def _check_sources(sources: Mapping[str, Sequence[Draft]]) -> None:
    for source, drafts in sources.items():
        check_name(source, f"the source's name {str(source)[:60]!r}")
        for position, draft in enumerate(drafts):
            if draft.source not in (None, source):
                raise DocumentError(f"document {position}: its source is {draft.source!r}, not {source!r}")
    if len(sources) > statements.MAX_SOURCES:
        raise DocumentError(f"{len(sources):,} sources at once: at most {statements.MAX_SOURCES:,}")
