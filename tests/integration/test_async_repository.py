"""The async repositories have the methods of the sync ones, and do what they do."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from sqlalchemy.engine import URL

from pgcorpus.database import async_autocommit, async_session_factory, create_async_engine
from pgcorpus.errors import FilterError, SearchTimeoutError
from pgcorpus.models import Document
from pgcorpus.repositories import (
    AsyncDocumentRepository,
    AsyncVectorRepository,
    DocumentRepository,
    Draft,
    SyncReport,
    VectorRepository,
)
from tests.support.vectors import random_vectors, unit


def signatures(repository: type) -> dict[str, list[str]]:
    methods = inspect.getmembers(repository, inspect.isfunction)
    return {name: list(inspect.signature(m).parameters) for name, m in methods if not name.startswith("_")}


@pytest.mark.parametrize(
    ("sync", "asynchronous"),
    [(VectorRepository, AsyncVectorRepository), (DocumentRepository, AsyncDocumentRepository)],
)
def test_the_async_repository_has_the_same_methods_and_arguments(sync: type, asynchronous: type) -> None:
    assert signatures(sync) == signatures(asynchronous)
    assert len(signatures(sync)) > 8
    for name, method in inspect.getmembers(asynchronous, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method), name


@asynccontextmanager
async def repository_on(url: URL) -> AsyncIterator[AsyncDocumentRepository]:
    engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
    try:
        async with async_session_factory(engine)() as session:
            yield AsyncDocumentRepository(session, "c", embedding_model="m")
    finally:
        await engine.dispose()


def drafts(*contents: str) -> list[Draft]:
    return [Draft(f"key {each}", each, {"c": each}, unit(i)) for i, each in enumerate(contents)]


def test_it_writes_and_reads_sources(url: URL) -> None:
    async def main() -> None:
        async with repository_on(url) as repository:
            assert await repository.sync_sources({"s": drafts("a", "b")}) == SyncReport(added=2)
            assert (await repository.plan_sources({"s": drafts("a", "x")})).needed == {"s": [1]}
            document = await repository.add(Document(content="c", embedding=unit(7)))
            await repository.add_many([Document(content="d", embedding=unit(8))])
            assert (await repository.get(document.id)) is document
            assert (await repository.get_by_key("key a")).content == "a"  # type: ignore[union-attr]
            assert await repository.count({"source": "s"}) == 2
            assert await repository.sources() == ["s"]
            assert await repository.delete_sources(["s"]) == 2
            assert (await repository.collection()).id == (await repository.ensure_collection()).id
            assert [each.name for each in await repository.collections()] == ["c"]

    asyncio.run(main())


def test_it_searches_in_every_way(url: URL) -> None:
    vectors = random_vectors(30)

    async def main() -> None:
        async with repository_on(url) as repository:
            await repository.sync_sources(
                {"s": [Draft(f"k{i}", f"word{i}", {"half": i % 2 == 0}, v) for i, v in enumerate(vectors)]}
            )
            hits = await repository.search(vectors[3], 2, context=1, include_embedding=True)
            assert hits[0].document.key == "k3"
            assert np.array_equal(hits[0].document.embedding, vectors[3])
            assert [view.key for view in (*hits[0].before, *hits[0].after)] == ["k2", "k4"]
            filtered = await repository.search(vectors[3], 30, where={"meta.half": True}, ef_search=1)
            assert len(filtered) == 15
            entity = (await repository.search(vectors[3], 1, entities=True))[0].document
            assert isinstance(entity, Document)
            assert [h[0].document.key for h in await repository.search_many(vectors[:3], 1)] == ["k0", "k1", "k2"]
            assert "k3" not in [h.document.key for h in await repository.search_like(entity.id, 30)]
            assert (await repository.explain(vectors[0], 5)).returned == 5
            assert [h.document.key for h in await repository.search_text("word7")] == ["k7"]
            assert (await repository.search_hybrid("word7", vectors[7]))[0].text_rank == 1
            page = await repository.list(limit=29)
            assert (len(page.items), page.next is None) == (29, False)
            assert len((await repository.list(after=page.next)).items) == 1
            assert len([row async for row in repository.export(batch_size=7)]) == 30
            assert [facet.count for facet in await repository.facets("meta.half")] == [15, 15]
            with pytest.raises(FilterError):
                await repository.search(vectors[0], where={"nope": 1})

    asyncio.run(main())


def test_it_searches_without_a_transaction_and_with_a_timeout(url: URL) -> None:
    from sqlalchemy import func

    slow = func.pg_sleep(0.05 + 0 * Document.id).is_(None)

    async def main() -> None:
        engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
        async with async_session_factory(engine).begin() as session:
            await AsyncDocumentRepository(session).add_many(
                [Document(content=str(i), embedding=v) for i, v in enumerate(random_vectors(20))]
            )
        for view in (engine, async_autocommit(engine)):
            async with async_session_factory(view)() as session:
                repository = AsyncDocumentRepository(session)
                for options in ({}, {"ef_search": 7}, {"timeout": 30.0}):
                    assert len(await repository.search(unit(0), 5, **options)) == 5  # type: ignore[arg-type]
                with pytest.raises(SearchTimeoutError):
                    await repository.search(unit(0), where=slow, timeout=0.1)
                assert len(await repository.search(unit(0), 5)) == 5
        await engine.dispose()

    asyncio.run(main())


def test_any_mapped_class_is_searched(url: URL) -> None:
    async def main() -> None:
        async with repository_on(url) as repository:
            await repository.add_many([Document(content=str(i), embedding=unit(i)) for i in range(3)])
            everything: AsyncVectorRepository[Any] = AsyncVectorRepository(repository._session, Document)
            assert (await everything.search(unit(2), 1))[0].document.content == "2"
            assert await everything.count() == 3

    asyncio.run(main())
