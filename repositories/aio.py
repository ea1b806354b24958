"""The repository of documents, for a :class:`sqlalchemy.ext.asyncio.AsyncSession`.

Every method is that of :class:`~pgcorpus.repositories.document.DocumentRepository`, run on the session's own
connection without blocking the event loop. There is one implementation; a test holds the two lists equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from pgcorpus import vectors
from pgcorpus.models import Collection, Metric
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories.document import DocumentRepository
from pgcorpus.repositories.filters import Where
from pgcorpus.repositories.hits import Hit
from pgcorpus.repositories.sync import Draft, SyncReport

_T = TypeVar("_T")


class AsyncDocumentRepository:
    """Documents of one collection; see :class:`~pgcorpus.repositories.document.DocumentRepository`.

    Args:
        session: Any async session on psycopg 3.
        collection: The collection's name.
        tenant: Whose collection.
        **options: As there: ``embedding_model``, ``model``, ``metric``, ``language``.
    """

    def __init__(
        self, session: AsyncSession, collection: str = "default", tenant: str = DEFAULT_TENANT, **options: Any
    ) -> None:
        self._session = session
        self._documents = DocumentRepository(session.sync_session, collection, tenant, **options)

    async def _run(self, method: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        return await self._session.run_sync(lambda _: method(*args, **kwargs))

    async def collection(self) -> Collection:
        """Return the collection."""
        return await self._run(self._documents.collection)

    async def ensure_collection(self) -> Collection:
        """Return the collection, made if there is none."""
        return await self._run(self._documents.ensure_collection)

    async def collections(self) -> Sequence[Collection]:
        """Return the tenant's collections by name."""
        return await self._run(self._documents.collections)

    async def search(
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
        """Return the ``k`` nearest documents, nearest first."""
        return await self._run(
            self._documents.search,
            vector,
            k,
            where=where,
            metric=metric,
            ef_search=ef_search,
            exact=exact,
            offset=offset,
        )

    async def get(self, document_id: int) -> Any | None:
        """Return the document of that id, or None."""
        return await self._run(self._documents.get, document_id)

    async def get_by_key(self, key: str) -> Any | None:
        """Return the document of that key, or None."""
        return await self._run(self._documents.get_by_key, key)

    async def count(self, where: Where | None = None) -> int:
        """Return how many documents there are, or match a filter."""
        return await self._run(self._documents.count, where)

    async def sources(self) -> Sequence[str]:
        """Return the names of the sources, sorted."""
        return await self._run(self._documents.sources)

    async def add(self, document: Any) -> Any:
        """Add one document and flush, so that it has its id."""
        return await self._run(self._documents.add, document)

    async def add_many(self, documents: Sequence[Any]) -> Sequence[Any]:
        """Add documents and flush, so that they have their ids; all or none."""
        return await self._run(self._documents.add_many, documents)

    async def plan_sources(self, sources: Mapping[str, Sequence[Draft]]) -> list[Draft]:
        """Return the drafts whose embedding is not stored yet; nothing is written."""
        return await self._run(self._documents.plan_sources, sources)

    async def sync_sources(self, sources: Mapping[str, Sequence[Draft]]) -> SyncReport:
        """Make the sources consist of these documents: add, update, and delete what vanished."""
        return await self._run(self._documents.sync_sources, sources)

    async def delete_sources(self, sources: Sequence[str]) -> int:
        """Delete all documents of the sources and return how many there were."""
        return await self._run(self._documents.delete_sources, sources)
