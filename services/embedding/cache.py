"""An embedder that remembers: no text is paid for twice, whatever collection, run or tenant it comes from.

What is kept, in the table ``pgcorpus.embedding_cache`` of the database, are SHA-256 hashes of texts and their vectors;
no text. All tenants share it, so one who can time a call, or read the table, can tell whether a text that they have was
embedded before. Where that matters, embed without it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import aclosing
from datetime import timedelta
from threading import Lock
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from pgcorpus.database import async_autocommit, async_session_factory, autocommit, session_factory
from pgcorpus.errors import ConfigError, EmbeddingError
from pgcorpus.faults import sqlstate, translated
from pgcorpus.models import Document
from pgcorpus.repositories.embedding_cache import EmbeddingCache
from pgcorpus.services.embedding.asking import async_batches_of, batches_of, checked
from pgcorpus.services.embedding.base import AsyncEmbedder, EmbeddedBatch, Embedder, Vectors, batch_size_of, in_order
from pgcorpus.services.embedding.call import Call
from pgcorpus.services.embedding.choose import dimensions_of
from pgcorpus.services.embedding.endpoint import Usage
from pgcorpus.services.embedding.in_flight import Flights
from pgcorpus.services.embedding.telling import count_cached, embedding
from pgcorpus.vectors import Array

# No such table, no such schema, no right to read it.
_NO_CACHE = ("42P01", "3F000", "42501")

# Entries deleted in one transaction.
_AT_ONCE = 10_000
_UNUSED_AT_ONCE = 100_000

_logger = logging.getLogger("pgcorpus")

E = TypeVar("E", Embedder, AsyncEmbedder)


class _Cached(Generic[E]):
    """What both embedders decide, without I/O.

    Attributes:
        cached: Whether what this embedder answers should be kept: it is already.
        hits: Texts that came without being asked for: they were known, or came twice.
        misses: Texts that the embedder was asked for and answered.
    """

    cached = False

    def __init__(self, embedder: E) -> None:
        self._embedder: E = embedder
        self._flights = Flights()
        self._lock = Lock()
        self._warned = False
        self._certain = plain_dimensions(embedder)
        self._presumed = dimensions_of(embedder.model)
        self.hits = self.misses = 0

    @property
    def model(self) -> str:
        """The embedder's."""
        return self._embedder.model

    @property
    def batch_size(self) -> int:
        """The embedder's."""
        return batch_size_of(self._embedder)

    @property
    def concurrency(self) -> int:
        """The embedder's, for who plans how much to ask for at once."""
        return getattr(self._embedder, "concurrency", 1)

    @property
    def usage(self) -> Usage | None:
        """What the embedder was asked for and what it cost; None where it does not count."""
        return getattr(self._embedder, "usage", None)

    @property
    def _dimensions(self) -> int | None:
        return self._certain or self._presumed

    def _look_up(self, session: Session, hashes: Collection[bytes]) -> dict[bytes, Array]:
        cache = EmbeddingCache(session)
        if self._dimensions is None:
            self._presumed = cache.dimensions(self.model)
        return cache.find(self.model, hashes, self._dimensions)

    def _accept(self, call: Call, hashes: Sequence[bytes], batch: EmbeddedBatch) -> dict[bytes, Array]:
        """Return the vectors of a batch by hash, once they are checked."""
        answered = hashes[batch.first : batch.first + len(batch.vectors)]
        vectors = checked(batch.vectors, len(answered), self._certain, batch.first)
        self._certain = vectors.shape[1] or self._certain
        self._count(call.count(answered), len(answered))
        return dict(zip(answered, vectors, strict=True))

    def _unanswered(self, call: Call, others: Sequence[bytes], known: Mapping[bytes, Array]) -> list[bytes]:
        """Return what is to be asked for after all: what another call failed to get, and entries of a wrong length.

        The answers may just have told which length is right.
        """
        wanted = {key for key, vector in known.items() if vector.size != (self._certain or vector.size)}
        wanted |= set(others) - known.keys()
        return [key for key in call.places if key in wanted]

    def _rest(self, call: Call, known: Mapping[bytes, Array], asked: Sequence[bytes]) -> Iterator[EmbeddedBatch]:
        """Return what was known and not asked for."""
        rest = {key: known[key] for key in known.keys() - set(asked)}
        self._count(call.count(rest), 0)
        return call.spread(rest)

    def _count(self, texts: int, paid: int) -> None:
        with self._lock:
            self.hits += texts - paid
            self.misses += paid
        count_cached(texts - paid)

    def _say_unreadable(self, exc: DBAPIError | PoolTimeoutError) -> None:
        if isinstance(exc, PoolTimeoutError):
            raise ConfigError(
                "the embedding cache waited in vain for a connection of the pool, of which it needs one beside any "
                "that you hold: raise pool_size or max_overflow, or do without the cache"
            ) from exc
        if sqlstate(exc) not in _NO_CACHE:
            raise exc
        self._warn("read", exc)

    def _warn(self, what: str, exc: SQLAlchemyError) -> None:
        with self._lock:
            warned, self._warned = self._warned, True
        if not warned:
            reason = translated(exc) if isinstance(exc, DBAPIError) else exc
            _logger.warning("the embedding cache cannot be %s, so texts may be paid for again: %s", what, reason)


class CachedEmbedder(_Cached[Embedder]):
    """An embedder that reads from the database what it was asked before, and asks another for the rest.

    What the other answers is committed batch by batch, so that a run which fails or is killed has paid for nothing in
    vain. No connection is held while it works. Threads that share this embedder wait for each other's answers; where
    two processes want the same text at once, both may pay. Where the cache cannot be written (a standby, a missing
    right, a database that is not migrated) texts are embedded all the same, and a warning is logged once.

    Args:
        embedder: Asked for what is not known, through its ``embed_batches`` where it has that.
        engine: The database with the cache. Each step takes a connection of its own for a moment, and raises
            :class:`~pgcorpus.errors.ConfigError` where the pool has none for it before anything is paid.
    """

    def __init__(self, embedder: Embedder, engine: Engine) -> None:
        super().__init__(embedder)
        self._reads = session_factory(autocommit(engine))
        self._writes = session_factory(engine)

    @property
    def dimensions(self) -> int:
        """The length of a vector: as the cache has it, where the embedder would have to ask for it."""
        if self._dimensions is None:
            self._read(())
        return self._dimensions or self._embedder.dimensions

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order.

        Args:
            texts: Any number of texts, none of them empty.

        Returns:
            Shape ``(len(texts), dimensions)``.

        Raises:
            EmbeddingError: The embedder failed; what it had answered is kept.
        """
        with embedding(self.model, len(texts)):
            return in_order(self._batches(texts, self._flights), len(texts), self._dimensions or 0)

    def embed_batches(self, texts: Sequence[str]) -> Iterator[EmbeddedBatch]:
        """Yield the vectors of each batch once it is kept, and those that were known last.

        Args:
            texts: Any number of texts, none of them empty.

        Raises:
            EmbeddingError: The embedder failed; what it had answered was yielded.
        """
        # Flights of its own: others would have to wait for whoever takes the batches, perhaps for ever.
        return self._batches(texts, Flights())

    def _batches(self, texts: Sequence[str], flights: Flights) -> Iterator[EmbeddedBatch]:
        call, landed = Call(texts), flights.landed
        known = self._read(call.places)
        with flights.board(call.without(known), landed) as flight:
            if flight.is_late:
                known |= self._read(flight.own)
            yield from self._ask(call, [key for key in flight.own if key not in known])
        if flight.others:
            wait(flight.landings)
            known |= self._read(flight.others)
        unanswered = self._unanswered(call, flight.others, known)
        yield from self._ask(call, unanswered)
        yield from self._rest(call, known, unanswered)

    def _ask(self, call: Call, hashes: Sequence[bytes]) -> Iterator[EmbeddedBatch]:
        missing = set(hashes)
        with call.numbered(hashes):
            for batch in batches_of(self._embedder, call.texts_of(hashes)):
                vectors = self._accept(call, hashes, batch)
                self._write(vectors)
                missing -= vectors.keys()
                yield from call.spread(vectors)
        _check_all_answered(missing)

    def _read(self, hashes: Collection[bytes]) -> dict[bytes, Array]:
        try:
            with self._reads() as session:
                return self._look_up(session, hashes)
        except (DBAPIError, PoolTimeoutError) as exc:
            self._say_unreadable(exc)
            return {}

    def _write(self, vectors: Mapping[bytes, Array]) -> None:
        try:
            with self._writes.begin() as session:
                EmbeddingCache(session).store(self.model, vectors)
        # Whatever it is: the vectors are paid for, and belong to the caller.
        except SQLAlchemyError as exc:
            self._warn("written", exc)


class AsyncCachedEmbedder(_Cached[AsyncEmbedder]):
    """The async twin of :class:`CachedEmbedder`.

    Args:
        embedder: Asked for what is not known.
        engine: An async engine on psycopg 3.
    """

    def __init__(self, embedder: AsyncEmbedder, engine: AsyncEngine) -> None:
        super().__init__(embedder)
        self._reads = async_session_factory(async_autocommit(engine))
        self._writes = async_session_factory(engine)

    @property
    def dimensions(self) -> int:
        """The length of a vector; the cache tells it with the first call of ``embed``, before that the embedder."""
        return self._dimensions or self._embedder.dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order: see :meth:`CachedEmbedder.embed`."""
        with embedding(self.model, len(texts)):
            async with aclosing(self._batches(texts, self._flights)) as batches:
                parts = [batch async for batch in batches]
        return in_order(parts, len(texts), self._dimensions or 0)

    def embed_batches(self, texts: Sequence[str]) -> AsyncIterator[EmbeddedBatch]:
        """Yield the vectors of each batch once it is kept: see :meth:`CachedEmbedder.embed_batches`."""
        return self._batches(texts, Flights())

    async def _batches(self, texts: Sequence[str], flights: Flights) -> AsyncGenerator[EmbeddedBatch, None]:
        call, landed = Call(texts), flights.landed
        known = await self._read(call.places)
        with flights.board(call.without(known), landed) as flight:
            if flight.is_late:
                known |= await self._read(flight.own)
            async with aclosing(self._ask(call, [key for key in flight.own if key not in known])) as batches:
                async for batch in batches:
                    yield batch
        if flight.others:
            await asyncio.gather(*map(asyncio.wrap_future, flight.landings))
            known |= await self._read(flight.others)
        unanswered = self._unanswered(call, flight.others, known)
        async with aclosing(self._ask(call, unanswered)) as batches:
            async for batch in batches:
                yield batch
        for batch in self._rest(call, known, unanswered):
            yield batch

    async def _ask(self, call: Call, hashes: Sequence[bytes]) -> AsyncGenerator[EmbeddedBatch, None]:
        missing = set(hashes)
        with call.numbered(hashes):
            async with aclosing(async_batches_of(self._embedder, call.texts_of(hashes))) as batches:
                async for batch in batches:
                    vectors = self._accept(call, hashes, batch)
                    await _to_the_end(self._write(vectors))
                    missing -= vectors.keys()
                    for part in call.spread(vectors):
                        yield part
        _check_all_answered(missing)

    async def _read(self, hashes: Collection[bytes]) -> dict[bytes, Array]:
        try:
            async with self._reads() as session:
                return await session.run_sync(self._look_up, hashes)
        except (DBAPIError, PoolTimeoutError) as exc:
            self._say_unreadable(exc)
            return {}

    async def _write(self, vectors: Mapping[bytes, Array]) -> None:
        try:
            async with self._writes.begin() as session:
                await session.run_sync(lambda sync: EmbeddingCache(sync).store(self.model, vectors))
        except SQLAlchemyError as exc:
            self._warn("written", exc)


def is_kept(embedder: object, wanted: bool | None) -> bool:
    """Say whether an embedder's answers are kept.

    Args:
        embedder: A local model says that its embeddings cost less to make than to fetch, and a cache that it is one.
        wanted: What somebody asked for, which goes before that.
    """
    return bool(getattr(embedder, "cached", True)) if wanted is None else wanted


def prune_cache(
    engine: Engine,
    model: str | None = None,
    *,
    older_than: timedelta | None = None,
    unused: bool = False,
    documents: Sequence[type[Any]] = (Document,),
) -> int:
    """Delete entries of the cache in short transactions, and return how many.

    Args:
        engine: The database.
        model: Of this model only.
        older_than: Stored longer ago than this only.
        unused: Only of texts that no document has in a collection of that model. Each 100,000 that are deleted take
            one reading of the whole table of documents.
        documents: The document classes, for ``unused``.
    """
    size, total = _UNUSED_AT_ONCE if unused else _AT_ONCE, 0
    while True:
        with session_factory(engine).begin() as session:
            cache = EmbeddingCache(session, documents)
            deleted = cache.delete(model, older_than=older_than, unused=unused, limit=size)
        total += deleted
        if deleted < size:
            return total


def _check_all_answered(missing: Collection[bytes]) -> None:
    if missing:
        raise EmbeddingError(f"the embedder gave {len(missing):,} of the texts no vector")


def plain_dimensions(embedder: object) -> int | None:
    """Return the length where it is a mere attribute: a property may have to ask the model's server."""
    value = inspect.getattr_static(embedder, "dimensions", None)
    return value if isinstance(value, int) else None


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work that is finished even when its task is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
