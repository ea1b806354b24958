"""What an ingest needs from outside: a database and an embedder, whether they block or are awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from pgcorpus.database import async_session_factory, session_factory
from pgcorpus.services.embedding import AsyncEmbedder, Embedder
from pgcorpus.services.embedding.base import Vectors

T = TypeVar("T")


class Ports(Protocol):
    """The outside of an ingest. ``embed`` is called by several threads at once, the others by one."""

    def transaction(self, work: Callable[[Session], T]) -> T:
        """Run work in a transaction."""
        ...

    def outside(self, work: Callable[[Engine], None]) -> None:
        """Run work outside any transaction, where the database is ours to do so."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text."""
        ...


class EnginePorts:
    """An engine: each transaction is committed.

    Args:
        engine: The database.
        embedder: Blocks its thread.
    """

    def __init__(self, engine: Engine, embedder: Embedder) -> None:
        self._engine = engine
        self._sessions = session_factory(engine)
        self._embedder = embedder

    def transaction(self, work: Callable[[Session], T]) -> T:
        with self._sessions.begin() as session:
            return work(session)

    def outside(self, work: Callable[[Engine], None]) -> None:
        work(self._engine)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.embed(texts)


class SessionPorts:
    """The caller's own session and transaction, which is theirs to commit; the vector indexes stay as they are.

    Args:
        session: Used by the thread that ingests alone.
        embedder: Blocks its thread.
    """

    def __init__(self, session: Session, embedder: Embedder) -> None:
        self._session = session
        self._embedder = embedder

    def transaction(self, work: Callable[[Session], T]) -> T:
        return work(self._session)

    def outside(self, work: Callable[[Engine], None]) -> None:
        pass

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._embedder.embed(texts)


class LoopPorts:
    """An async engine or session and an async embedder, called from a thread beside their event loop.

    Reading and splitting files keeps a processor busy, so an ingest has a thread to itself; what it waits for, it waits
    for on the loop, with the connections of the async engine.

    Args:
        bind: The database.
        embedder: Awaited on the loop.
        loop: The running loop.
    """

    def __init__(
        self, bind: AsyncEngine | AsyncSession, embedder: AsyncEmbedder, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._bind = bind
        self._embedder = embedder
        self._loop = loop

    def transaction(self, work: Callable[[Session], T]) -> T:
        return self._awaited(self._transaction(work))

    async def _transaction(self, work: Callable[[Session], T]) -> T:
        if isinstance(self._bind, AsyncSession):
            return await self._bind.run_sync(work)
        async with async_session_factory(self._bind).begin() as session:
            return await session.run_sync(work)

    def outside(self, work: Callable[[Engine], None]) -> None:
        if isinstance(self._bind, AsyncEngine):
            self._awaited(self._outside(self._bind, work))

    async def _outside(self, engine: AsyncEngine, work: Callable[[Engine], None]) -> None:
        # The session is there to run in its way of blocking, and connects to nothing; the work does.
        async with AsyncSession(engine) as session:
            await session.run_sync(lambda _: work(engine.sync_engine))

    def embed(self, texts: Sequence[str]) -> Vectors:
        return self._awaited(self._embedder.embed(texts))

    def _awaited(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
