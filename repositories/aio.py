"""The repositories for a :class:`sqlalchemy.ext.asyncio.AsyncSession`.

Every method is that of the sync repository, run on the session's own connection without blocking the event loop.
There is one implementation; a test holds the lists of methods equal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from pgcorpus.models import Metric
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories.document import DocumentRepository
from pgcorpus.repositories.vector import VectorRepository

M = TypeVar("M")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_END = object()


def _awaited(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return a sync repository's method as one to await."""

    @wraps(method)
    async def run(self: Any, *args: P.args, **kwargs: P.kwargs) -> T:
        answer: T = await self._session.run_sync(lambda _: method(self._sync, *args, **kwargs))
        return answer

    return run  # type: ignore[return-value]


def _iterated(
    method: Callable[Concatenate[Any, P], Iterator[T]],
) -> Callable[Concatenate[Any, P], AsyncIterator[T]]:
    """Return a sync repository's generator as one for ``async for``."""

    @wraps(method)
    async def run(self: Any, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        items = method(self._sync, *args, **kwargs)
        while (item := await self._session.run_sync(lambda _: next(items, _END))) is not _END:
            yield item

    return run  # type: ignore[return-value]


class AsyncVectorRepository(Generic[M]):
    """Rows of a mapped class; see :class:`~pgcorpus.repositories.vector.VectorRepository`.

    Args:
        session: Any async session on psycopg 3.
        model: The mapped class.
        column: The attribute of the vector column.
        metric: The metric of searches that name none.
    """

    def __init__(
        self, session: AsyncSession, model: type[M], column: str | None = None, *, metric: Metric | str | None = None
    ) -> None:
        self._session = session
        self._sync: Any = VectorRepository(session.sync_session, model, column, metric=metric)

    search = _awaited(VectorRepository.search)
    search_many = _awaited(VectorRepository.search_many)
    search_like = _awaited(VectorRepository.search_like)
    explain = _awaited(VectorRepository.explain)
    count = _awaited(VectorRepository.count)
    list = _awaited(VectorRepository.list)
    export = _iterated(VectorRepository.export)
    facets = _awaited(VectorRepository.facets)
    add = _awaited(VectorRepository.add)
    add_many = _awaited(VectorRepository.add_many)
    bulk_load = _awaited(VectorRepository.bulk_load)
    delete = _awaited(VectorRepository.delete)


class AsyncDocumentRepository(AsyncVectorRepository[Any]):
    """Documents of one collection; see :class:`~pgcorpus.repositories.document.DocumentRepository`.

    Args:
        session: Any async session on psycopg 3.
        collection: The collection's name.
        tenant: Whose collection.
        **options: As there: ``embedding_model``, ``model``, ``column``, ``metric``, ``language``.
    """

    def __init__(
        self, session: AsyncSession, collection: str = "default", tenant: str = DEFAULT_TENANT, **options: Any
    ) -> None:
        self._session = session
        self._sync = DocumentRepository(session.sync_session, collection, tenant, **options)

    collection = _awaited(DocumentRepository.collection)
    ensure_collection = _awaited(DocumentRepository.ensure_collection)
    collections = _awaited(DocumentRepository.collections)
    search_text = _awaited(DocumentRepository.search_text)
    search_hybrid = _awaited(DocumentRepository.search_hybrid)
    snippets = _awaited(DocumentRepository.snippets)
    get = _awaited(DocumentRepository.get)
    get_by_key = _awaited(DocumentRepository.get_by_key)
    sources = _awaited(DocumentRepository.sources)
    passages = _awaited(DocumentRepository.passages)
    fields = _awaited(DocumentRepository.fields)
    figures = _awaited(DocumentRepository.figures)
    add = _awaited(DocumentRepository.add)
    add_many = _awaited(DocumentRepository.add_many)
    upsert = _awaited(DocumentRepository.upsert)
    bulk_load = _awaited(DocumentRepository.bulk_load)
    plan_sources = _awaited(DocumentRepository.plan_sources)
    sync_sources = _awaited(DocumentRepository.sync_sources)
    sync_source = _awaited(DocumentRepository.sync_source)
    delete = _awaited(DocumentRepository.delete)
    delete_sources = _awaited(DocumentRepository.delete_sources)
    update_meta = _awaited(DocumentRepository.update_meta)
