"""Fixtures for the tests of an app: put ``pytest_plugins = ["pgcorpus.testing.fixtures"]`` into its ``conftest.py``.

The database is new for each run and dropped after it. It is made beside the one that ``PGCORPUS_TEST_DATABASE_URL``
names, which is never written to; the role needs ``CREATEDB``, and pgvector must be installable by it. Without the
variable a private PostgreSQL is started (``pip install 'pgcorpus[embedded]'``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import pytest
from sqlalchemy import Engine, NullPool
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from pgcorpus.database import create_async_engine, create_engine
from pgcorpus.testing.databases import fresh_database
from pgcorpus.testing.embedder import HashEmbedder

OpenAsyncSession: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncSession]]


@pytest.fixture(scope="session")
def pgcorpus_url() -> Iterator[URL]:
    """The URL of a migrated database that belongs to this run of the tests."""
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="session")
def pgcorpus_engine(pgcorpus_url: URL) -> Iterator[Engine]:
    """An engine on that database. What is committed through it stays for the tests that follow."""
    engine = create_engine(pgcorpus_url)
    yield engine
    engine.dispose()


@pytest.fixture
def pgcorpus_session(pgcorpus_engine: Engine) -> Iterator[Session]:
    """A session whose work is undone after the test, also what the test commits."""
    with pgcorpus_engine.connect() as connection:
        # Closing the connection rolls back.
        connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session


@pytest.fixture
def pgcorpus_async_session(pgcorpus_url: URL) -> OpenAsyncSession:
    """Opens async sessions whose work is undone: ``async with pgcorpus_async_session() as session``.

    It needs no plugin for async fixtures, and works in whichever event loop the test has.
    """

    @asynccontextmanager
    async def opened() -> AsyncIterator[AsyncSession]:
        engine = create_async_engine(pgcorpus_url.set(drivername="postgresql+psycopg"), poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.begin()
            async with AsyncSession(
                connection, join_transaction_mode="create_savepoint", expire_on_commit=False
            ) as session:
                yield session

    return opened


@pytest.fixture
def pgcorpus_embedder() -> HashEmbedder:
    """An embedder without a model; its ``texts`` are what the test had embedded."""
    return HashEmbedder()
