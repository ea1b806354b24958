"""The repository of documents, for a :class:`sqlalchemy.orm.Session`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from pgcorpus import vectors
from pgcorpus.models import Collection, Document, Metric, parse_metric
from pgcorpus.models.collection import DEFAULT_LANGUAGE, DEFAULT_TENANT
from pgcorpus.repositories.collections import Collections
from pgcorpus.repositories.filters import Where
from pgcorpus.repositories.hits import DocumentView, Figures, HybridHit, Page, SampledKey, TextHit
from pgcorpus.repositories.scope import Reference, Scope
from pgcorpus.repositories.search import listing
from pgcorpus.repositories.search.requests import LARGEST_ID, Request, check_range, check_text
from pgcorpus.repositories.search.searcher import Scoped
from pgcorpus.repositories.search.textual import DEFAULT_RRF_K, DEFAULT_WEIGHTS, Fusion, TextSearcher
from pgcorpus.repositories.target import SCOPE, SEEN, SEEN_COLUMNS, SEEN_SEPARATOR, make_target
from pgcorpus.repositories.vector import MAX_PAGE, VectorRepository
from pgcorpus.repositories.writing.drafts import DocumentLike, Draft, check_name
from pgcorpus.repositories.writing.index_policy import IndexPolicy
from pgcorpus.repositories.writing.loading import Progress
from pgcorpus.repositories.writing.sync import SyncReport
from pgcorpus.repositories.writing.syncing import SyncPlan
from pgcorpus.repositories.writing.upserting import UpsertReport
from pgcorpus.repositories.writing.writer import DocumentWriter

MAX_SAMPLE = 100_000


class DocumentRepository(VectorRepository[Any]):
    """Documents of one collection.

    It works inside the session's transaction, flushes and never commits.

    Args:
        session: Any session on PostgreSQL, the host's own included.
        collection: The collection's name; the collection is made on first write.
        tenant: Whose collection; one tenant never sees another's.
        embedding_model: The model of the vectors given. With it, a collection of another model is refused.
        model: The mapped document class.
        column: The attribute of its vector column; not needed where there is one only.
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
        column: str | None = None,
        metric: Metric | str = Metric.COSINE,
        language: str = DEFAULT_LANGUAGE,
    ) -> None:
        check_name(collection, "the collection's name")
        check_name(tenant, "the tenant's name")
        self._bind(session, make_target(model, column, scoped=True))
        self._scope = Scope(collection, tenant, embedding_model, model, parse_metric(metric), language)
        self._collections = Collections(session, self._scope)
        self._writer = DocumentWriter(session, self._scope)
        self._texts = TextSearcher(session, self._target)
        self._names = (collection, tenant)

    # Collections

    def collection(self) -> Collection:
        """Return the collection.

        Raises:
            CollectionNotFoundError: Nothing was written to it yet.
            EmbeddingModelMismatchError: It was embedded with another model.
        """
        return self._collections.get()

    def ensure_collection(self) -> Collection:
        """Return the collection, made if there is none, with its embedding model set.

        Raises:
            EmbeddingModelMismatchError: It was embedded with another model.
            DatabaseError: The session is in AUTOCOMMIT.
        """
        return self._collections.ensure()

    def collections(self) -> Sequence[Collection]:
        """Return the tenant's collections by name."""
        return self._collections.all()

    def _scoped(self, *, fresh: bool = False) -> Scoped:
        seen = self._collections.reference(fresh=fresh)
        return _scoped(self._scope.tenant, self._scope.collection, seen)

    def _scope_parameters(self) -> Mapping[str, Any]:
        return {SCOPE: self._collections.reference(fresh=True).id}

    # Searching by words

    def search_text(
        self,
        query: str,
        k: int = 10,
        *,
        where: Where | None = None,
        language: str | None = None,
        offset: int = 0,
        highlight: tuple[str, str] | None = ("**", "**"),
        timeout: float | None = None,
    ) -> Sequence[TextHit]:
        """Return the documents that match words, the best first.

        Args:
            query: In the form of web searches: ``vacuum -full "dead rows" or bloat`` (PostgreSQL documentation,
                ``websearch_to_tsquery``).
            k: Hits wanted.
            where: A filter.
            language: Of the query; the collection's by default.
            offset: Hits to skip.
            highlight: What stands before and after a matching word in the snippets; None for no snippets. A
                snippet is text of the document: escape it before it becomes HTML.
            timeout: Seconds after which the search is given up.

        Raises:
            CollectionNotFoundError: There is no such collection.
            FilterError: The filter cannot be understood.
            SearchError: A number is out of range, or the query cannot be sent.
            SearchTimeoutError: The timeout is over.
        """
        request = Request(k, offset=offset, timeout=timeout)
        return self._told(
            "text",
            request,
            where,
            lambda: self._answered(
                lambda scoped: self._texts.search_text(query, where, request, scoped, language, highlight)
            ),
        )

    def search_hybrid(
        self,
        text: str,
        vector: vectors.VectorLike,
        k: int = 10,
        *,
        weights: tuple[float, float] = DEFAULT_WEIGHTS,
        rrf_k: float = DEFAULT_RRF_K,
        where: Where | None = None,
        metric: Metric | str | None = None,
        language: str | None = None,
        candidates: int | None = None,
        offset: int = 0,
        ef_search: int | None = None,
        exact: bool = False,
        timeout: float | None = None,
        recall: float | None = None,
    ) -> Sequence[HybridHit]:
        """Return the best of a vector search and a search for any of a text's words, in one statement.

        Args:
            text: A question; a document with any of its words is a match, with more of them a better one.
            vector: The same question as a vector of shape (dimensions,).
            k: Hits wanted.
            weights: Of the vector's side and of the text's.
            rrf_k: The constant of reciprocal rank fusion, which adds ``weight / (rrf_k + rank)``.
            where: A filter for both sides.
            metric: The collection's by default.
            language: Of the text; the collection's by default.
            candidates: Rows taken from each side; by default 4 (k + offset), at least 40.
            offset: Hits to skip.
            ef_search: Candidates that HNSW keeps.
            exact: Compare the vector with every row.
            timeout: Seconds after which the search is given up.
            recall: Of the vector's side, 0 to 1, as in :meth:`search`.

        Raises:
            CollectionNotFoundError: There is no such collection.
            EmbeddingModelMismatchError: It was embedded with another model.
            FilterError: The filter cannot be understood.
            SearchError: A number is out of range, or the text cannot be sent.
            SearchTimeoutError: The timeout is over.
            VectorError: The vector has another length, or is zero or not finite.
        """
        parsed = None if metric is None else parse_metric(metric)
        request = Request(k, parsed, ef_search=ef_search, exact=exact, offset=offset, timeout=timeout, recall=recall)
        fusion = Fusion(weights, rrf_k, candidates)
        array = vectors.as_searchable(vector, self._target.dimensions)
        return self._told(
            "hybrid",
            request,
            where,
            lambda: self._answered(
                lambda scoped: self._texts.search_hybrid(text, array, where, request, scoped, fusion, language)
            ),
        )

    def snippets(
        self, text: str, ids: Sequence[int], *, highlight: tuple[str, str] = ("**", "**")
    ) -> Mapping[int, str]:
        """Return the best fragments of documents that were found, with any of a text's words highlighted.

        Args:
            text: The question; of a document with none of its words the snippet is its beginning.
            ids: The documents' ids.
            highlight: What stands before and after a word, as in :meth:`search_text`: escape before it becomes HTML.

        Raises:
            CollectionNotFoundError: There is no such collection.
            SearchError: The text cannot be sent, or an id is none.
        """
        return self._texts.snippets(text, ids, self._scoped(fresh=True), highlight)

    # Reading

    def get(self, document_id: int) -> Any | None:
        """Return the document of that id as a mapped object, or None.

        Raises:
            SearchError: It is no id.
        """
        check_range("a document's id", document_id, 1, LARGEST_ID)
        return self._entity(self._scope.model.id == document_id)

    def get_by_key(self, key: str) -> Any | None:
        """Return the document of that key as a mapped object, or None."""
        return self._entity(self._scope.model.key == key)

    def _entity(self, condition: ColumnElement[bool]) -> Any | None:
        statement = select(self._scope.model).where(*self._target.conditions(), condition)
        return self._session.scalars(statement, dict(self._scope_parameters())).one_or_none()

    def sources(self) -> Sequence[str]:
        """Return the names of the sources, sorted."""
        return self._session.scalars(listing.source_names(self._target), dict(self._scope_parameters())).all()

    def passages(
        self,
        source: str,
        *,
        limit: int = 100,
        after: Sequence[int | None] | None = None,
        before: Sequence[int | None] | None = None,
    ) -> Page[DocumentView]:
        """Return a page of a source's passages in reading order: by position, those without one last.

        Args:
            source: The source's name.
            limit: Passages of a page, at most 10,000.
            after: The ``next`` of the page before, or position and id of a passage to go on behind.
            before: Position and id of a passage: the page ends before it, and its ``next`` is the ``before`` of the
                page that comes before this one.

        Raises:
            CollectionNotFoundError: There is no such collection.
            SearchError: A number is out of range, or the source is no text that can be sent.
        """
        check_text("the source", source)
        check_range("limit", limit, 1, MAX_PAGE)
        statement = listing.passages(self._target, source, limit, after, before)
        rows: Any = self._session.execute(statement, dict(self._scope_parameters())).all()
        found = [DocumentView(*row) for row in rows]
        following = (found[-1].position, found[-1].id) if len(found) == limit else None
        return Page(tuple(found if before is None else found[::-1]), following)

    def fields(self, sample: int = 1_000, *, limit: int = 100) -> Sequence[SampledKey]:
        """Return the keys that the metadata of some documents has, the commonest first.

        Args:
            sample: Documents to look at, at most 100,000: the first that the server comes across.
            limit: Keys wanted, at most 10,000.

        Raises:
            CollectionNotFoundError: There is no such collection.
            SearchError: A number is out of range.
        """
        check_range("sample", sample, 1, MAX_SAMPLE)
        check_range("limit", limit, 1, MAX_PAGE)
        statement = listing.sampled_keys(self._target, sample, limit)
        rows: Any = self._session.execute(statement, dict(self._scope_parameters()))
        return [SampledKey(*row) for row in rows]

    def figures(self) -> Figures:
        """Return how many documents, embeddings and sources there are, and the size of the contents; a full scan.

        Raises:
            CollectionNotFoundError: There is no such collection.
        """
        row: Any = self._session.execute(listing.figures(self._target), dict(self._scope_parameters())).one()
        return Figures(*map(int, row))

    def _as_key(self, key: Any, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
        """A document's id stands for the key: its collection is the repository's."""
        check_range("a document's id", key, 1, LARGEST_ID)
        return (parameters[SCOPE], key)

    def _as_next(self, key: tuple[Any, ...]) -> Any:
        return key[-1]

    # Writing

    def add(self, document: DocumentLike) -> Any:
        """Add one document, flush, and return it as a mapped object with its id.

        Args:
            document: An instance of the model, a :class:`Draft` or a mapping of attribute names. One without a key
                gets a random one; one without a language the collection's.

        Raises:
            EmbeddingModelMismatchError: The collection was embedded with another model.
            DatabaseError: The session is in AUTOCOMMIT.
            DocumentError: It cannot be stored, or its key is stored already.
            VectorError: Its embedding cannot be stored.
        """
        return self._writer.add(document)

    def add_many(self, documents: Iterable[DocumentLike]) -> Sequence[Any]:
        """Add documents, flush, and return them as mapped objects with their ids; all or none.

        Args:
            documents: As in :meth:`add`.

        Raises:
            DocumentError: One cannot be stored, or its key is stored already; the message names its position.
            VectorError: An embedding cannot be stored; and otherwise as :meth:`add`.
        """
        return self._writer.add_many(documents)

    def upsert(self, documents: Iterable[DocumentLike]) -> UpsertReport:
        """Insert the documents whose keys are new, and update those that are stored and differ; all or none.

        A document without an embedding keeps the stored one if its content is the same, and else waits for one.
        A source or position that is None, and attributes of your own model that are not given, stay as stored;
        metadata is replaced. What does not differ is not written. Two that upsert the same keys take turns.

        Args:
            documents: As in :meth:`add`, each with a key; they are held in memory.

        Raises:
            DocumentError: One cannot be stored, has no key, or that of another; the message names its position.
            VectorError: An embedding cannot be stored; and otherwise as :meth:`add`.
        """
        return self._writer.upsert(documents)

    def bulk_load(
        self,
        documents: Iterable[DocumentLike],
        *,
        index: IndexPolicy | str = IndexPolicy.AUTO,
        source: str | None = None,
        progress: Progress | None = None,
        expected: int | None = None,
    ) -> int:
        """Load new documents in bounded memory, by binary COPY on psycopg 3, and return how many there were.

        Args:
            documents: As in :meth:`add`; taken one by one, from a generator, say, that must not use the session.
            index: ``auto`` drops the vector indexes, loads and rebuilds them once, where the table is empty or
                mostly new, this role owns it, and nobody uses it; ``keep`` never drops; ``defer`` drops the model's
                own and leaves the rebuilding to you. All of it is part of the transaction.
            source: The source of documents that name none.
            progress: Called with the number of documents so far, after every 1,000 and at the end.
            expected: How many there will be, where ``documents`` has no length.

        Raises:
            DefinitionError: There is no such policy.
            DocumentError: One cannot be stored, or its key is stored already or was loaded before; the message
                names its position.
            VectorError: An embedding cannot be stored; and otherwise as :meth:`add`.
        """
        return self._writer.bulk_load(documents, index=index, source=source, progress=progress, expected=expected)

    def plan_sources(self, sources: Mapping[str, Sequence[Draft]]) -> SyncPlan:
        """Return what :meth:`sync_sources` would do and which embeddings it needs; nothing is written.

        Args:
            sources: Of each source, all its documents in order.

        Raises:
            EmbeddingModelMismatchError: The collection was embedded with another model.
            DocumentError: A draft cannot be stored.
        """
        return self._writer.plan_sources(sources)

    def sync_source(self, source: str, documents: Iterable[DocumentLike]) -> SyncReport:
        """Make a source consist of these documents: add, update, and delete what vanished.

        What did not change is not written again. Of content that is stored and embedded already, the stored
        embedding stays, whatever the document gives; :meth:`upsert` takes a new one. Two that write the same source
        take turns until their transactions end.

        Args:
            source: Its name.
            documents: As in :meth:`add`, all of the source in order, each with a key. An embedding may be left out
                where the stored document has the same content.

        Raises:
            DocumentError: One cannot be stored, or has no key, or that of another source's document; the message names
                its position.
            VectorError: One that is new or changed has no embedding, or one that cannot be stored.
        """
        return self._writer.sync_source(source, documents)

    def sync_sources(self, sources: Mapping[str, Sequence[Draft]]) -> SyncReport:
        """Do what :meth:`sync_source` does, for several sources.

        Who calls it several times in one transaction does so in one order of the sources, as with any lock.

        Args:
            sources: At most 1,000; of each, all its documents in order.

        Raises:
            EmbeddingModelMismatchError: The collection was embedded with another model.
            DatabaseError: The session is in AUTOCOMMIT.
            DocumentError: A draft cannot be stored, or its key is that of another source's document.
            VectorError: A draft that is new or changed has no embedding, or one that cannot be stored.
        """
        return self._writer.sync_sources(sources)

    def delete(self, where: Where | None = None, *, everything: bool = False) -> int:
        """Delete the documents that a filter finds, and return how many there were.

        Args:
            where: A filter. One that says nothing about a document is refused.
            everything: Instead of a filter: delete all documents of the collection.

        Raises:
            CollectionNotFoundError: There is no such collection.
            FilterError: The filter cannot be understood, or would delete everything.
        """
        return self._writer.delete(where, everything=everything)

    def delete_sources(self, sources: Sequence[str]) -> int:
        """Delete all documents of the sources, in one statement, and return how many there were."""
        return self._writer.delete_sources(sources)

    def update_meta(self, where: Where | None, changes: Mapping[str, Any], *, remove: Iterable[str] = ()) -> int:
        """Change the metadata of the documents that a filter finds, and return how many differ now.

        Args:
            where: A filter; None for all documents of the collection.
            changes: New values by key. Keys of the first level only: an object in the metadata is replaced whole.
            remove: Keys to drop.

        Raises:
            CollectionNotFoundError: There is no such collection.
            DocumentError: The changes cannot be stored.
            FilterError: The filter cannot be understood.
        """
        return self._writer.update_meta(where, changes, remove=remove)


@lru_cache(maxsize=1_000)
def _scoped(tenant: str, name: str, seen: Reference) -> Scoped:
    """Return the scope of a collection as it was seen."""
    known = {"tenant_id": tenant, "name": name, **seen._asdict()}
    text = SEEN_SEPARATOR.join(known[column] or "" for column in SEEN_COLUMNS)
    return Scoped({SCOPE: seen.id, SEEN: text}, Metric(seen.distance), seen.language)
