"""What is measured, and where: the collection, its index, and the server."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from pgcorpus.errors import SearchError
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Collection, Metric
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.indexes import Serving, forget_indexes, read_indexes, serving
from pgcorpus.repositories.target import Target
from pgcorpus.repositories.transactions import connection_of
from pgcorpus.services.calibrating.reports import Surroundings
from pgcorpus.services.calibrating.storing import instant

_SERVER = text("""
    SELECT current_setting('server_version') AS postgresql, current_setting('shared_buffers') AS shared_buffers,
           (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector,
           pg_is_in_recovery() AS standby,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database
""")


@dataclass(frozen=True, slots=True)
class Standing:
    """A collection as it stands when it is measured.

    Attributes:
        collection_id: Its id.
        embedding_model: Its model.
        place: What tells it from every other collection of every other database; a standby's is its primary's.
        documents: How many it has.
        serving: The index that searches go by.
        index_name: Its name; None where there is none.
        surroundings: The server and this machine.
    """

    collection_id: int
    embedding_model: str | None
    place: Mapping[str, Any]
    documents: int
    serving: Serving
    index_name: str | None
    surroundings: Surroundings


def read_standing(session: Session, repository: DocumentRepository, target: Target, form: IndexForm | None) -> Standing:
    """Return how a collection stands.

    Args:
        session: On the database.
        repository: Of the collection.
        target: Of its mapped class.
        form: Of the index that is to be measured; by default the one that searches go by.

    Raises:
        CollectionNotFoundError: There is no such collection.
        SearchError: It has no document, or no index of the form.
    """
    collection = repository.collection()
    connection = connection_of(session, target.model)
    documents = repository.count()
    if not documents:
        raise SearchError(f"the collection {collection.name!r} has no documents: there is nothing to measure")
    found, name = _index(connection, target, collection, form)
    if form is not None and found.form is None:
        raise SearchError(f"no valid index of the form {form}: build it with `pgcorpus index build --form {form}`")
    server = connection.execute(_SERVER).one()
    return Standing(
        collection_id=collection.id,
        embedding_model=collection.embedding_model,
        place=_place(collection, server.database),
        documents=documents,
        serving=found,
        index_name=name,
        surroundings=Surroundings(
            server.postgresql, server.pgvector or "", server.shared_buffers, server.standby, machine()
        ),
    )


def _index(
    connection: Connection, target: Target, collection: Collection, form: IndexForm | None
) -> tuple[Serving, str | None]:
    """Return the index that searches go by, as it is now and not as this process remembers it."""
    forget_indexes(connection)
    metric = Metric(collection.distance)
    found = serving(connection, target.table, target.column_name, target.dimensions, metric, collection.id, form)
    names = (each.name for each in read_indexes(connection, target.table) if each.definition == found.definition)
    return found, next(names, None)


def _place(collection: Collection, database: int) -> dict[str, Any]:
    return {"database": database, "collection": collection.id, "created_at": instant(collection.created_at)}


def machine() -> str:
    """Return what the times were taken on."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count() or 1} cores, Python {platform.python_version()}"
