"""Sessions in a Django project: in Django's own transaction, or beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connections, transaction
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, SessionTransaction

from pgcorpus.database import session_factory
from pgcorpus.errors import DatabaseError
from pgcorpus.integrations.django.conf import database_alias, host
from pgcorpus.integrations.django.pooling import engine
from pgcorpus.integrations.django.sharing import NOT_OURS, shared_connection
from pgcorpus.integrations.hosting import APPS_OWN
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.answering import Answerer
from pgcorpus.services.ingesting import ENGINE_APART, Ingestor
from pgcorpus.services.retrieval import Retriever

# Of each of Django's connections (one for a thread and alias) the sessions of open blocks, the innermost last.
_open: WeakKeyDictionary[Any, list[Session]] = WeakKeyDictionary()


@contextmanager
def session(using: str | None = None) -> Iterator[Session]:
    """Open a session on Django's current connection, in Django's current transaction.

    Inside ``transaction.atomic()`` it is one with what Django's models do: seen by them, committed and rolled back
    with them. Outside the block is an ``atomic()`` block itself. Leaving it flushes; an error that leaves it makes
    Django roll back, as one of its own models' would. ``begin_nested()`` is a savepoint of Django's; ``rollback()`` is
    ``transaction.set_rollback(True)``, after which Django runs no more statements until the atomic block has ended;
    ``commit()`` is refused. Blocks may stand inside each other, each with a session of its own.

    Args:
        using: An alias of ``settings.DATABASES``; by default that of ``settings.PGCORPUS``.

    Raises:
        ConfigError: A setting is wrong, or the alias is not PostgreSQL's.
        DatabaseError: The session was to commit, or a statement had failed and its error was caught: then nothing of
            the transaction can be kept.
        django.db.transaction.TransactionManagementError: Django's transaction had failed before.
    """
    alias = database_alias(using)
    with transaction.atomic(alias, savepoint=False):
        connections[alias].validate_no_broken_transaction()
        with shared_connection(alias) as connection, _listed(_session_on(connection, alias), alias) as shared:
            yield shared
            _finish(shared, connection)


@contextmanager
def pooled_session(using: str | None = None) -> Iterator[Session]:
    """Open a session on a connection of our own pool; it commits in the end, and rolls back on an error.

    It is apart from Django's transaction: for work that is to be kept whatever becomes of the request, and for long
    searches outside of one. A ``TestCase`` of Django's, whose data are never committed, and it do not see each other.

    Args:
        using: An alias of ``settings.DATABASES``; by default that of ``settings.PGCORPUS``.

    Raises:
        ConfigError: A setting is wrong, or the alias is not PostgreSQL's.
    """
    with session_factory(engine(using)).begin() as own:
        yield own


def current_session(using: str | None = None) -> Session | None:
    """Return the session of the innermost block of :func:`session` that this thread is in, if any."""
    sessions = _open.get(connections[database_alias(using)])
    return sessions[-1] if sessions else None


def repository(
    collection: str | None = None,
    tenant: str = APPS_OWN,
    *,
    session: Session | None = None,
    using: str | None = None,
    **options: Any,
) -> DocumentRepository:
    """Return the repository of a collection.

    Args:
        collection: By default that of ``settings.PGCORPUS``.
        tenant: Likewise; None is refused, since a user who has no tenant must not be shown the default one's documents.
        session: By default that of the block of :func:`session` around.
        using: An alias of ``settings.DATABASES``.
        **options: Of :class:`~pgcorpus.repositories.DocumentRepository`.

    Raises:
        ConfigError: A setting is wrong.
        CollectionError: The tenant is None.
        DatabaseError: There is no session.
    """
    found = session or current_session(using)
    if found is None:
        raise DatabaseError("a repository works in a session: use it inside `with session():`, or give it one")
    made: DocumentRepository = host(using).repository(found, collection, tenant, **options)
    return made


def retriever(
    collection: str | None = None,
    tenant: str = APPS_OWN,
    *,
    bind: Engine | Session | None = None,
    using: str | None = None,
    **options: Any,
) -> Retriever:
    """Return the retriever of a collection, with the embedder of ``settings.PGCORPUS``.

    Args:
        collection: By default that of ``settings.PGCORPUS``.
        tenant: Likewise.
        bind: By default the session of the block of :func:`session` around, else :func:`engine`.
        using: An alias of ``settings.DATABASES``.
        **options: Of :class:`~pgcorpus.services.retrieval.Retriever`.

    Raises:
        ConfigError: A setting is wrong.
    """
    made: Retriever = host(using).retriever(_bind(bind, using), collection, tenant, **options)
    return made


def answerer(
    collection: str | None = None,
    tenant: str = APPS_OWN,
    *,
    bind: Engine | Session | None = None,
    using: str | None = None,
    **options: Any,
) -> Answerer:
    """Return the answerer of a collection, with the models of ``settings.PGCORPUS``.

    The arguments are those of :func:`retriever`; the options of :class:`~pgcorpus.services.answering.Answerer`. While
    a model answers, an engine holds no transaction, and a session does.

    Raises:
        ConfigError: A setting is wrong.
    """
    made: Answerer = host(using).answerer(_bind(bind, using), collection, tenant, **options)
    return made


def ingestor(
    collection: str | None = None,
    tenant: str = APPS_OWN,
    *,
    bind: Engine | Session | None = None,
    using: str | None = None,
    **options: Any,
) -> Ingestor:
    """Return the ingestor of a collection, with the embedder of ``settings.PGCORPUS``.

    The arguments are those of :func:`retriever`; the options of :class:`~pgcorpus.services.ingesting.Ingestor`. In a
    session all is written in Django's transaction; the cache of embeddings, which are paid for, is always committed.

    Raises:
        ConfigError: A setting is wrong.
    """
    made: Ingestor = host(using).ingestor(_bind(bind, using), collection, tenant, **options)
    return made


def _bind(bind: Engine | Session | None, using: str | None) -> Engine | Session:
    return bind or current_session(using) or engine(using)


def _session_on(connection: Connection, alias: str) -> Session:
    made = Session(connection, expire_on_commit=False, info={ENGINE_APART: partial(engine, alias)})
    event.listen(made, "after_transaction_create", _begin_now)
    event.listen(made, "before_commit", _refuse_commit)
    event.listen(made, "after_rollback", partial(_mark, alias))
    return made


@contextmanager
def _listed(shared: Session, alias: str) -> Iterator[Session]:
    sessions = _open.setdefault(connections[alias], [])
    sessions.append(shared)
    try:
        with shared:
            yield shared
    finally:
        sessions.remove(shared)


def _begin_now(shared: Session, begun: SessionTransaction) -> None:
    """Make a savepoint where it is asked for, not before the session's first statement: Django's models are in it."""
    if begun.nested:
        shared.connection()


def _refuse_commit(shared: Session) -> None:
    if not shared.in_nested_transaction():
        raise DatabaseError(NOT_OURS)


def _mark(alias: str, shared: Session) -> None:
    """Tell Django that what was flushed must go; of a savepoint it knows."""
    if not shared.in_nested_transaction() and connections[alias].in_atomic_block:
        transaction.set_rollback(True, using=alias)


def _finish(shared: Session, connection: Connection) -> None:
    """Do what a commit would, up to the commit itself."""
    driver_connection: Any = connection.connection.driver_connection
    if driver_connection.info.transaction_status == TransactionStatus.INERROR or not shared.is_active:
        # To its COMMIT the server would answer ROLLBACK, and Django would not notice.
        raise DatabaseError(
            "a statement failed in this session and its error was caught, so that nothing of the transaction can be "
            "kept: put what may fail into `with session.begin_nested():`"
        )
    while nested := shared.get_nested_transaction():
        nested.commit()
    shared.flush()
