"""The statistics of a database, read: a few statements of the catalog, and of our tables what is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import greenlet_spawn

from pgcorpus.faults import translated
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Calibration, CalibrationPoint, Collection, Document
from pgcorpus.repositories.indexes import VectorIndex, read_indexes
from pgcorpus.repositories.search.recall import staleness
from pgcorpus.services.binds import AsyncReadBind, ReadBind, reading, sync_bind
from pgcorpus.services.statistics.catalog import read_index_uses, read_server, read_statements, read_tables
from pgcorpus.services.statistics.counting import Count, count_cache, count_documents
from pgcorpus.services.statistics.figures import CalibrationFigures, CollectionFigures, IndexFigures, Statistics
from pgcorpus.tuning import DEFAULT_EF_SEARCH, SCANS


def read_statistics(
    bind: ReadBind,
    collection: str | None = None,
    tenant: str | None = None,
    *,
    exact: bool = False,
    model: type[Any] = Document,
) -> Statistics:
    """Return what there is in a database, how large it is, and how it is used.

    It only reads, also on a hot standby. Of large collections and a large cache estimates are told, marked as such.

    Args:
        bind: An engine, or a connection or session: then its transaction is used, and left as it is.
        collection: Only collections of this name.
        tenant: Only this tenant's.
        exact: Count, however long it takes.
        model: The mapped document class.

    Raises:
        ConfigError: The bind is an async one, or none.
        DatabaseError: The server refused; a missing table or right among it.
        UnreachableError: It does not answer.
    """
    try:
        with reading(bind, model) as connection:
            return _read(connection, collection, tenant, model, exact=exact)
    except DBAPIError as exc:
        raise translated(exc) from exc


async def read_statistics_async(
    bind: AsyncReadBind,
    collection: str | None = None,
    tenant: str | None = None,
    *,
    exact: bool = False,
    model: type[Any] = Document,
) -> Statistics:
    """Return what :func:`read_statistics` does, without blocking the event loop.

    Args:
        bind: As there, async; and so the others.
        collection: Only collections of this name.
        tenant: Only this tenant's.
        exact: Count, however long it takes.
        model: The mapped document class.

    Raises:
        ConfigError: The bind is a sync one, or none; and as there.
    """
    sync = sync_bind(bind)
    found: Statistics = await greenlet_spawn(read_statistics, sync, collection, tenant, exact=exact, model=model)
    return found


def default_recall(points: Iterable[CalibrationPoint]) -> float | None:
    """Return the recall that was measured at the setting of a search that asks for nothing, and has no filter."""
    return next((point["recall"] for point in points if _is_default(point)), None)


def _is_default(point: CalibrationPoint) -> bool:
    return (
        point.get("ef_search") == DEFAULT_EF_SEARCH
        and point.get("mode") in (None, SCANS[0])
        and point.get("form") in (None, IndexForm.VECTOR)
        and not point.get("filter")
    )


def _read(
    connection: Connection, collection: str | None, tenant: str | None, model: type[Any], *, exact: bool
) -> Statistics:
    found = connection.execute(collections_of(collection, tenant)).all()
    ids = [row.id for row in found]
    indexes = read_indexes(connection, model.__table__)
    counts = count_documents(connection, model, ids, exact=exact)
    calibrations = _calibrations(connection, ids, counts, indexes)
    return Statistics(
        server=read_server(connection),
        collections=tuple(_collection(row, counts[row.id], calibrations.get(row.id)) for row in found),
        tables=read_tables(connection, model),
        indexes=_indexes(connection, model, indexes),
        cache=count_cache(connection, exact=exact),
        statements=read_statements(connection, model),
    )


def collections_of(name: str | None, tenant: str | None) -> Select[Any]:
    """Return the collections of a name and a tenant, as far as they are given, by tenant and name."""
    columns = Collection.__table__.c
    wanted = {"name": name, "tenant_id": tenant}
    conditions = [columns[column] == value for column, value in wanted.items() if value is not None]
    return select(*columns).where(*conditions).order_by(columns.tenant_id, columns.name)


def _collection(row: Any, count: Count, calibration: CalibrationFigures | None) -> CollectionFigures:
    return CollectionFigures(
        id=row.id,
        tenant=row.tenant_id,
        name=row.name,
        embedding_model=row.embedding_model,
        distance=row.distance,
        shadow_of=row.shadow_of,
        documents=count.documents,
        embedded=count.embedded,
        sources=count.sources,
        content_bytes=count.content_bytes,
        changed_at=count.changed_at,
        estimated=count.estimated,
        calibration=calibration,
    )


def _calibrations(
    connection: Connection, ids: Sequence[int], counts: Mapping[int, Count], indexes: Sequence[VectorIndex]
) -> dict[int, CalibrationFigures]:
    """Return the last calibration of each collection that has one."""
    columns = Calibration.__table__.c
    last = select(columns.collection_id, func.max(columns.id)).group_by(columns.collection_id)
    last = last.where(columns.collection_id.in_(ids))
    rows = connection.execute(select(*columns).where(tuple_(columns.collection_id, columns.id).in_(last)))
    definitions = [index.definition for index in indexes if index.valid]
    return {row.collection_id: _calibration(row, definitions, counts[row.collection_id].documents) for row in rows}


def _calibration(row: Any, definitions: Sequence[str], documents: int) -> CalibrationFigures:
    recall = default_recall(row.points)
    stale = staleness(row, definitions, documents)
    return CalibrationFigures(row.measured_at, row.documents, row.k, recall, stale)


def _indexes(connection: Connection, model: type[Any], indexes: Sequence[VectorIndex]) -> tuple[IndexFigures, ...]:
    uses = read_index_uses(connection, model)
    return tuple(
        IndexFigures(
            name=f"{index.schema}.{index.name}",
            method=index.method,
            form=index.form.value,
            metric=None if index.metric is None else index.metric.value,
            collection_id=index.collection_id,
            valid=index.valid,
            bytes=use.bytes,
            rows=round(index.rows),
            scans=use.scans,
            hit_ratio=use.hit_ratio,
        )
        for index in indexes
        if (use := uses.get(index.name)) is not None
    )
