"""The documents: whether any wait for an embedding, and whether what was measured of them still holds."""

from __future__ import annotations

import shlex

from pgcorpus.models import SCHEMA, Calibration
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories.search.recall import staleness
from pgcorpus.services.doctor.facts import Calibrated, Facts, Waiting
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.doctor.own_tables import NEWEST_DOCUMENTS

_SHOWN = 3


def document_findings(facts: Facts) -> list[Finding]:
    """Return what is to be said of the documents."""
    return [*_calibrations(facts), *_waiting(facts)]


def _calibrations(facts: Facts) -> list[Finding]:
    return [_stale(each, why) for each in facts.calibrated if (why := _staleness(facts, each))]


def _staleness(facts: Facts, calibrated: Calibrated) -> str | None:
    definitions = [index.definition for index in facts.vector_indexes if index.valid]
    now = facts.stored.documents_of(calibrated.collection_id)
    measured = Calibration(index_definition=calibrated.index_definition, documents=calibrated.documents)
    return staleness(measured, definitions, calibrated.documents if now is None else now)


def _stale(calibrated: Calibrated, why: str) -> Finding:
    tenant = "" if calibrated.tenant == DEFAULT_TENANT else f" --tenant {shlex.quote(calibrated.tenant)}"
    return Finding(
        "calibration-stale",
        Severity.WARNING,
        f"The calibration of the collection {calibrated.collection!r} no longer holds.",
        f"In {SCHEMA}.calibrations, of the tenant {calibrated.tenant!r}: {why}.",
        "A search by recall goes by settings that were measured on something else, or by a slow and safe one.",
        "Measure again; it only reads the documents.",
        command=f"pgcorpus tune --collection {shlex.quote(calibrated.collection)}{tenant} --refresh",
    )


def _waiting(facts: Facts) -> list[Finding]:
    if not facts.waiting:
        return []
    shown = "; ".join(_told(each) for each in facts.waiting[:_SHOWN])
    more = len(facts.waiting) - _SHOWN
    return [
        Finding(
            "documents-waiting",
            Severity.NOTE,
            "Documents wait for an embedding.",
            shown + (f"; and {more} more collections." if more > 0 else "."),
            "They are found by words and filters, not by meaning.",
            "Embed their content and upsert them by their keys, or ingest their sources again. They are those of"
            f" {SCHEMA}.documents WHERE embedding IS NULL AND collection_id = {facts.waiting[0].collection_id}.",
        )
    ]


def _told(waiting: Waiting) -> str:
    newest = f"the newest {waiting.seen}" if waiting.seen >= NEWEST_DOCUMENTS else f"the {waiting.seen}"
    return f"{waiting.documents} of {newest} documents of {waiting.collection!r} (tenant {waiting.tenant!r})"
