"""Sources into a collection, for an engine or a session, sync or async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from pgcorpus.models import Document
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.services.embedding.base import AsyncEmbedder, Embedder, batch_size_of
from pgcorpus.services.embedding.cache import AsyncCachedEmbedder, CachedEmbedder, is_kept, plain_dimensions
from pgcorpus.services.embedding.choose import dimensions_of
from pgcorpus.services.ingesting.ahead import started
from pgcorpus.services.ingesting.ports import EnginePorts, LoopPorts, Ports, SessionPorts
from pgcorpus.services.ingesting.report import IngestReport, Progress
from pgcorpus.services.ingesting.run import Plan, Run
from pgcorpus.services.sources import Source, SourceSet

# Texts that the embedder is given at once: enough for all its requests, and few enough for memory and for a progress
# bar.
MOST_AT_ONCE = 4_096
# Groups embedded at once. Two keep the embedder busy while one is written.
DEPTH = 2
MOST_DEPTH = 8

# In the ``info`` of a session on another library's connection: makes an engine that may commit beside it.
ENGINE_APART = "pgcorpus_engine_apart"

_PER_MILLION = 1_000_000


class _Account:
    """What an embedder counted since now.

    Args:
        embedder: With the cache around it, if there is one.
        price: Of a million tokens.
    """

    def __init__(self, embedder: Embedder | AsyncEmbedder, price: float | None) -> None:
        self._embedder: Any = embedder
        self._price = price
        self._before = self._counts()

    def _counts(self) -> tuple[int, int]:
        """Return how many texts the cache had, and the tokens that were counted."""
        usage = getattr(self._embedder, "usage", None)
        return getattr(self._embedder, "hits", 0), getattr(usage, "tokens", 0)

    def settled(self, report: IngestReport) -> IngestReport:
        """Return the report with what was counted, of a dry run with what was foreseen, and its price."""
        if not report.dry_run:
            cached, tokens = (now - before for now, before in zip(self._counts(), self._before, strict=True))
            report = replace(report, cached=cached, tokens=tokens)
        return replace(report, cost=None if self._price is None else report.tokens * self._price / _PER_MILLION)


def _plan(
    embedder: Embedder | AsyncEmbedder,
    collection: str,
    tenant: str,
    model: type[Any],
    progress: Callable[[Progress], None],
    *,
    cached: bool,
) -> Plan:
    concurrency = getattr(embedder, "concurrency", 1)
    piece = min(MOST_AT_ONCE, batch_size_of(embedder) * concurrency)
    depth = min(MOST_DEPTH, max(DEPTH, concurrency))
    dimensions = plain_dimensions(embedder) or dimensions_of(embedder.model)
    return Plan(collection, embedder.model, dimensions, tenant, model, piece, depth, cached=cached, notify=progress)


class Ingestor:
    """Brings sources into one collection; a second run with the same sources does nothing.

    A source is written whole or not at all, in a transaction of its own or with other small ones; the next groups are
    being embedded meanwhile. Memory does not grow with the number of sources, nor with the length of one. Embeddings
    that were paid for are kept in the database (:class:`~pgcorpus.services.embedding.CachedEmbedder`): a run that fails
    or is killed is taken up by the next, which pays for what was missing and no more. The first load of an empty table
    builds the vector index after the data.

    Args:
        bind: An engine on a migrated database. With a session of your own, all is written in its transaction, which you
            commit, and the vector index stays as it is; the cache takes one more connection of its pool.
        embedder: Embeds the passages; the collection remembers its model.
        collection: The collection's name.
        tenant: Whose collection.
        cache: Whether embeddings are kept by their text; by default unless the embedder says that it does not pay.
        price: Of a million tokens, for the report.
        model: The mapped document class.
        progress: Called after every step, from any thread, one call at a time.
    """

    def __init__(
        self,
        bind: Engine | Session,
        embedder: Embedder,
        collection: str = "default",
        tenant: str = DEFAULT_TENANT,
        *,
        cache: bool | None = None,
        price: float | None = None,
        model: type[Any] = Document,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._bind = bind
        cached = is_kept(embedder, cache)
        self._plan = _plan(embedder, collection, tenant, model, progress, cached=cached)
        self._price = price
        self._embedder = CachedEmbedder(embedder, _engine_apart(bind)) if cached else embedder

    def ingest(
        self,
        sources: SourceSet | Iterable[Source],
        roots: Sequence[str] | None = None,
        *,
        prefix: str | None = None,
        dry_run: bool = False,
    ) -> IngestReport:
        """Make the collection hold these sources as they are now.

        Args:
            sources: Each with all its passages; one without any is emptied. Taken one by one.
            roots: Directories whose vanished files are deleted too; by default those of a ``SourceSet`` but for the
                current one.
            prefix: Sources whose names begin so and did not come are deleted too.
            dry_run: Read and compare only; the report says what would be done.

        Raises:
            EmbeddingModelMismatchError: The collection was embedded with another model.
            SourceError: A source cannot be read, or is long and the disk has no room for it.
            EmbeddingError: The embedder failed, or its vectors are longer than the column.
            DocumentError: A passage cannot be stored.
            ConfigError: The pool has no connection for the cache.
        """
        account = _Account(self._embedder, self._price)
        run = Run(replace(self._plan, dry_run=dry_run), self._ports())
        return account.settled(run.ingest(*_given(sources, roots), prefix))

    def _ports(self) -> Ports:
        if isinstance(self._bind, Session):
            return SessionPorts(self._bind, self._embedder)
        return EnginePorts(self._bind, self._embedder)


class AsyncIngestor:
    """An :class:`Ingestor` to be awaited: on psycopg 3's async engine, with an async embedder.

    Reading and splitting run in a thread beside the event loop; the database and the embedder are awaited on it.

    Args:
        bind: An async engine, or an async session of your own.
        embedder: As :func:`~pgcorpus.services.embedding.as_async` makes one of any other.
        collection: The collection's name.
        tenant: Whose collection.
        cache: As there.
        price: As there.
        model: As there.
        progress: As there; it is called from threads.
    """

    def __init__(
        self,
        bind: AsyncEngine | AsyncSession,
        embedder: AsyncEmbedder,
        collection: str = "default",
        tenant: str = DEFAULT_TENANT,
        *,
        cache: bool | None = None,
        price: float | None = None,
        model: type[Any] = Document,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._bind = bind
        cached = is_kept(embedder, cache)
        self._plan = _plan(embedder, collection, tenant, model, progress, cached=cached)
        self._price = price
        engine = bind if isinstance(bind, AsyncEngine) else _engine_of(bind)
        self._embedder = AsyncCachedEmbedder(embedder, engine) if cached else embedder

    async def ingest(
        self,
        sources: SourceSet | Iterable[Source],
        roots: Sequence[str] | None = None,
        *,
        prefix: str | None = None,
        dry_run: bool = False,
    ) -> IngestReport:
        """Make the collection hold these sources as they are now; see :meth:`Ingestor.ingest`.

        When it is cancelled, the group that is being written is finished first.
        """
        account = _Account(self._embedder, self._price)
        ports = LoopPorts(self._bind, self._embedder, asyncio.get_running_loop())
        run = Run(replace(self._plan, dry_run=dry_run), ports)
        # Not in a thread of the loop's: ingests would take them all, and wait for an embedder that needs one.
        work = asyncio.wrap_future(started(partial(run.ingest, *_given(sources, roots), prefix)))
        try:
            return account.settled(await asyncio.shield(work))
        except asyncio.CancelledError:
            run.stop.set()
            # The thread waits for this loop: without it, neither would end.
            await asyncio.wait([work])
            work.exception()
            raise


def _given(
    sources: SourceSet | Iterable[Source], roots: Sequence[str] | None
) -> tuple[Iterable[Source], Sequence[str]]:
    if isinstance(sources, SourceSet):
        # To "" all relative names belong, another project's too: who means that says so.
        return sources.sources, [root for root in sources.roots if root] if roots is None else roots
    return sources, roots or ()


def _engine_apart(bind: Engine | Session) -> Engine:
    """Return the engine on which the cache is committed, whatever becomes of the caller's transaction."""
    if not isinstance(bind, Session):
        return bind
    made: Engine = bind.info[ENGINE_APART]() if ENGINE_APART in bind.info else bind.get_bind().engine
    return made


def _engine_of(session: AsyncSession) -> AsyncEngine:
    bind: Any = session.bind
    return bind if isinstance(bind, AsyncEngine) else bind.engine
