"""Collections with their sizes and their indexes' health, and recall as it was measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from pgcorpus.errors import PgCorpusError
from pgcorpus.integrations.explorer.http import PageResponse
from pgcorpus.integrations.explorer.plot import plotted
from pgcorpus.integrations.explorer.reading import at_most
from pgcorpus.integrations.explorer.view import View
from pgcorpus.models import Collection, Document
from pgcorpus.names import regclass_name
from pgcorpus.repositories import Figures
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.services.doctor import Finding, findings_of
from pgcorpus.services.doctor.reading import read_facts

FIGURES_SECONDS = 5.0

_TABLE: Any = Document.__table__
_INDEXES = text("""
    SELECT relation.relname AS name, pg_get_indexdef(index.indexrelid) AS definition, index.indisvalid AS is_valid,
           CASE WHEN CAST(:whole AS boolean) THEN pg_relation_size(index.indexrelid) END AS size
    FROM pg_index AS index
    JOIN pg_class AS relation ON relation.oid = index.indexrelid
    JOIN pg_am AS method ON method.oid = relation.relam
    WHERE index.indrelid = to_regclass(:table) AND method.amname IN ('hnsw', 'ivfflat')
          AND (CAST(:whole AS boolean) OR index.indpred IS NULL)
    ORDER BY relation.relname
""")
_TABLE_SIZE = text("SELECT pg_total_relation_size(to_regclass(:table))")


@dataclass(frozen=True, slots=True)
class Line:
    """A collection and what it amounts to; None where that takes too long to count."""

    collection: Collection
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class Health:
    """What the database says of the table.

    Attributes:
        indexes: Its vector indexes: ``name``, ``definition``, ``is_valid``, ``size`` in bytes. Where readers see a part
            of the table only, those of all its documents, without sizes.
        size: Of the table with its indexes, in bytes; None there.
        findings: What is wrong; None where that was not looked into.
        problem: Why it was not.
    """

    indexes: Sequence[Row[Any]] = ()
    size: int | None = None
    findings: Sequence[Finding] | None = None
    problem: str | None = None


def collections_page(view: View) -> PageResponse:
    """List the collections."""
    with view.reading() as session:
        until = time.monotonic() + FIGURES_SECONDS
        lines = [Line(each, _figures(view, session, each, until)) for each in view.collections(session)]
        return view.render("collections.html", lines=lines, health=_health(view, session))


def _figures(view: View, session: Session, collection: Collection, until: float) -> Figures | None:
    left = until - time.monotonic()
    if left <= 0:
        return None
    try:
        with at_most(session, left):
            return view.repository(session, collection).figures()
    except PgCorpusError:
        return None


def _health(view: View, session: Session) -> Health:
    table = {"table": regclass_name(session.connection().schema_for_object(_TABLE), _TABLE.name)}
    indexes = session.execute(_INDEXES, table | {"whole": view.site.is_whole}).all()
    if not view.site.is_whole:
        return Health(indexes)
    size = session.scalar(_TABLE_SIZE, table)
    try:
        with at_most(session, FIGURES_SECONDS):
            return Health(indexes, size, _findings(view, session))
    except PgCorpusError as exc:
        return Health(indexes, size, None, str(exc))


def _findings(view: View, session: Session) -> Sequence[Finding]:
    """Examine the database; collections of other tenants are not told of."""
    return findings_of(read_facts(session.connection()).of_tenant(view.tenant))


def recall_page(view: View) -> PageResponse:
    """Show the recall of a collection's searches against the setting that decides it."""
    with view.reading() as session:
        collections = view.collections(session)
        collection = view.chosen(collections)
        if collection is None:
            return view.render("nothing.html")
        view.ask = replace(view.ask, collection=collection.name)
        calibration = Calibrations(session).latest(collection.id)
        plot = plotted(calibration.points) if calibration else None
        values: dict[str, Any] = {"collections": collections, "collection": collection}
        return view.render("recall.html", calibration=calibration, plot=plot, **values)
