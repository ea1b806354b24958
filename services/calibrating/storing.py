"""A calibration stored where searches find it: in this database, or in the primary of a standby."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pgcorpus.database import session_factory
from pgcorpus.errors import CollectionError
from pgcorpus.faults import sqlstate
from pgcorpus.models import Calibration, Collection
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.services.calibrating.reports import CalibrationReport

# By SQLSTATE (PostgreSQL documentation, "PostgreSQL Error Codes").
_REASONS = {"25006": "this database can only be read", "42501": "this role may not write to pgcorpus.calibrations"}


class Stored(NamedTuple):
    """What became of a calibration.

    Attributes:
        id: Of the stored one; None where it could not be.
        why_not: Why.
    """

    id: int | None = None
    why_not: str | None = None


def store(engine: Engine, report: CalibrationReport, created_at: str) -> Stored:
    """Store a calibration beside those before.

    Args:
        engine: The database that was measured, or its primary.
        report: What was measured.
        created_at: When the collection was made: another one may have its id elsewhere.

    Raises:
        CollectionError: It has no such collection.
    """
    try:
        with session_factory(engine).begin() as session:
            _check(session, report, created_at)
            return Stored(_save(session, report).id)
    except DBAPIError as exc:
        if (reason := _REASONS.get(sqlstate(exc) or "")) is None:
            raise
        return Stored(why_not=reason)


def _check(session: Session, report: CalibrationReport, created_at: str) -> None:
    found = session.scalar(select(Collection.created_at).where(Collection.id == report.collection_id))
    if found is None or instant(found) != created_at:
        raise CollectionError(
            f"the database to store in has another collection of the id {report.collection_id}, or none: name the "
            "primary of the one that was measured"
        )


def _save(session: Session, report: CalibrationReport) -> Calibration:
    return Calibrations(session).save(
        report.collection_id,
        report.points,
        index_definition=report.index_definition or "",
        documents=report.documents,
        k=report.k,
    )


def instant(moment: datetime) -> str:
    """Return a time as text that is the same in every session's time zone."""
    return moment.astimezone(UTC).isoformat()
