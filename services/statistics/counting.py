"""Rows counted where they are few, and estimated where counting would mean to read a large table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, literal, select, tablesample

from pgcorpus.models import CachedEmbedding
from pgcorpus.repositories.embedding_cache import per_model
from pgcorpus.repositories.search.explanation import Explain
from pgcorpus.services.statistics.figures import CacheFigures

# Rows that are counted before the rest is estimated. A document of 1,536 dimensions takes a page of 8 KB, and to count
# is to read it.
COUNTED_ROWS = 50_000

# Rows of the sample from which an estimate has its shares: one of a tenth is then right to a fiftieth of itself, by the
# binomial standard deviation, where the table's pages are alike.
SAMPLED_ROWS = 20_000

_MOST_PERCENT = 100.0
# The same pages each time, so that an estimate changes only with the table.
_SEED = 0


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted of a collection, or estimated; the attributes are those of the collection's figures."""

    documents: int = 0
    embedded: int = 0
    sources: int | None = None
    content_bytes: int | None = None
    changed_at: datetime | None = None
    estimated: bool = False


EMPTY = Count(sources=0, content_bytes=0)


def count_documents(connection: Connection, model: type[Any], ids: Sequence[int], *, exact: bool) -> dict[int, Count]:
    """Return what each collection has.

    Args:
        connection: Reads only.
        model: The mapped document class.
        ids: The collections.
        exact: Count all; else the smallest collections are counted, as many as are few rows together.
    """
    planned = {} if exact else {each: planned_rows(connection, documents_of(model, [each])) for each in ids}
    small, large = split(ids, planned)
    counted = _counted(connection, model, small) if small else {}
    return counted | (_estimated(connection, model, {each: planned[each] for each in large}) if large else {})


def split(ids: Iterable[int], planned: Mapping[int, int], limit: int = COUNTED_ROWS) -> tuple[list[int], list[int]]:
    """Return the collections to count, the smallest first, and those to estimate.

    Args:
        ids: All of them.
        planned: The rows the planner expects of each; none where all are to be counted.
        limit: Rows to count in all.
    """
    small: list[int] = []
    large: list[int] = []
    total = 0
    for each in sorted(ids, key=lambda each: (planned.get(each, 0), each)):
        total += planned.get(each, 0)
        (small if total <= limit else large).append(each)
    return small, large


def planned_rows(connection: Connection, statement: Select[Any]) -> int:
    """Return how many rows the planner expects of a statement; nothing is read."""
    answer: Any = connection.execute(Explain(statement, "FORMAT JSON")).scalar_one()
    plan = json.loads(answer) if isinstance(answer, str) else answer
    return int(plan[0]["Plan"]["Plan Rows"])


def documents_of(model: type[Any], ids: Sequence[int]) -> Select[Any]:
    """Return the documents of collections, without their columns."""
    return select(model.collection_id).where(model.collection_id.in_(ids))


def count_cache(connection: Connection, *, exact: bool) -> tuple[CacheFigures, ...]:
    """Return what is kept of each model, by name.

    Args:
        connection: Reads only.
        exact: Count it however large it is.
    """
    entries = 0 if exact else planned_rows(connection, select(CachedEmbedding.model))
    if entries <= COUNTED_ROWS:
        counted: Any = connection.execute(per_model())
        return tuple(CacheFigures(model, number, int(size), False) for model, number, size in counted)
    sample: Any = _sample(CachedEmbedding, entries)
    size = func.avg(func.octet_length(sample.c.embedding))
    statement = select(sample.c.model, func.count(), size).group_by(sample.c.model).order_by(sample.c.model)
    rows = connection.execute(statement).all()
    times = entries / max(1, sum(count for _, count, _ in rows))
    return tuple(
        CacheFigures(model, round(count * times), round(count * times * float(mean)), True)
        for model, count, mean in rows
    )


def _counted(connection: Connection, model: type[Any], ids: Sequence[int]) -> dict[int, Count]:
    statement = select(
        model.collection_id,
        func.count(),
        func.count(model.embedding),
        func.count(model.source.distinct()),
        func.sum(func.octet_length(model.content)),
        func.max(model.updated_at),
    )
    statement = statement.where(model.collection_id.in_(ids)).group_by(model.collection_id)
    rows: Any = connection.execute(statement)
    found = {
        each: Count(documents, embedded, sources, int(size), changed)
        for each, documents, embedded, sources, size, changed in rows
    }
    return {each: found.get(each, EMPTY) for each in ids}


def _estimated(connection: Connection, model: type[Any], planned: Mapping[int, int]) -> dict[int, Count]:
    """Return the planner's rows, with a sample's share of embeddings and mean length of texts."""
    documents: Any = _sample(model, planned_rows(connection, select(model.collection_id)))
    statement = select(
        documents.c.collection_id,
        func.count(),
        func.count(documents.c.embedding),
        func.avg(func.octet_length(documents.c.content)),
    )
    statement = statement.where(documents.c.collection_id.in_(list(planned))).group_by(documents.c.collection_id)
    sampled = {row[0]: row[1:] for row in connection.execute(statement)}
    return {each: _from_sample(rows, sampled.get(each)) for each, rows in planned.items()}


def _from_sample(planned: int, sampled: Sequence[Any] | None) -> Count:
    if sampled is None:
        return Count(planned, planned, estimated=True)
    seen, embedded, mean = sampled
    return Count(planned, round(planned * embedded / seen), None, round(planned * float(mean)), estimated=True)


def _sample(model: type[Any], rows: int) -> Any:
    """Return a table's sample of some rows, by whole pages."""
    percent = min(_MOST_PERCENT, _MOST_PERCENT * SAMPLED_ROWS / max(1, rows))
    return tablesample(model.__table__, func.system(percent), seed=literal(_SEED))
