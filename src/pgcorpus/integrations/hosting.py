"""What an app says of its database and models, and what is made of it: once for each process, when first asked for."""

from __future__ import annotations

import difflib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Engine
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from pgcorpus.cli.host import CommandHost
from pgcorpus.config import Settings, load_settings
from pgcorpus.database import create_async_engine, create_engine
from pgcorpus.errors import CollectionError, ConfigError
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories import AsyncDocumentRepository, DocumentRepository
from pgcorpus.services.answering import Answerer, AsyncAnswerer, AsyncOpenAIChat, OpenAIChat
from pgcorpus.services.embedding import as_async, choose_embedder
from pgcorpus.services.ingesting import ENGINE_APART, AsyncIngestor, Ingestor
from pgcorpus.services.retrieval import AsyncRetriever, Retriever

# A tenant that is not named at all, unlike None: a user who has none must not be shown the documents of the app's.
APPS_OWN: Any = object()

_NOT_MADE: Any = object()  # a chat model may be None

E = TypeVar("E")
T = TypeVar("T")


class HostSettings(BaseModel):
    """What an app says; what it leaves out is as the environment says, or the default.

    Attributes:
        database_url: The database; by default ``PGCORPUS_DATABASE_URL``, else ``DATABASE_URL``.
        engine_options: Of :func:`pgcorpus.database.create_engine`: ``pool_size``, ``pgbouncer`` and so on.
        collection: The collection of calls that name none.
        tenant: The tenant of calls that name none.
        embedder: A name (``openai``, ``openai:MODEL``, ``local``), an embedder, a function that makes one, or several
            of them while a collection's model is switched.
        chat_model: A name of OpenAI's, a chat model, or a function that makes one.
        openai_api_key: By default ``OPENAI_API_KEY``.
        cache: Whether embeddings are kept by their text; by default unless they are made on this machine, or for a
            session whose pool would have to give a second connection.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    database_url: str | URL | None = Field(default=None, repr=False)
    engine_options: dict[str, Any] = Field(default={}, repr=False)
    collection: str = Field(default="default", min_length=1)
    tenant: str = Field(default=DEFAULT_TENANT, min_length=1)
    embedder: Any = None
    chat_model: Any = None
    openai_api_key: str | None = Field(default=None, repr=False)
    cache: bool | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any], prefix: str = "", *, known: Sequence[str] = ()) -> HostSettings:
        """Read an app's configuration.

        Args:
            values: Settings by their names in upper case, each with the prefix; other keys are the app's own.
            prefix: Such as ``PGCORPUS_``.
            known: Names with the prefix that somebody else reads.

        Raises:
            ConfigError: A setting is unknown or has a value that cannot be used; the message names it, never its value.
        """
        named = {str(key): value for key, value in values.items()}
        given = {key: value for key, value in named.items() if key.startswith(prefix) and key not in known}
        names = {f"{prefix}{name.upper()}": name for name in cls.model_fields}
        for key in given:
            if key not in names:
                raise ConfigError(_unknown(key, [*names, *known], prefix))
        try:
            return cls.model_validate({names[key]: value for key, value in given.items()})
        except ValidationError as exc:
            first = exc.errors()[0]
            raise ConfigError(f"{prefix}{str(first['loc'][0]).upper()}: {first['msg']}") from None


def _unknown(key: str, names: Sequence[str], prefix: str) -> str:
    near = difflib.get_close_matches(key.removeprefix(prefix), [name.removeprefix(prefix) for name in names], 1)
    known = f"did you mean {prefix}{near[0]}?" if near else f"there are {', '.join(names)}"
    return f"no setting is called {key}: {known}"


class _Hosting(Generic[E]):
    """What the sync and the async host share; the arguments are those of :class:`Host`."""

    _engines: ClassVar[Any]
    _repositories: ClassVar[Any]
    _retrievers: ClassVar[Any]
    _answerers: ClassVar[Any]
    _ingestors: ClassVar[Any]
    _chats: ClassVar[Any]

    def __init__(self, settings: HostSettings, engine: Callable[[], E] | None = None) -> None:
        self.settings = settings
        self._engine = engine or self._own_engine
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()

    @property
    def engine(self) -> E:
        """The app's database.

        Raises:
            ConfigError: No URL is known, or it cannot be used.
        """
        return self._engine()

    @property
    def embedder(self) -> Any:
        """The app's embedder, or several.

        Raises:
            ConfigError: The name is unknown, or OpenAI is named and there is no key.
            MissingExtraError: It is not installed.
        """
        return self._once("embedder", lambda: self._embedder_of(self.settings.embedder))

    @property
    def chat(self) -> Any:
        """The app's chat model, or None where there is none, nor a key."""
        return self._once("chat", self._chat)

    @property
    def environment(self) -> Settings:
        """The environment's settings with the app's own before them."""
        own = {"openai_api_key": self.settings.openai_api_key}
        if isinstance(self.settings.embedder, str):
            own["embedder"] = self.settings.embedder
        found = load_settings()
        return found.model_copy(update={name: value for name, value in own.items() if value is not None})

    def repository(self, session: Any, collection: str | None = None, tenant: str = APPS_OWN, **options: Any) -> Any:
        """Return the repository of a collection; see :class:`pgcorpus.repositories.DocumentRepository`.

        Args:
            session: It works in this session's transaction.
            collection: Its name; by default the app's.
            tenant: Whose collection; by default the app's. None is refused.
            **options: Of the class.

        Raises:
            CollectionError: The tenant is None.
        """
        return self._repositories(session, *self._named(collection, tenant), **options)

    def retriever(self, bind: Any, collection: str | None = None, tenant: str = APPS_OWN, **options: Any) -> Any:
        """Return the retriever of a collection; see :class:`pgcorpus.services.retrieval.Retriever`."""
        return self._retrievers(bind, self.embedder, *self._named(collection, tenant), **options)

    def answerer(self, bind: Any, collection: str | None = None, tenant: str = APPS_OWN, **options: Any) -> Any:
        """Return the answerer of a collection; see :class:`pgcorpus.services.answering.Answerer`."""
        if not options.get("extractive"):
            options = {"chat": self.chat} | options
        return self._answerers(bind, self.embedder, *self._named(collection, tenant), **options)

    def ingestor(self, bind: Any, collection: str | None = None, tenant: str = APPS_OWN, **options: Any) -> Any:
        """Return the ingestor of a collection; see :class:`pgcorpus.services.ingesting.Ingestor`.

        On a session it keeps no embeddings unless the app says ``cache=True``: the cache takes a second connection of
        the same pool, and as many ingests as that has connections would wait for each other.
        """
        apart = isinstance(bind, Engine | AsyncEngine) or ENGINE_APART in bind.info
        options = {"cache": self.settings.cache if apart else bool(self.settings.cache)} | options
        return self._ingestors(bind, self._first_embedder(), *self._named(collection, tenant), **options)

    def _own_engine(self) -> E:
        engine: E = self._once("engine", self._new_engine)
        return engine

    def _new_engine(self) -> Any:
        try:
            return self._engines(self.settings.database_url, **self.settings.engine_options)
        except TypeError as exc:  # it names an option, and says nothing of the URL
            raise ConfigError(f"the engine cannot be made with these options: {exc}") from exc

    def _first_embedder(self) -> Any:
        embedder = self.embedder
        return embedder[0] if isinstance(embedder, Sequence) else embedder

    def _named(self, collection: str | None, tenant: str) -> tuple[str, str]:
        if tenant is None:
            raise CollectionError("the tenant is None: name one, or leave it out where the app's own is meant")
        return (
            self.settings.collection if collection is None else collection,
            self.settings.tenant if tenant is APPS_OWN else tenant,
        )

    def _embedder_of(self, given: Any) -> Any:
        if isinstance(given, list | tuple) and given:
            return tuple(self._embedder_of(each) for each in given)
        if given is None or isinstance(given, str):
            return self._fit(choose_embedder(given, self.environment))
        return self._fit(_model_of(given, "embed"))

    def _fit(self, embedder: Any) -> Any:
        """Return an embedder as the host's services take it."""
        return embedder

    def _chat(self) -> Any:
        given, key = self.settings.chat_model, self.environment.openai_api_key
        if isinstance(given, str):
            return self._chats(given, api_key=key)
        if given is None:
            return self._chats(api_key=key) if key else None
        return _model_of(given, "complete")

    def _once(self, name: str, make: Callable[[], T]) -> T:
        """Return what was made before, or make it: by one thread only, while others use what is there."""
        made: T = self._made.get(name, _NOT_MADE)
        if made is _NOT_MADE:
            with self._lock:
                if name not in self._made:
                    self._made[name] = make()
                made = self._made[name]
        return made


class Host(_Hosting[Engine]):
    """An app's database and models.

    Args:
        settings: What the app says.
        engine: Returns an engine that the app has already, in place of one of our own.
    """

    _engines, _repositories, _retrievers = staticmethod(create_engine), DocumentRepository, Retriever
    _answerers, _ingestors, _chats = Answerer, Ingestor, OpenAIChat

    def commands(self, command: str) -> CommandHost:
        """Return what the app's own command line works with.

        Args:
            command: How the commands are called, such as ``flask pgcorpus``.
        """
        return CommandHost(
            command=command,
            settings=self.environment,
            engine=lambda: self.engine,
            embedder=self._first_embedder,
            chat=lambda: self.chat,
            collection=self.settings.collection,
            tenant=self.settings.tenant,
        )

    def dispose(self) -> None:
        """Close the connections of an engine that was made here."""
        with self._lock:
            if engine := self._made.pop("engine", None):
                engine.dispose()


class AsyncHost(_Hosting[AsyncEngine]):
    """An async app's database and models; the arguments are those of :class:`Host`.

    An embedder that is not async is called in a thread.
    """

    _engines, _repositories, _retrievers = staticmethod(create_async_engine), AsyncDocumentRepository, AsyncRetriever
    _answerers, _ingestors, _chats = AsyncAnswerer, AsyncIngestor, AsyncOpenAIChat

    def _fit(self, embedder: Any) -> Any:
        return as_async(embedder)

    async def dispose(self) -> None:
        """Close the connections of what was made here: they belong to an event loop, and that may end now."""
        with self._lock:
            made, self._made = self._made, {}
        if engine := made.pop("engine", None):
            await engine.dispose()
        given = (self.settings.chat_model, *_each(self.settings.embedder))
        for model in (made.get("chat"), *_each(made.get("embedder"))):
            if model not in given and inspect.iscoroutinefunction(close := getattr(model, "close", None)):
                await close()


def _model_of(given: Any, method: str) -> Any:
    """Return a model as it was given, or what a function or a class makes."""
    if isinstance(given, type) or (callable(given) and not hasattr(given, method)):
        given = given()
    if not hasattr(given, method):
        raise ConfigError(
            f"the app gave {type(given).__name__} for a model: give a name, an object with a method {method}, or a "
            "function that makes one"
        )
    return given


def _each(models: Any) -> Sequence[Any]:
    return models if isinstance(models, Sequence) else (models,)
