"""A calibration: the recall of a collection's searches, as it was measured, by setting."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NotRequired, TypedDict

from sqlalchemy import BigInteger, DateTime, ForeignKeyConstraint, Integer, PrimaryKeyConstraint, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from pgcorpus.models.base import Base
from pgcorpus.models.collection import Collection


class CalibrationPoint(TypedDict):
    """What was measured at one setting, over all queries of the calibration.

    The setting is one of ``ef_search``, ``probes`` and ``exact``.

    Attributes:
        recall: Mean share of the exact ``k`` nearest that were found, 0 to 1.
        p50_ms: Half of the searches took no longer, in milliseconds.
        p95_ms: 95 of a hundred took no longer, in milliseconds.
        scanned: Mean number of tuples that the index gave for a search; of an exact one, that were read.
        ef_search: The setting ``hnsw.ef_search``.
        probes: The setting ``ivfflat.probes``.
        exact: True where every row was compared.
        form: The form of the index; without it ``vector``.
        rerank: Rows that were compared exactly; without it as many as by default.
        mode: The setting ``hnsw.iterative_scan``; without it the one that searches have by default.
        filter: The filter that the searches had, as :func:`~pgcorpus.repositories.compile_filter` takes it.
    """

    recall: float
    p50_ms: float
    p95_ms: float
    scanned: float
    ef_search: NotRequired[int | None]
    probes: NotRequired[int | None]
    exact: NotRequired[bool]
    form: NotRequired[str | None]
    rerank: NotRequired[int | None]
    mode: NotRequired[str | None]
    filter: NotRequired[dict[str, Any] | None]


class Calibration(Base):
    """The recall of a collection's searches, measured against exact ones on its own documents.

    It belongs to the row that was measured, not to its name: a collection whose place was taken keeps its own.

    Attributes:
        collection_id: The collection; with ``id`` the primary key, as of its documents.
        index_definition: The vector index at that time, as ``pg_get_indexdef`` tells it.
        documents: How many the collection had.
        k: How many nearest were asked for.
        measured_at: When.
        points: The settings, in any order.
    """

    __tablename__ = "calibrations"
    __table_args__ = (
        # Named in this order, as of documents: where those are distributed by collection, so can these be.
        PrimaryKeyConstraint("collection_id", "id"),
        ForeignKeyConstraint(["collection_id"], [Collection.__table__.c.id], ondelete="CASCADE"),
    )

    collection_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    index_definition: Mapped[str] = mapped_column(Text)
    documents: Mapped[int] = mapped_column(BigInteger)
    k: Mapped[int] = mapped_column(Integer)
    measured_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    points: Mapped[list[CalibrationPoint]] = mapped_column(JSONB)

    def __repr__(self) -> str:
        return f"Calibration({self.collection_id}, {self.id}, k={self.k}, points={len(self.points)})"
