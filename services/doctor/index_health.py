"""The vector indexes that are there: built of the documents, no larger than they ask for, and each of some use."""

from __future__ import annotations

from itertools import groupby

from pgcorpus.models import SCHEMA
from pgcorpus.names import qualified
from pgcorpus.repositories.indexes import VectorIndex
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.doctor.indexes import OWN
from pgcorpus.services.doctor.sizes import expected_bytes, told
from pgcorpus.services.indexes.wanted import lists_for

# Lists that are so many times too many or too few: each search then looks into a share of the rows that is as far
# from what is meant. With fewer rows it reads most of them in any case.
_FAR = 4
MANY_ROWS = 1_000

# Of 6,000 documents of which 4,800 were deleted and vacuumed, the index was 5 times what was left asks for; searches
# were as fast as after a REINDEX while it was in memory (docs/doctor.md). Less than 8 MB is nobody's concern.
_BLOATED = 2
_LITTLE = 8 * 2**20


def index_health_findings(facts: Facts) -> list[Finding]:
    """Return what is wrong with the indexes that searches can go by."""
    valid = [index for index in facts.vector_indexes if index.valid]
    return [*_built_empty(facts, valid), *_bloated(valid), *_duplicates(valid)]


def _built_empty(facts: Facts, valid: list[VectorIndex]) -> list[Finding]:
    """An HNSW index needs nothing to begin with; the lists of IVFFlat are clusters of the rows that it met."""
    ages = {index.name: index.age for index in facts.indexes}
    findings = []
    for index in valid:
        if index.method != "ivfflat" or facts.rows <= MANY_ROWS:
            continue
        lists, wanted = index.options["lists"], lists_for(round(index.rows))
        met_none = facts.oldest is not None and facts.oldest < ages.get(index.name, 0)
        if met_none or (index.rows > MANY_ROWS and not wanted / _FAR <= lists <= wanted * _FAR):
            findings.append(_empty_build(index, wanted, met_none=met_none))
    return findings


def _empty_build(index: VectorIndex, wanted: int, *, met_none: bool) -> Finding:
    name = qualified(SCHEMA, index.name)
    lists = index.options["lists"]
    seen = " The oldest documents were written after it was built." if met_none else ""
    change = "" if wanted == lists else f"ALTER INDEX {name} SET (lists = {wanted}); "
    return Finding(
        "index-empty-build",
        Severity.WARNING,
        f"The IVFFlat index {index.name} was built of other documents than it has.",
        f"It has {index.rows:,.0f} documents and {lists:,} lists, where {wanted:,} would be right.{seen}",
        "Its lists are no clusters of these documents: a search looks into some of them, and misses what is nearest.",
        "Build it again, now that the documents are there; readers and writers go on meanwhile.",
        sql=f"{change}REINDEX INDEX CONCURRENTLY {name};",
    )


def _bloated(valid: list[VectorIndex]) -> list[Finding]:
    findings = []
    for index in valid:
        asked = expected_bytes(index)
        if index.bytes > max(_BLOATED * asked, asked + _LITTLE):
            findings.append(_oversized(index, asked))
    return findings


def _oversized(index: VectorIndex, asked: int) -> Finding:
    return Finding(
        "index-bloated",
        Severity.WARNING,
        f"The vector index {index.name} is {index.bytes / max(asked, 1):.1f} times as large as its documents ask for.",
        f"It takes {told(index.bytes)} for {index.rows:,.0f} documents, which ask for {told(asked)}: of those that"
        " were deleted or replaced the space is left.",
        "It takes more memory, on the disk and in the server's cache, and is vacuumed for longer.",
        "Build it again; readers and writers go on meanwhile.",
        sql=f"REINDEX INDEX CONCURRENTLY {qualified(SCHEMA, index.name)};",
    )


def _duplicates(valid: list[VectorIndex]) -> list[Finding]:
    alike = groupby(sorted(valid, key=lambda index: (_kind(index), index.name != OWN, index.name)), key=_kind)
    return [finding for _, group in alike for finding in _beside_the_first(list(group))]


def _kind(index: VectorIndex) -> tuple[str, ...]:
    """All that makes two indexes the same to a search."""
    options = sorted(f"{name}={value}" for name, value in index.options.items())
    return (index.column, index.method, index.form, str(index.metric), index.predicate or "", *options)


def _beside_the_first(indexes: list[VectorIndex]) -> list[Finding]:
    kept, *others = indexes
    return [
        Finding(
            "index-duplicate",
            Severity.WARNING,
            f"The vector index {other.name} is the same as {kept.name}.",
            f"Both are {kept.method} of the form {kept.form}, with the same parameters; this one takes"
            f" {told(other.bytes)}.",
            "Every write pays for both, and they take twice the memory; searches go by one of them.",
            "Drop it; readers and writers go on meanwhile.",
            sql=f"DROP INDEX CONCURRENTLY {qualified(SCHEMA, other.name)};",
        )
        for other in others
    ]
