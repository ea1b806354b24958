"""Recall as a parameter: the cheapest setting that reached it when it was measured, else a safe one."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import ceil
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool, select, text

from pgcorpus.indexing import IndexForm
from pgcorpus.models import Calibration, CalibrationPoint
from pgcorpus.names import qualified
from pgcorpus.repositories.indexes import Serving
from pgcorpus.repositories.search.requests import MAX_EF_SEARCH, MAX_HITS, MAX_PROBES
from pgcorpus.tuning import DEFAULT_EF_SEARCH

_logger = logging.getLogger("pgcorpus")

# Seconds for which what was measured, and whether it still holds, is remembered: both change slowly.
REMEMBERED = 60.0

# What was measured with half as many documents, or twice as many, is measured again.
GROWTH = 2.0

# Settings that took so much longer at most than the quickest were as quick, for all that a clock can tell.
_NOISE = 1.05

# Without a calibration: the recall asked for, and the ef_search that reached it at every selectivity of 20,000 hard
# rows (docs/tuning.md). What is higher, and what an index of signs or IVFFlat is to reach, is searched exactly.
SAFE_EF_SEARCH = ((0.95, DEFAULT_EF_SEARCH), (0.98, 2 * DEFAULT_EF_SEARCH), (0.99, 4 * DEFAULT_EF_SEARCH))


class Setting(NamedTuple):
    """How to search for a recall: one of the first three.

    Attributes:
        ef_search: Candidates that HNSW keeps.
        probes: Lists that IVFFlat looks into.
        exact: Compare with every row.
        form: The form of the index that was measured; None for the one there is.
        rerank: Rows compared exactly.
        scan: How the scan goes on.
    """

    ef_search: int | None = None
    probes: int | None = None
    exact: bool = False
    form: IndexForm | None = None
    rerank: int | None = None
    scan: str | None = None


EXACT = Setting(exact=True)


def setting_of(point: CalibrationPoint, times: float = 1.0) -> Setting:
    """Return what was set when a point was measured.

    Args:
        point: Of a calibration.
        times: How many times as many hits as then are wanted: the setting grows with them.
    """
    if point.get("exact"):
        return EXACT
    grown = max(1.0, times)
    form = point.get("form")
    return Setting(
        ef_search=_grown(point.get("ef_search"), grown, MAX_EF_SEARCH),
        probes=_grown(point.get("probes"), grown, MAX_PROBES),
        form=None if form is None else IndexForm(form),
        rerank=_grown(point.get("rerank"), grown, MAX_HITS),
        scan=point.get("mode"),
    )


def _grown(value: int | None, times: float, highest: int) -> int | None:
    return None if value is None else min(highest, ceil(value * times))


def choose(
    points: Iterable[CalibrationPoint], target: float, *, filtered: bool, form: IndexForm | str | None = None
) -> CalibrationPoint | None:
    """Return the cheapest point whose setting reached a recall; None where none did.

    A filtered search takes a setting that reached it without a filter and under each that was measured.

    Args:
        points: Of a calibration.
        target: The recall, 0 to 1.
        filtered: Whether the search has a filter.
        form: Of the index that is there: what was measured of another one counts for nothing.
    """
    by_setting: dict[Setting, list[CalibrationPoint]] = {}
    for point in points:
        if form is None or point.get("exact") or (point.get("form") or IndexForm.VECTOR) == form:
            by_setting.setdefault(setting_of(point), []).append(point)
    reaching = [
        counted
        for measured in by_setting.values()
        if (counted := _counted(measured, filtered)) and all(point["recall"] >= target for point in counted)
    ]
    cheapest = min(map(_cost, reaching), default=0.0)
    near = [counted[0] for counted in reaching if _cost(counted) <= cheapest * _NOISE]
    return min(near, key=_plainness, default=None)


def _cost(counted: Sequence[CalibrationPoint]) -> float:
    return sum(point["p50_ms"] for point in counted) / len(counted)


def _plainness(point: CalibrationPoint) -> tuple[bool, int, float]:
    """The default way of scanning first, and what looks less hard; an exact search last."""
    hard = point.get("ef_search") or point.get("probes") or sys.maxsize
    return point.get("mode") is not None, hard, point["p50_ms"]


def _counted(measured: Sequence[CalibrationPoint], filtered: bool) -> Sequence[CalibrationPoint]:
    """The points of a setting that tell what a search may expect: those without a filter, and for one with, all."""
    without = [point for point in measured if not point.get("filter")]
    return sorted(measured, key=lambda point: bool(point.get("filter"))) if filtered and without else without


def safe_setting(recall: float, k: int, serving: Serving) -> Setting:
    """Return a setting for a recall that was not measured: more than is needed rather than less.

    Args:
        recall: 0 to 1.
        k: Hits wanted: a search that asks for no recall keeps twice as many candidates.
        serving: The index that is there.
    """
    if serving.form is IndexForm.BINARY or serving.lists is not None:
        return EXACT
    candidates = min(2 * k, MAX_EF_SEARCH)
    return next((Setting(ef_search=max(ef, candidates)) for reached, ef in SAFE_EF_SEARCH if recall <= reached), EXACT)


def setting_for(
    connection: Connection,
    table: Any,
    collection_id: int | None,
    recall: float,
    k: int,
    serving: Serving,
    *,
    filtered: bool,
) -> Setting:
    """Return how to search for a recall, as it was measured in a collection.

    Args:
        connection: The search's.
        table: Of the class searched.
        collection_id: The collection; None for a table without, which has no calibration.
        recall: 0 to 1.
        k: Hits wanted.
        serving: The index that is there.
        filtered: Whether the search has a filter.
    """
    if recall >= 1 or serving.form is None:
        return EXACT
    known = None if collection_id is None else _remembered(connection, table, collection_id)
    if known is None:
        return safe_setting(recall, k, serving)
    if _unqualified(known.definition) != _unqualified(serving.definition or ""):
        _warn(known.id, collection_id, "another index was there when it was measured; a safe setting is used")
        return safe_setting(recall, k, serving)
    if known.outgrown:
        _warn(known.id, collection_id, known.outgrown)
    point = choose(known.points, recall, filtered=filtered, form=serving.form)
    return EXACT if point is None else setting_of(point, k / known.k)


def staleness(calibration: Calibration, definitions: Iterable[str], documents: int) -> str | None:
    """Return why a calibration no longer tells what searches may expect; None while it does.

    Args:
        calibration: What was measured.
        definitions: Of the valid indexes that are there now, as ``pg_get_indexdef`` tells them.
        documents: Of the collection, now.
    """
    if _unqualified(calibration.index_definition) not in map(_unqualified, definitions):
        return "the index it was measured with is gone"
    return _outgrown(calibration.documents, documents)


# PostgreSQL names the extension's schema where the search_path of whoever asks lacks it.
_SCHEMA_OF_VECTORS = re.compile(
    r'(?:"(?:[^"]|"")+"|\w+)\.(?=(?:vector|halfvec|bit)_\w+_ops\b|halfvec\(|binary_quantize\()'
)


@lru_cache(maxsize=512)
def _unqualified(definition: str) -> str:
    return _SCHEMA_OF_VECTORS.sub("", definition)


def _outgrown(then: int, now: int) -> str | None:
    if now > GROWTH * max(then, 1) or now * GROWTH < then:
        return f"it was measured with {then:,} documents, and there are {now:,} now"
    return None


# As this process saw them, by pool and collection


class _Known(NamedTuple):
    id: int
    definition: str
    k: int
    points: Sequence[CalibrationPoint]
    outgrown: str | None


_seen: WeakKeyDictionary[Pool, dict[tuple[str | None, str, int], tuple[float, _Known | None]]] = WeakKeyDictionary()
_told: set[tuple[int | None, int]] = set()

# Collections remembered of a pool: a process may search those of many tenants, one after another.
_KEPT = 1_000

# Few enough to be counted; of more the planner's statistics tell.
_COUNTED = 20_000


def forget_calibrations(connection: Connection) -> None:
    """Have this process's searches look again what was measured."""
    _seen.pop(connection.engine.pool, None)


def _remembered(connection: Connection, table: Any, collection_id: int) -> _Known | None:
    of_pool = _seen.setdefault(connection.engine.pool, {})
    key = (connection.schema_for_object(table), table.name, collection_id)
    until, known = of_pool.get(key, (0.0, None))
    if until < monotonic():
        known = _read(connection, table, collection_id)
        if len(of_pool) >= _KEPT:
            of_pool.clear()
        of_pool[key] = (monotonic() + REMEMBERED, known)
    return known


def _read(connection: Connection, table: Any, collection_id: int) -> _Known | None:
    columns = Calibration.id, Calibration.index_definition, Calibration.k, Calibration.points, Calibration.documents
    latest = select(*columns).where(Calibration.collection_id == collection_id).order_by(Calibration.id.desc())
    row = connection.execute(latest.limit(1)).one_or_none()
    if row is None:
        return None
    now = documents_of(connection, connection.schema_for_object(table), table.name, collection_id)
    return _Known(row.id, row.index_definition, row.k, row.points, _outgrown(row.documents, now))


def documents_of(connection: Connection, schema: str | None, table: str, collection_id: int) -> int:
    """Return how many rows of a table a collection has: counted if they are few, else by the planner's statistics."""
    rows = f"{qualified(schema, table)} WHERE collection_id = {int(collection_id)}"
    counting = text(f"SELECT count(*) FROM (SELECT FROM {rows} LIMIT {_COUNTED}) AS counted")  # noqa: S608
    counted = int(connection.scalar(counting) or 0)
    if counted < _COUNTED:
        return counted
    answer = connection.scalar(text(f"EXPLAIN (FORMAT JSON) SELECT FROM {rows}"))
    plan: Mapping[str, Any] = (json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]
    return max(counted, int(plan["Plan Rows"]))


def _warn(calibration_id: int, collection_id: int | None, why: str) -> None:
    """Once for each calibration and process."""
    if (collection_id, calibration_id) in _told:
        return
    _told.add((collection_id, calibration_id))
    _logger.warning(
        "the calibration of collection %s no longer holds: %s; measure again with `pgcorpus tune --refresh`",
        collection_id,
        why,
    )
