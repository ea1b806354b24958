"""What was measured of the recall of collections: checked, stored, found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from pgcorpus.errors import CollectionNotFoundError, SearchError
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Calibration, CalibrationPoint, Collection
from pgcorpus.repositories.search.recall import forget_calibrations
from pgcorpus.repositories.search.requests import LARGEST, LARGEST_ID, MAX_EF_SEARCH, MAX_HITS, MAX_PROBES
from pgcorpus.repositories.transactions import connection_of
from pgcorpus.repositories.values import json_problem
from pgcorpus.tuning import SCANS

_FIGURES = ("recall", "p50_ms", "p95_ms", "scanned")
_REQUIRED = frozenset(_FIGURES)
_SETTINGS = ("ef_search", "probes", "exact")
_KNOWN = _REQUIRED | {*_SETTINGS, "form", "rerank", "mode", "filter"}

# pgvector README, "HNSW" and "IVFFlat".
_NUMBERS = {"ef_search": MAX_EF_SEARCH, "probes": MAX_PROBES, "rerank": MAX_HITS}


class Calibrations:
    """The table ``pgcorpus.calibrations``, in the caller's transaction; nothing is committed here.

    Args:
        session: Any session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def save(
        self,
        collection_id: int,
        points: Sequence[CalibrationPoint],
        *,
        index_definition: str,
        documents: int,
        k: int,
    ) -> Calibration:
        """Store what was measured, beside what was measured before, and return it.

        Args:
            collection_id: The collection that was measured.
            points: What was found at each setting; at least one.
            index_definition: The vector index, as ``pg_get_indexdef`` tells it.
            documents: How many the collection has now.
            k: How many nearest were asked for.

        Raises:
            SearchError: A point lacks a figure, or has one that cannot be.
            CollectionNotFoundError: There is no such collection.
        """
        checked = [_checked(number, point) for number, point in enumerate(points, 1)]
        if not checked or not 1 <= k <= MAX_HITS or not 0 <= documents <= LARGEST_ID:
            raise SearchError("a calibration needs at least one point, a k of at least 1, and a count of documents")
        if self._session.get(Collection, collection_id) is None:
            raise CollectionNotFoundError(f"there is no collection of the id {collection_id}")
        calibration = Calibration(
            collection_id=collection_id, index_definition=index_definition, documents=documents, k=k, points=checked
        )
        self._session.add(calibration)
        self._session.flush()
        forget_calibrations(connection_of(self._session, Calibration))
        return calibration

    def latest(self, collection_id: int) -> Calibration | None:
        """Return the last one of a collection, or None."""
        latest: Calibration | None = self._session.scalars(calibrations_of(collection_id).limit(1)).one_or_none()
        return latest

    def all(self, collection_id: int) -> list[Calibration]:
        """Return all of a collection, the last one first."""
        return list(self._session.scalars(calibrations_of(collection_id)))


def calibrations_of(collection_id: int) -> Select[Any]:
    """Return the calibrations of a collection, the last one first."""
    of_collection = select(Calibration).where(Calibration.collection_id == collection_id)
    return of_collection.order_by(Calibration.id.desc())


def _checked(number: int, point: CalibrationPoint) -> CalibrationPoint:
    """Return a copy of a point.

    Raises:
        SearchError: It cannot be stored.
    """
    if fault := _fault(point):
        raise SearchError(f"point {number} of the calibration: {fault}")
    return point.copy()


def _fault(point: Mapping[str, Any]) -> str | None:
    if missing := sorted(_REQUIRED - point.keys()):
        return f"it lacks {', '.join(missing)}"
    if unknown := sorted(point.keys() - _KNOWN):
        return f"there is no {', '.join(unknown)}; there are {', '.join(sorted(_KNOWN))}"
    return _wrong_setting(point) or next(filter(None, (_wrong_figure(name, point[name]) for name in _FIGURES)), None)


def _wrong_setting(point: Mapping[str, Any]) -> str | None:
    given = [name for name in _SETTINGS if point.get(name) is not None and point.get(name) is not False]
    if len(given) != 1 or point.get("exact") not in (None, False, True):
        return f"it has one of {', '.join(_SETTINGS)}, not {', '.join(given) or 'none'}"
    for name, highest in _NUMBERS.items():
        if (value := point.get(name)) is not None and (type(value) is not int or not 1 <= value <= highest):
            return f"{name} is a whole number, 1 to {highest:,}, not {value!r}"
    return _wrong_manner(point)


def _wrong_manner(point: Mapping[str, Any]) -> str | None:
    mode, form, where = point.get("mode"), point.get("form"), point.get("filter")
    if mode not in (None, *SCANS):
        return f"mode is one of {', '.join(SCANS)}, not {mode!r}"
    if form not in (None, *IndexForm):
        return f"form is one of {', '.join(IndexForm)}, not {form!r}"
    if not isinstance(where, dict | None) or json_problem(where, "filter"):
        return f"filter is a dictionary as JSON has it, not {where!r}"
    return None


def _wrong_figure(name: str, figure: Any) -> str | None:
    highest = 1.0 if name == "recall" else LARGEST
    if type(figure) is bool or not isinstance(figure, int | float) or not 0 <= figure <= highest:
        return f"{name} is a number{' of 0 to 1' if name == 'recall' else ', at least 0'}, not {figure!r}"
    return None
