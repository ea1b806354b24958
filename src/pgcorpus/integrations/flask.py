"""pgcorpus in a Flask app: a session for each app context, in Flask-SQLAlchemy's transaction where the app has one.

::

    corpus = PgCorpus()


    def create_app():
        app = Flask(__name__)
        db.init_app(app)
        corpus.init_app(app)
        return app


    @app.get("/search")
    def search():
        hits = corpus.retriever(tenant=current_user.tenant).retrieve(request.args["q"])
        return [hit.document.content for hit in hits]
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import click
from sqlalchemy import Engine
from sqlalchemy.orm import Session, scoped_session

from pgcorpus.cli.host import CommandHost
from pgcorpus.cli.hosted import HostedCommands
from pgcorpus.config import DRIVERS
from pgcorpus.database import register_vector_types, session_factory
from pgcorpus.errors import ConfigError, MissingExtraError
from pgcorpus.integrations.greenlets import refuse_blocking
from pgcorpus.integrations.hosting import APPS_OWN, Host, HostSettings
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.answering import Answerer
from pgcorpus.services.ingesting import Ingestor
from pgcorpus.services.retrieval import Retriever
from pgcorpus.services.steps import Bind

try:
    from flask import Flask, current_app, has_app_context
    from flask.globals import app_ctx
except ModuleNotFoundError as exc:
    raise MissingExtraError("flask", "pgcorpus.integrations.flask") from exc

EXTENSION = "pgcorpus"
PREFIX = "PGCORPUS_"
BIND_KEY = "PGCORPUS_BIND_KEY"

# Of the environment, which an app may take as a whole for its configuration; not ours to read.
_ELSEWHERE = ("PGCORPUS_DATA_DIR", "PGCORPUS_SLOW_SEARCH_MS", "PGCORPUS_TEST_DATABASE_URL")


class FlaskHost(Host):
    """What one app has: ``app.extensions["pgcorpus"]``.

    Args:
        app: Whose configuration is read, now and only now.

    Raises:
        ConfigError: A setting is unknown or has a value that cannot be used.
    """

    def __init__(self, app: Flask) -> None:
        settings = HostSettings.of(app.config, PREFIX, known=(BIND_KEY, *_ELSEWHERE))
        super().__init__(settings, self._chosen_engine)
        self._app = app
        self._bind_key: str | None = app.config.setdefault(BIND_KEY, None)
        if self._bind_key is not None and settings.database_url:
            raise ConfigError(f"{BIND_KEY} and PGCORPUS_DATABASE_URL name a database each: set one of them")
        for name, value in settings:
            app.config.setdefault(f"{PREFIX}{name.upper()}", value)

    @property
    def sessions(self) -> scoped_session[Any]:
        """Stands for the session of whichever app context uses it: Flask-SQLAlchemy's where its default engine is used.

        Raises:
            ConfigError: The database cannot be used.
        """
        _ = self.engine  # one that cannot be used is told of here
        db = self._shared
        if db is not None and self._bind_key is None:
            shared: scoped_session[Any] = db.session
            return shared
        new: Any = lambda: session_factory(self.engine)()  # noqa: E731 -- after dispose() it is another engine
        return self._once("sessions", lambda: _one_for_each_context(new))

    def end_session(self) -> None:
        """Roll back what was not committed and give the connection back; Flask-SQLAlchemy does so with its own."""
        if sessions := self._made.get("sessions"):
            sessions.remove()

    @property
    def context(self) -> AbstractContextManager[Any]:
        """The app's context, entered unless it is the current one."""
        here = has_app_context() and current_app._get_current_object() is self._app  # type: ignore[attr-defined]
        return nullcontext() if here else self._app.app_context()

    @property
    def _shared(self) -> Any:
        """The app's Flask-SQLAlchemy, unless the app's configuration names a database for us."""
        return None if self.settings.database_url else self._app.extensions.get("sqlalchemy")

    def register(self) -> None:
        """Teach Flask-SQLAlchemy's engine vectors, and a fork's pool to begin empty, before anybody connects.

        An engine that cannot be used is told of when it is used: an app may never do it.
        """
        if self._shared is not None:
            with self.context:
                engine = self._shared.engines.get(self._bind_key)
            if engine is not None and _is_ours(engine):
                register_vector_types(engine.engine)

    def _chosen_engine(self) -> Engine:
        engine = self._own_engine() if self._shared is None else self._shared_engine()
        refuse_blocking(engine)
        return engine

    def _own_engine(self) -> Engine:
        if self._bind_key is not None:
            raise ConfigError(f"{BIND_KEY} is one of SQLALCHEMY_BINDS, and this app has no Flask-SQLAlchemy")
        return super()._own_engine()

    def _shared_engine(self) -> Engine:
        if self.settings.engine_options:
            raise ConfigError(
                "PGCORPUS_ENGINE_OPTIONS are those of an engine of our own, and Flask-SQLAlchemy's is used: "
                "set SQLALCHEMY_ENGINE_OPTIONS, or PGCORPUS_DATABASE_URL for an engine of our own"
            )
        with self.context:
            engines = self._shared.engines
        if self._bind_key not in engines:
            raise ConfigError(_no_bind(self._bind_key, engines))
        # Tests may have put a connection in its place.
        engine: Engine = engines[self._bind_key].engine
        if not _is_ours(engine):
            raise ConfigError(
                f"Flask-SQLAlchemy's engine is {engine.dialect.name}+{engine.driver}, and documents need PostgreSQL by "
                f"psycopg or psycopg2: set PGCORPUS_DATABASE_URL, or {BIND_KEY} to one of SQLALCHEMY_BINDS"
            )
        register_vector_types(engine)
        return engine


class PgCorpus:
    """The extension; one may serve several apps, and keeps nothing of any.

    Args:
        app: The app; or call :meth:`init_app` later.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Register the extension, its commands and the end of its sessions; nothing connects yet.

        The settings are those of :class:`~pgcorpus.integrations.hosting.HostSettings`, as ``PGCORPUS_DATABASE_URL`` and
        so on, and ``PGCORPUS_BIND_KEY``. They are read now: later changes do nothing. Flask-SQLAlchemy may be
        initialized before or after.

        Args:
            app: An app with its configuration loaded.

        Raises:
            ConfigError: The app has the extension already, or a setting cannot be used.
        """
        if EXTENSION in app.extensions:
            raise ConfigError("this app has a PgCorpus already: use that one")
        host = app.extensions[EXTENSION] = FlaskHost(app)
        host.register()
        app.teardown_appcontext(lambda _error: host.end_session())
        app.cli.add_command(HostedCommands(lambda context: _commands(host, context)))

    @property
    def host(self) -> FlaskHost:
        """What the current app has.

        Raises:
            ConfigError: The app has no PgCorpus.
            RuntimeError: There is no app context; Flask's own error.
        """
        host: FlaskHost | None = current_app.extensions.get(EXTENSION)
        if host is None:
            raise ConfigError(f"the app {current_app.name!r} has no PgCorpus: call init_app(app) where it is made")
        return host

    @property
    def session(self) -> Session:
        """The session of this app context: yours to commit, rolled back and removed when the context ends.

        With Flask-SQLAlchemy it is that of ``db.session``, and its models are in the same transaction. A streamed
        response is a context of its own (since Flask 3.1.2): ask for it again there.

        Raises:
            ConfigError: No database is named, or it cannot be used.
            RuntimeError: There is no app context; Flask's own error.
        """
        session: Session = self.host.sessions()
        return session

    @property
    def engine(self) -> Engine:
        """The app's engine: Flask-SQLAlchemy's, or one of our own for the process."""
        return self.host.engine

    @property
    def embedder(self) -> Any:
        """The app's embedder, made when first asked for, or several."""
        return self.host.embedder

    def repository(self, collection: str | None = None, tenant: str = APPS_OWN, **options: Any) -> DocumentRepository:
        """Return the repository of a collection, on :attr:`session`.

        Args:
            collection: Its name; by default ``PGCORPUS_COLLECTION``.
            tenant: Whose collection; by default ``PGCORPUS_TENANT``. None is refused: a user who has no tenant must not
                be shown the documents of that one.
            **options: Of :class:`~pgcorpus.repositories.DocumentRepository`.

        Raises:
            CollectionError: The tenant is None.
            ConfigError: The database cannot be used.
        """
        repository: DocumentRepository = self.host.repository(self.session, collection, tenant, **options)
        return repository

    def retriever(
        self,
        collection: str | None = None,
        tenant: str = APPS_OWN,
        *,
        bind: Bind | None = None,
        **options: Any,
    ) -> Retriever:
        """Return the retriever of a collection.

        Args:
            collection: As in :meth:`repository`.
            tenant: Likewise.
            bind: By default :attr:`session`. On :attr:`engine` it reads outside of every transaction.
            **options: Of :class:`~pgcorpus.services.retrieval.Retriever`.

        Raises:
            CollectionError: The tenant is None.
            ConfigError: The database or the embedder cannot be used.
        """
        retriever: Retriever = self.host.retriever(self._bind(bind), collection, tenant, **options)
        return retriever

    def answerer(
        self,
        collection: str | None = None,
        tenant: str = APPS_OWN,
        *,
        bind: Bind | None = None,
        **options: Any,
    ) -> Answerer:
        """Return the answerer of a collection.

        Args:
            collection: As in :meth:`repository`.
            tenant: Likewise.
            bind: By default :attr:`session`, whose transaction stays open while the model writes; the engine has none.
            **options: Of :class:`~pgcorpus.services.answering.Answerer`.

        Raises:
            CollectionError: The tenant is None.
            ConfigError: The database, the embedder or the chat model cannot be used.
        """
        answerer: Answerer = self.host.answerer(self._bind(bind), collection, tenant, **options)
        return answerer

    def ingestor(
        self,
        collection: str | None = None,
        tenant: str = APPS_OWN,
        *,
        bind: Engine | Session | None = None,
        **options: Any,
    ) -> Ingestor:
        """Return the ingestor of a collection.

        Args:
            collection: As in :meth:`repository`.
            tenant: Likewise.
            bind: By default :attr:`session`: all in one transaction, which is yours to commit. On :attr:`engine` it
                commits by itself, a few sources at a time.
            **options: Of :class:`~pgcorpus.services.ingesting.Ingestor`.

        Raises:
            CollectionError: The tenant is None.
            ConfigError: The database or the embedder cannot be used.
        """
        ingestor: Ingestor = self.host.ingestor(bind or self.session, collection, tenant, **options)
        return ingestor

    def _bind(self, given: Bind | None) -> Bind:
        return self.host.sessions if given is None else given


def _is_ours(engine: Any) -> bool:
    return engine.dialect.name == "postgresql" and engine.dialect.driver in DRIVERS


def _no_bind(key: str | None, engines: Any) -> str:
    known = ", ".join(repr(each) for each in engines if each is not None)
    if key is None:
        return f"Flask-SQLAlchemy has no default engine: set {BIND_KEY} to one of SQLALCHEMY_BINDS ({known})"
    return f"{BIND_KEY} is {key!r}, and SQLALCHEMY_BINDS has " + (known or "nothing")


def _one_for_each_context(new: Any) -> scoped_session[Any]:
    """Return sessions that go with their contexts: one whose teardown fails before ours is reached would else leave
    its transaction to a later context, of the same id.
    """
    sessions = scoped_session(new, lambda: app_ctx._get_current_object())  # type: ignore[attr-defined]
    sessions.registry.registry = WeakKeyDictionary()
    return sessions


def _commands(host: FlaskHost, context: click.Context) -> CommandHost:
    """Enter the app for the time of a command."""
    context.with_resource(host.context)
    return host.commands("flask pgcorpus")
