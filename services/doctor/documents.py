"""The documents: their statistics, and whether any wait for an embedding."""

from __future__ import annotations

from pgcorpus.models import SCHEMA
from pgcorpus.services.doctor.facts import Facts, Waiting
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.doctor.reading import NEWEST_DOCUMENTS

# Fewer rows are read through in any case.
MANY_ROWS = 1_000

_SHOWN = 3


def document_findings(facts: Facts) -> list[Finding]:
    """Return what is to be said of the documents."""
    return [*_statistics(facts), *_waiting(facts)]


def _statistics(facts: Facts) -> list[Finding]:
    if facts.analysed or facts.rows <= MANY_ROWS or not facts.can_read("documents"):
        return []
    return [
        Finding(
            "statistics-missing",
            Severity.WARNING,
            "The planner has no statistics of the documents.",
            f"{SCHEMA}.documents has about {facts.rows:,} rows and was never analysed.",
            "It guesses how selective a filter is, and may scan the table where an index would do.",
            "Analyse the table; autovacuum does it by itself where it is on and gets round to it.",
            sql=f"ANALYZE {SCHEMA}.documents;",
        )
    ]


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
