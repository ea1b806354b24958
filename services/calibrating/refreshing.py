"""What a stored calibration was measured with, to measure the same again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from pgcorpus.errors import SearchError
from pgcorpus.models import CalibrationPoint
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.services.calibrating.ladder import Mode
from pgcorpus.services.calibrating.wanted import Wanted


def measured_before(session: Session, repository: DocumentRepository, wanted: Wanted) -> Wanted:
    """Return what is wanted, with the ``k``, filters and modes of the latest calibration.

    The form is not taken over: an index of another form may have taken the place of the one that was measured.

    Raises:
        SearchError: None is stored.
    """
    collection = repository.collection()
    latest = Calibrations(session).latest(collection.id)
    if latest is None:
        raise SearchError(f"no calibration of {collection.name!r} is stored: measure without refresh")
    return replace(wanted, k=latest.k, filters=_filters(latest.points), modes=_modes(latest.points))


def _filters(points: Iterable[CalibrationPoint]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for point in points:
        where = point.get("filter")
        if where is not None and where not in found:
            found.append(where)
    return found


def _modes(points: Iterable[CalibrationPoint]) -> list[Mode]:
    return list(dict.fromkeys([None, *(point.get("mode") for point in points)]))
