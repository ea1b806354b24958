"""The repository of documents, for a :class:`sqlalchemy.orm.Session`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, CursorResult
from sqlalchemy.orm import Session

from pgcorpus import vectors
from pgcorpus.errors import DocumentError, SearchError, VectorError
from pgcorpus.models import Collection, Document, Metric, content_hash, parse_metric
from pgcorpus.models.collection import DEFAULT_LANGUAGE, DEFAULT_TENANT
from pgcorpus.repositories import statements
from pgcorpus.repositories.filters import Where, compile_filter
from pgcorpus.repositories.hits import Hit, to_hits
from pgcorpus.repositories.scope import Scope
from pgcorpus.repositories.settings import local_settings, require_transaction
from pgcorpus.repositories.statements import Nearest
from pgcorpus.repositories.sync import Changes, Draft, Stored, SyncReport, check_name, compare
from pgcorpus.repositories.writing import insert_drafts


class DocumentRepository:
    """Documents of one collection.

    It works inside the session's transaction, flushes and never commits.

    Args:
        session: Any session on PostgreSQL, the host's own included.
        collection: The collection's name; the collection is made on first write.
        tenant: Whose collection; one tenant never sees another's.
        embedding_model: The model of the vectors given. With it, a collection of another model is refused.
        model: The mapped document class.
        metric: The metric of a collection that is made here.
        language: The full-text language of a collection that is made here.
    """

    def __init__(
        self,
        session: Session,
        collection: str = "default",
        tenant: str = DEFAULT_TENANT,
        *,
        embedding_model: str | None = None,
        model: type[Any] = Document,
        metric: Metric | str = Metric.COSINE,
        language: str = DEFAULT_LANGUAGE,
    ) -> None:
        check_name(collection, "the collection's name")
        check_name(tenant, "the tenant's name")
        self._session = session
        self._scope = Scope(collection, tenant, embedding_model, model, parse_metric(metric), language)

    # Collections

    def collection(self) -> Collection:
        """Return the collection.

        Raises:
            CollectionNotFoundError: Nothing was written to it yet.
            EmbeddingModelMismatchError: It was embedded with another model.
        """
        return self._scope.checked(self._find_collection())

    def ensure_collection(self) -> Collection:
        """Return the collection, made if there is none, with its embedding model set.

        Raises:
            EmbeddingModelMismatchError: It was embedded with another model.
            DatabaseError: The session is in AUTOCOMMIT.
        """
        require_transaction(self._session.connection())
        scope = self._scope
        if (found := self._find_collection()) is None:
            self._session.execute(
                statements.new_collection(
                    scope.tenant, scope.collection, scope.embedding_model, scope.metric, scope.language
                )
            )
            found = self._find_collection()
        collection = scope.checked(found)
        if scope.embedding_model and collection.embedding_model is None:
            self._session.execute(statements.claim_model(collection.id, scope.embedding_model))
            self._session.refresh(collection)
        return scope.checked(collection)

    def collections(self) -> Sequence[Collection]:
        """Return the tenant's collections by name."""
        return self._session.scalars(statements.collections_of(self._scope.tenant)).all()

    def _find_collection(self) -> Collection | None:
        return self._session.scalars(
            statements.collection_named(self._scope.tenant, self._scope.collection)
        ).one_or_none()

    # Reading

    def search(
        self,
        vector: vectors.VectorLike,
        k: int = 10,
        *,
        where: Where | None = None,
        metric: Metric | str | None = None,
        ef_search: int | None = None,
        exact: bool = False,
        offset: int = 0,
    ) -> list[Hit]:
        """Return the ``k`` nearest documents, nearest first.

        A filtered search returns ``min(k, matches)`` hits: where the index scan gave up early, an exact one
        completes the answer. Documents without an embedding are no matches.

        Args:
            vector: Query vector of shape (dimensions,).
            k: Hits wanted, at least 1.
            where: A filter; see :mod:`pgcorpus.repositories.filters`.
            metric: The collection's by default. One that no index serves is answered exactly, by a full scan.
            ef_search: Candidates HNSW keeps, 1 to 1,000 (pgvector README, "HNSW"); by default 160 or 2 k.
            exact: Compare with every row rather than ask the index.
            offset: Hits to skip.

        Raises:
            CollectionNotFoundError: There is no such collection.
            EmbeddingModelMismatchError: It was embedded with another model.
            FilterError: The filter cannot be understood.
            SearchError: ``k``, ``offset`` or ``ef_search`` is out of range.
            VectorError: The vector has another length, or is zero or not finite.
        """
        settings = statements.search_settings(ef_search, k + offset)
        collection = self.collection()
        search = self._nearest(vector, k, where, metric or collection.distance, exact, offset)
        connection = self._session.connection()
        with local_settings(connection, settings):
            rows = self._nearest_rows(connection, collection.id, search)
            if len(rows) < k and not exact:
                rows = self._nearest_rows(connection, collection.id, replace(search, exact=True))
        return to_hits(rows, search.metric)

    def _nearest(
        self,
        vector: vectors.VectorLike,
        k: int,
        where: Where | None,
        metric: Metric | str,
        exact: bool,
        offset: int,
    ) -> Nearest:
        if k < 1 or offset < 0:
            raise SearchError(f"a search wants k >= 1 and offset >= 0, not k = {k} and offset = {offset}")
        array = vectors.as_searchable(vector, self._scope.dimensions)
        condition = compile_filter(where, self._scope.model)
        return Nearest(array, k, offset, parse_metric(metric), condition, exact)

    def _nearest_rows(self, connection: Connection, collection_id: int, search: Nearest) -> Sequence[Any]:
        return connection.execute(statements.nearest(self._scope.model, [collection_id], search)).all()

    def get(self, document_id: int) -> Any | None:
        """Return the document of that id, or None."""
        return self._session.scalars(
            statements.by_id(self._scope.model, [self.collection().id], document_id)
        ).one_or_none()

    def get_by_key(self, key: str) -> Any | None:
        """Return the document of that key, or None."""
        return self._session.scalars(statements.by_key(self._scope.model, [self.collection().id], key)).one_or_none()

    def count(self, where: Where | None = None) -> int:
        """Return how many documents there are, or match a filter."""
        condition = compile_filter(where, self._scope.model)
        statement = statements.count(self._scope.model, [self.collection().id], condition)
        count: int = self._session.execute(statement).scalar_one()
        return count

    def sources(self) -> Sequence[str]:
        """Return the names of the sources, sorted."""
        return self._session.scalars(statements.source_names(self._scope.model, [self.collection().id])).all()

    # Writing

    def add(self, document: Any) -> Any:
        """Add one document and flush, so that it has its id.

        Args:
            document: A new instance of the repository's model; its ``collection_id`` is set here.

        Raises:
            EmbeddingModelMismatchError: The collection was embedded with another model.
            VectorError: Its embedding cannot be stored.
        """
        return self.add_many([document])[0]

    def add_many(self, documents: Sequence[Any]) -> Sequence[Any]:
        """Add documents and flush, so that they have their ids; all or none."""
        collection = self.ensure_collection()
        for document in documents:
            document.collection_id = collection.id
        self._session.add_all(documents)
        self._session.flush()
        return documents

    def plan_sources(self, sources: Mapping[str, Sequence[Draft]]) -> list[Draft]:
        """Return the drafts whose embedding is not stored yet; nothing is written.

        Args:
            sources: Of each source, all its documents in order.

        Raises:
            EmbeddingModelMismatchError: The collection was embedded with another model.
            DocumentError: A draft cannot be stored.
        """
        _check_sources(sources)
        found = self._find_collection()
        stored = self._stored(self._scope.checked(found), sources) if found else {}
        language = found.language if found else self._scope.language
        changes = [compare(drafts, stored.get(source, ()), language) for source, drafts in sources.items()]
        return [draft for change in changes for draft in change.needing_embedding()]

    def sync_sources(self, sources: Mapping[str, Sequence[Draft]]) -> SyncReport:
        """Make the sources consist of these documents: add, update, and delete what vanished.

        What did not change is not written again, and keeps its embedding. Two that write the same source take
        turns until their transactions end; who calls this several times in one transaction does so in one order of
        the sources, as with any lock.

        Args:
            sources: At most 1,000; of each, all its documents in order. An embedding may be left out where the
                stored document has the same content.

        Raises:
            EmbeddingModelMismatchError: The collection was embedded with another model.
            DatabaseError: The session is in AUTOCOMMIT.
            DocumentError: A draft cannot be stored.
            VectorError: A draft that is new or changed has no embedding, or one that cannot be stored.
        """
        _check_sources(sources)
        collection = self.ensure_collection()
        self._session.execute(statements.lock_sources(collection.id, list(sources)))
        stored = self._stored(collection, sources)
        changes = {
            source: compare(drafts, stored.get(source, ()), collection.language) for source, drafts in sources.items()
        }
        for change in changes.values():
            self._check_embeddings(change)
        # Of all sources first: a document may have moved from one to another.
        self._delete_keys(collection.id, [key for change in changes.values() for key in change.deletes])
        for source, change in changes.items():
            self._write(collection.id, source, change)
        return sum((change.report for change in changes.values()), SyncReport())

    def delete_sources(self, sources: Sequence[str]) -> int:
        """Delete all documents of the sources and return how many there were."""
        statement = statements.delete_sources(self._scope.model, [self.collection().id], sources)
        result = self._session.execute(statement)
        assert isinstance(result, CursorResult)  # noqa: S101 -- what a DELETE returns
        return result.rowcount

    def _stored(self, collection: Collection, sources: Mapping[str, Any]) -> dict[str, list[Stored]]:
        rows = self._session.execute(statements.stored_of_sources(self._scope.model, [collection.id], list(sources)))
        by_source: dict[str, list[Stored]] = {}
        for row in rows:
            by_source.setdefault(row.source, []).append(Stored(*row))
        return by_source

    def _check_embeddings(self, change: Changes) -> None:
        for draft in change.needing_embedding():
            if draft.embedding is None:
                raise VectorError(f"the document {draft.key!r} is new or changed and has no embedding")
            try:
                vectors.as_searchable(draft.embedding, self._scope.dimensions)
            except VectorError as exc:
                raise VectorError(f"the document {draft.key!r}: {exc}") from exc

    def _delete_keys(self, collection_id: int, keys: Sequence[str]) -> None:
        if keys:
            self._session.execute(statements.delete_keys(self._scope.model, [collection_id], sorted(keys)))

    def _write(self, collection_id: int, source: str, change: Changes) -> None:
        model = self._scope.model
        if change.inserts:
            inserts = sorted(change.inserts, key=_key)
            insert_drafts(self._session.connection(), model.__table__, collection_id, source, inserts)
        for drafts, with_content in ((change.rewrites, True), (change.touches, False)):
            if drafts:
                parameters = [
                    _parameters(collection_id, draft, position) for draft, position in sorted(drafts, key=_key)
                ]
                self._session.connection().execute(statements.rewrite(model, with_content=with_content), parameters)


def _check_sources(sources: Mapping[str, Any]) -> None:
    for source in sources:
        check_name(source, f"the source's name {source[:60]!r}")
    if len(sources) > statements.MAX_SOURCES:
        raise DocumentError(f"{len(sources):,} sources at once: at most {statements.MAX_SOURCES:,}")


def _key(item: tuple[Draft, int]) -> str:
    """Writing in key order keeps two writers from waiting for each other."""
    return item[0].key


def _parameters(collection_id: int, draft: Draft, position: int) -> dict[str, Any]:
    return {
        "b_collection_id": collection_id,
        "b_key": draft.key,
        "b_content": draft.content,
        "b_content_hash": content_hash(draft.content),
        "b_embedding": draft.embedding,
        "b_metadata": dict(draft.meta),
        "b_position": position,
        "b_language": draft.language,
    }
