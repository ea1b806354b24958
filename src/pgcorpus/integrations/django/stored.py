"""What the database has of objects, and turns taken among those who write it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction
from sqlalchemy import ColumnElement, Select, func, select, true
from sqlalchemy.orm import Session

from pgcorpus.integrations.django.conf import database_alias
from pgcorpus.integrations.django.kept import DocumentsOf, Place
from pgcorpus.integrations.django.sessions import session
from pgcorpus.models import Collection, Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.writing.statements import lock_sources

# No collection has it: a lock on a name whatever tenant or collection its documents lie in.
_ANYWHERE = 0


@contextmanager
def turn(names: Sequence[str]) -> Iterator[Session]:
    """Yield a session in a transaction of Django's; nobody else has one for any of these sources meanwhile.

    What is read of the objects in it is the newest: who saves one later has to wait with their own turn.
    """
    connection = connections[database_alias()]
    with transaction.atomic(connection.alias):
        if not connection.savepoint_ids:
            # In REPEATABLE READ the objects would be those of before the wait.
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        with session() as documents:
            documents.execute(lock_sources(_ANYWHERE, names))
            yield documents


def stored_places(documents: Session, kept: DocumentsOf, names: Sequence[str]) -> dict[Place, list[str]]:
    """Return where documents of these sources lie: an object's tenant or collection may have been another one."""
    of_collection = (
        select(Document.source)
        .where(Document.collection_id == Collection.id, Document.source.in_(names))
        .distinct()
        .lateral("of_collection")
    )
    statement = (
        select(Collection.tenant_id, Collection.name, of_collection.c.source)
        .join(of_collection, true())
        .where(*_ours(kept))
    )
    places: dict[Place, list[str]] = {}
    for tenant, collection, source in documents.execute(statement):
        places.setdefault(Place(tenant, collection), []).append(source)
    return places


def delete_stored(documents: Session, place: Place, names: Sequence[str], *, dry_run: bool) -> int:
    """Delete the documents of sources in one place, and return how many there are."""
    repository = DocumentRepository(documents, place.collection, place.tenant)
    return repository.count({"source": {"$in": list(names)}}) if dry_run else repository.delete_sources(names)


def stored_names(kept: DocumentsOf, page: int) -> Iterator[list[str]]:
    """Yield the names of all sources of a model that are stored, in pages."""
    with session() as documents:
        collections = documents.scalars(select(Collection.id).where(*_ours(kept)).order_by(Collection.id)).all()
    for collection_id in collections:
        names = [""]
        while names:
            with session() as documents:
                names = list(documents.scalars(_names_after(names[-1], kept.prefix, collection_id, page)))
            if names:
                yield names


def _names_after(name: str, prefix: str, collection_id: int, page: int) -> Select[Any]:
    return (
        select(Document.source)
        .where(
            Document.collection_id == collection_id,
            Document.source > name,
            func.starts_with(Document.source, prefix),
        )
        .distinct()
        .order_by(Document.source)
        .limit(page)
    )


def _ours(kept: DocumentsOf) -> list[ColumnElement[bool]]:
    """Return which collections a model's documents can lie in; a copy under another model is for the switch to keep."""
    fixed = zip((Collection.tenant_id, Collection.name), kept.fixed_place, strict=True)
    return [Collection.shadow_of.is_(None), *(column == value for column, value in fixed if value is not None)]
