"""Writing documents: added, upserted, loaded, brought in step with a source, deleted; in the session's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import instance_dict

from pgcorpus.errors import DocumentError
from pgcorpus.repositories.collections import Collections
from pgcorpus.repositories.filters import Where, compile_filter
from pgcorpus.repositories.scope import Scope
from pgcorpus.repositories.transactions import connection_of, require_transaction
from pgcorpus.repositories.writing import statements
from pgcorpus.repositories.writing.adding import flush_new, forget_nones
from pgcorpus.repositories.writing.drafts import DocumentLike, Draft, Drafts, attributes_of, check_keys, check_name
from pgcorpus.repositories.writing.index_policy import IndexPolicy
from pgcorpus.repositories.writing.loading import Progress, load
from pgcorpus.repositories.writing.refusals import as_document_errors
from pgcorpus.repositories.writing.rows import RowMaker
from pgcorpus.repositories.writing.selection import checked_changes, limiting_condition
from pgcorpus.repositories.writing.sync import SyncReport
from pgcorpus.repositories.writing.syncing import SourceSync, SyncPlan
from pgcorpus.repositories.writing.telling import tells
from pgcorpus.repositories.writing.upserting import UpsertReport, upsert_drafts, values_of

_USE_UPSERT = "upsert() updates what is stored."


class DocumentWriter:
    """Writes to the collection of a scope, and makes it on first write.

    The methods are those of :class:`~pgcorpus.repositories.document.DocumentRepository`, where their arguments and
    errors are told.

    Documents are given as :class:`~pgcorpus.repositories.writing.drafts.Draft`, as unsaved instances of the model,
    or as mappings of its attributes' names. Every method writes all or nothing, and leaves the session usable.

    Args:
        session: The repository's session.
        scope: The collection, the tenant and the model.
    """

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope
        self._collections = Collections(session, scope)

    def add(self, document: DocumentLike) -> Any:
        """Add one document, flush, and return it as an instance of the model with its id."""
        return self.add_many([document])[0]

    @tells(len)
    def add_many(self, documents: Iterable[DocumentLike]) -> list[Any]:
        """Add documents, flush, and return them as instances of the model with their ids; all or none."""
        given = list(documents)
        drafts = self._drafts(given)
        check_keys(drafts, needed=False)
        instances = [self._instance(*pair) for pair in zip(given, drafts, strict=True)]
        if len({id(each) for each in instances}) < len(instances):
            raise DocumentError("one instance is given twice")
        require_transaction(self._connection)
        forget_nones(self._scope.model, (each for each in given if isinstance(each, self._scope.model)))
        with as_document_errors("document", _USE_UPSERT), self._session.begin_nested():
            collection = self._collections.ensure()
            for instance, draft in zip(instances, drafts, strict=True):
                instance.collection_id = collection.id
                instance.language = draft.language or collection.language
            flush_new(self._session, self._scope.model, instances)
        return instances

    @tells(lambda report: report.inserted + report.updated)
    def upsert(self, documents: Iterable[DocumentLike]) -> UpsertReport:
        """Insert the documents whose keys are new, and update those that are stored and differ; all or none."""
        drafts = self._drafts(documents)
        check_keys(drafts, needed=True)
        require_transaction(self._connection)
        with as_document_errors("document", "Another column of it is unique."), self._session.begin_nested():
            collection = self._collections.ensure()
            report = upsert_drafts(self._connection, self._scope.model, collection, drafts)
            if report.updated:
                self._refresh(collection.id, (draft.key for draft in drafts))
            return report

    @tells(int)
    def bulk_load(
        self,
        documents: Iterable[DocumentLike],
        *,
        index: IndexPolicy | str = IndexPolicy.AUTO,
        source: str | None = None,
        progress: Progress | None = None,
        expected: int | None = None,
    ) -> int:
        """Load new documents in bounded memory, by binary COPY on psycopg 3, and return how many there were."""
        model = self._scope.model
        if source is not None:
            check_name(source, "the source")
        if expected is None and isinstance(documents, Sized):
            expected = len(documents)
        require_transaction(self._connection)
        with self._session.begin_nested():
            collection = self._collections.ensure()
            values = (values_of(draft, collection, source) for draft in Drafts(model).of(documents))
            return load(
                self._session,
                model,
                values,
                index=index,
                progress=progress,
                expected=expected,
                rows=RowMaker(model, checked=True, noun="document"),
                noun="document",
                way_out=_USE_UPSERT,
            )

    def plan_sources(self, sources: Mapping[str, Sequence[Draft]]) -> SyncPlan:
        """Return what a sync would do and which embeddings it needs; nothing is written."""
        return self._sync.plan(sources)

    def sync_source(self, source: str, documents: Iterable[DocumentLike]) -> SyncReport:
        """Make one source consist of these documents, in this order; see :meth:`sync_sources`."""
        check_name(source, "the source's name")
        drafts = self._drafts(documents)
        check_keys(drafts, needed=True)
        return self.sync_sources({source: drafts})

    @tells(lambda report: report.added + report.updated + report.deleted)
    def sync_sources(self, sources: Mapping[str, Sequence[Draft]]) -> SyncReport:
        """Make the sources consist of these documents: add, update, and delete what vanished."""
        report = self._sync.write(sources)
        if report.updated:
            self._refresh(self._collections.held().id, (draft.key for drafts in sources.values() for draft in drafts))
        return report

    @tells(int)
    def delete(self, where: Where | None = None, *, everything: bool = False) -> int:
        """Delete the documents that match a filter and return how many there were."""
        condition = limiting_condition(where, self._scope.model, everything=everything)
        return self._execute(statements.delete_where(self._scope.model, self._collections.held().id, condition))

    @tells(int)
    def delete_sources(self, sources: Sequence[str]) -> int:
        """Delete all documents of the sources and return how many there were."""
        return self._execute(statements.delete_sources(self._scope.model, self._collections.held().id, sources))

    @tells(int)
    def update_meta(self, where: Where | None, changes: Mapping[str, Any], *, remove: Iterable[str] = ()) -> int:
        """Merge values into the metadata of the documents that match, and return how many changed."""
        values, names = checked_changes(changes, remove)
        condition = compile_filter(where, self._scope.model)
        collection = self._collections.held()
        if not values and not names:
            return 0
        return self._execute(statements.merge_meta(self._scope.model, collection.id, condition, values, names))

    @property
    def _connection(self) -> Connection:
        return connection_of(self._session, self._scope.model)

    @property
    def _sync(self) -> SourceSync:
        return SourceSync(self._session, self._scope, self._collections)

    def _drafts(self, documents: Iterable[DocumentLike]) -> list[Draft]:
        return list(Drafts(self._scope.model).of(documents))

    def _instance(self, document: DocumentLike, draft: Draft) -> Any:
        """Return the caller's own instance, or a new one."""
        model = self._scope.model
        return document if isinstance(document, model) else model(**attributes_of(draft))

    def _refresh(self, collection_id: int, written: Iterable[str]) -> None:
        """Load again what the session holds of these keys: a stale version would make its next flush fail."""
        loaded = [instance_dict(each) for each in self._session.identity_map.values()]
        held = {each.get("key") for each in loaded if each.get("collection_id") == collection_id}
        if held and (stale := [key for key in written if key in held]):
            statement = statements.documents_of_keys(self._scope.model, collection_id, stale)
            self._session.scalars(statement, execution_options={"populate_existing": True}).all()

    def _execute(self, statement: Executable) -> int:
        result = self._session.execute(statement)
        assert isinstance(result, CursorResult)  # noqa: S101 -- what an UPDATE or DELETE returns
        return result.rowcount
