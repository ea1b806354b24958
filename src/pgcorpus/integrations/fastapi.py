"""pgcorpus in a FastAPI or Starlette app: an engine for as long as the app runs, and dependencies of a request.

::

    corpus = PgCorpus(collection="help", embedder="local")
    app = FastAPI(lifespan=corpus.lifespan)
    Repository = Annotated[AsyncDocumentRepository, Depends(corpus.repository)]
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from pgcorpus import schema
from pgcorpus.config import DRIVERS
from pgcorpus.database import register_vector_types
from pgcorpus.errors import ConfigError, MissingExtraError
from pgcorpus.integrations.hosting import AsyncHost, HostSettings
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories import AsyncDocumentRepository
from pgcorpus.services.answering import AsyncAnswerer
from pgcorpus.services.ingesting import AsyncIngestor
from pgcorpus.services.retrieval import AsyncRetriever

try:
    # At run time: FastAPI reads the parameters of a dependency.
    from starlette.requests import HTTPConnection
except ImportError as exc:
    raise MissingExtraError("fastapi", "pgcorpus.integrations.fastapi") from exc

T = TypeVar("T")

_SCOPE_KEY = "pgcorpus.sessions"
_NOT_RUNNING = (
    "PgCorpus is not started in this event loop: FastAPI(lifespan=corpus.lifespan), or `async with "
    "corpus.lifespan(app): yield` in a lifespan of your own, that of the outermost app; in tests `with TestClient(app)`"
)


@dataclass(slots=True)
class _Running:
    """What serves one event loop, and how many lifespans keep it."""

    host: AsyncHost
    sessions: async_sessionmaker[AsyncSession]
    users: int = 0


@dataclass(slots=True)
class _Shared:
    """The session of a request, and how many of its dependencies have it."""

    session: AsyncSession
    users: int = 0


class PgCorpus:
    """A database of documents and its models, for an app to depend on.

    What is left out is as the environment says, or the default. Nothing is opened before the lifespan begins. Every
    event loop has an engine of its own, so several apps, tests and workers may use one object.

    Args:
        database_url: The database; by default ``PGCORPUS_DATABASE_URL``, else ``DATABASE_URL``.
        engine: An async engine on psycopg that the app has already, in place of one of our own; it is not disposed of.
        engine_options: Of :func:`pgcorpus.database.create_async_engine`: ``pool_size``, ``pgbouncer`` and so on.
        collection: The collection of calls that name none.
        tenant: The tenant of calls that name none.
        embedder: A name (``openai``, ``openai:MODEL``, ``local``), an embedder, a function that makes one, or several
            of them while a collection's model is switched.
        chat_model: A name of OpenAI's, an async chat model, or a function that makes one.
        openai_api_key: By default ``OPENAI_API_KEY``.
        cache: Whether embeddings are kept by their text; by default unless they are made on this machine.
        check_schema: Whether an app whose database is not at this code's revision refuses to start.

    Raises:
        ConfigError: A setting has a value that cannot be used; the message names it, never its value. Or the engine is
            not async, or not on psycopg.
    """

    def __init__(
        self,
        database_url: str | URL | None = None,
        *,
        engine: AsyncEngine | None = None,
        engine_options: dict[str, Any] | None = None,
        collection: str = "default",
        tenant: str = DEFAULT_TENANT,
        embedder: Any = None,
        chat_model: Any = None,
        openai_api_key: str | None = None,
        cache: bool | None = None,
        check_schema: bool = True,
    ) -> None:
        if engine is not None and (database_url is not None or engine_options):
            raise ConfigError("give an engine, or a database_url with its engine_options, not both")
        given = {
            "DATABASE_URL": database_url,
            "ENGINE_OPTIONS": engine_options or {},
            "COLLECTION": collection,
            "TENANT": tenant,
            "EMBEDDER": embedder,
            "CHAT_MODEL": chat_model,
            "OPENAI_API_KEY": openai_api_key,
            "CACHE": cache,
        }
        self.settings = HostSettings.of(given)
        self._engine, self._check_schema = _usable(engine), check_schema
        self._running: WeakKeyDictionary[asyncio.AbstractEventLoop, _Running] = WeakKeyDictionary()

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Open the database for the time of an app, and close it in the end, also where the start fails.

        Raises:
            ConfigError: A setting or a key is missing, or the event loop is not asyncio's.
            MissingExtraError: The embedder that is named is not installed.
            SchemaError: The database is not at this code's revision; unless ``check_schema=False``.
            UnreachableError: It cannot be reached; unless ``check_schema=False``.
        """
        loop = _loop()
        running = self._running.setdefault(loop, self._new())
        running.users += 1
        try:
            await self._ready(running)
            yield
        finally:
            running.users -= 1
            if not running.users:
                self._running.pop(loop, None)
                await running.host.dispose()

    @property
    def host(self) -> AsyncHost:
        """The engine, embedder and chat model of this event loop, and what is made of them.

        ``host.repository(session, collection, tenant)`` is a repository on a session of the app's own, and so are
        ``retriever``, ``answerer`` and ``ingestor``, on a session or on an engine.

        Raises:
            ConfigError: The lifespan has not begun, or is over.
        """
        return self._here().host

    @property
    def engine(self) -> AsyncEngine:
        """The engine of this event loop.

        Raises:
            ConfigError: The lifespan has not begun, or is over.
        """
        return self.host.engine

    @property
    def sessions(self) -> async_sessionmaker[AsyncSession]:
        """A factory of sessions for code that has no request: ``async with corpus.sessions.begin() as session``.

        Raises:
            ConfigError: The lifespan has not begun, or is over.
        """
        return self._here().sessions

    async def session(self, connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
        """Dependency: the session of the request, which all that depend on it share.

        Nothing is committed for the endpoint: ``await session.commit()`` before it returns, so that the client is told
        of a success that is one. What was not committed is rolled back when the request ends.
        """
        async with self._session(connection) as session:
            yield session

    async def repository(self, connection: HTTPConnection) -> AsyncIterator[AsyncDocumentRepository]:
        """Dependency: the repository of the collection, on the session of the request."""
        async with self._session(connection) as session:
            yield self._repository(session)

    async def retriever(self) -> AsyncRetriever:
        """Dependency: the retriever of the collection; it holds a connection only while it reads."""
        made: AsyncRetriever = self.host.retriever(self.engine)
        return made

    async def answerer(self) -> AsyncAnswerer:
        """Dependency: the answerer of the collection; it holds no connection while a model answers."""
        made: AsyncAnswerer = self.host.answerer(self.engine)
        return made

    async def ingestor(self, connection: HTTPConnection) -> AsyncIterator[AsyncIngestor]:
        """Dependency: the ingestor of the collection, on the session of the request: commit as there.

        It keeps no embeddings, unless ``cache=True``: the cache takes a second connection, and as many requests as the
        pool has connections would wait for each other. What takes longer than a request should, give
        ``corpus.host.ingestor(corpus.engine)``: it commits by itself, and has the cache.
        """
        async with self._session(connection) as session:
            yield self._ingestor(session)

    def scoped(self, tenant: Callable[..., Any] | str | None = None, collection: str | None = None) -> Scoped:
        """Return the dependencies of a tenant, or of another collection. FastAPI's only.

        Args:
            tenant: A name, or a dependency that returns it, of the user who is logged in, say.
            collection: The collection's name.

        Raises:
            ConfigError: The tenant is neither.
        """
        return Scoped(self, tenant, collection)

    def _repository(self, session: AsyncSession, *named: Any) -> AsyncDocumentRepository:
        made: AsyncDocumentRepository = self.host.repository(session, *named)
        return made

    def _ingestor(self, session: AsyncSession, *named: Any) -> AsyncIngestor:
        made: AsyncIngestor = self.host.ingestor(session, *named)
        return made

    def _new(self) -> _Running:
        given = self._engine
        host = AsyncHost(self.settings, None if given is None else lambda: given)
        # A session that a background task goes on with after the request must not open a connection nobody closes.
        options: dict[str, Any] = {"expire_on_commit": False, "close_resets_only": False}
        return _Running(host, async_sessionmaker(**options))

    async def _ready(self, running: _Running) -> None:
        """Fail now, and not in the first request."""
        engine = running.host.engine
        running.sessions.configure(bind=engine)
        register_vector_types(engine.sync_engine)
        if self.settings.embedder is not None:
            _ = running.host.embedder
        if self.settings.chat_model is not None:
            _ = running.host.chat
        if self._check_schema:
            async with running.sessions() as session:
                await session.run_sync(lambda _session: schema.require_current(engine.sync_engine))

    def _here(self) -> _Running:
        try:
            running = self._running.get(asyncio.get_running_loop())
        except RuntimeError:  # a dependency that is no coroutine runs in a thread
            running = next(iter(self._running.values()), None) if len(self._running) == 1 else None
        if running is None:
            raise ConfigError(_NOT_RUNNING)
        return running

    @asynccontextmanager
    async def _session(self, connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
        """Open the session of a request with the first that wants it, and close it with the last."""
        opened: dict[PgCorpus, _Shared] = connection.scope.setdefault(_SCOPE_KEY, {})
        shared = opened.get(self) or opened.setdefault(self, _Shared(self.sessions()))
        shared.users += 1
        try:
            yield shared.session
        finally:
            shared.users -= 1
            if not shared.users:
                del opened[self]
                # A request that is cancelled here must not leave its connection behind.
                await asyncio.shield(asyncio.ensure_future(shared.session.close()))


class Scoped:
    """Dependencies of a tenant's documents, or of another collection; see :meth:`PgCorpus.scoped`.

    Attributes:
        repository: As :meth:`PgCorpus.repository`, and so the others.
        retriever: The tenant's retriever.
        answerer: The tenant's answerer.
        ingestor: The tenant's ingestor.
    """

    repository: Callable[..., AsyncIterator[AsyncDocumentRepository]]
    retriever: Callable[..., Awaitable[AsyncRetriever]]
    answerer: Callable[..., Awaitable[AsyncAnswerer]]
    ingestor: Callable[..., AsyncIterator[AsyncIngestor]]

    def __init__(self, corpus: PgCorpus, tenant: Callable[..., Any] | str | None, collection: str | None) -> None:
        named = _depends_on(corpus.settings.tenant if tenant is None else tenant)

        def on_session(make: Callable[..., T]) -> Callable[..., AsyncIterator[T]]:
            async def dependency(connection: HTTPConnection, name: Any = named) -> AsyncIterator[T]:
                async with corpus._session(connection) as session:
                    yield make(session, collection, _tenant(name))

            return dependency

        def on_engine(make: str) -> Callable[..., Awaitable[Any]]:
            async def dependency(name: Any = named) -> Any:
                return getattr(corpus.host, make)(corpus.engine, collection, _tenant(name))

            return dependency

        self.repository, self.ingestor = on_session(corpus._repository), on_session(corpus._ingestor)
        self.retriever, self.answerer = on_engine("retriever"), on_engine("answerer")


def _usable(engine: Any) -> AsyncEngine | None:
    """Refuse what would fail in the first request: vectors are read by psycopg, and a sync engine stops the loop."""
    if engine is None or (isinstance(engine, AsyncEngine) and engine.dialect.driver in DRIVERS):
        return engine
    raise ConfigError("the engine must be an AsyncEngine on psycopg: create_async_engine('postgresql+psycopg://...')")


def _loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError as exc:
        raise ConfigError("documents are read on asyncio, and this app runs on another event loop") from exc


def _depends_on(tenant: Callable[..., Any] | str) -> Any:
    try:
        from fastapi import Depends
    except ImportError as exc:
        raise MissingExtraError("fastapi", "PgCorpus.scoped") from exc
    if callable(tenant):
        return Depends(tenant)
    name = _tenant(tenant)

    async def always() -> str:  # FastAPI runs what is no coroutine in a thread
        return name

    return Depends(always)


def _tenant(name: Any) -> str:
    """A user without a tenant must not see the default one's documents."""
    if not isinstance(name, str) or not name:
        raise ConfigError(f"the tenant is {name!r}: it must be a name. A dependency returns one or refuses the request")
    return name
