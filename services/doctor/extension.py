"""The extension: there, new enough, without the defects that its later versions mend."""

from __future__ import annotations

import re
from typing import NamedTuple

from pgcorpus.names import quote
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity

OLDEST = "0.8.0"  # iterative index scans: revision pgcorpus_0001 asks for it


class Defect(NamedTuple):
    """Something that a version of pgvector mended (pgvector CHANGELOG).

    Attributes:
        mended_in: The first version without it.
        what: What it is, and its number.
        ivfflat: Whether it is of IVFFlat indexes only.
        on_32_bit: Whether it is of 32-bit servers only.
    """

    mended_in: str
    what: str
    ivfflat: bool = False
    on_32_bit: bool = False


DEFECTS = (
    Defect(
        "0.8.2", "a parallel HNSW build overflows a buffer: it may leak other tables' data or crash (CVE-2026-3172)"
    ),
    Defect("0.8.3", "VACUUM may corrupt an HNSW index"),
    Defect("0.8.4", "VACUUM may fail with `hnsw graph not repaired`, and inserts beside it"),
    Defect(
        "0.8.6", "an IVFFlat build overflows a buffer on 32-bit servers (CVE-2026-18022)", ivfflat=True, on_32_bit=True
    ),
)


def extension_findings(facts: Facts) -> list[Finding]:
    """Return what is wrong with the extension; any schema is fine for it."""
    if facts.extension is None:
        return [_missing(facts)]
    if _number(facts.extension.version) < _number(OLDEST):
        return [_too_old(facts, facts.extension.version)]
    defects = defects_of(facts)
    return [_defective(facts, facts.extension.version, defects)] if defects else []


def wants_an_update(facts: Facts) -> bool:
    """Say whether it matters which version the server could install."""
    return facts.extension is None or bool(defects_of(facts))


def defects_of(facts: Facts) -> list[Defect]:
    """Return the known defects of the version that is there, as far as they concern this database."""
    if facts.extension is None:
        return []
    version = _number(facts.extension.version)
    has_ivfflat = any(index.method == "ivfflat" for index in facts.indexes)
    return [
        defect
        for defect in DEFECTS
        if version < _number(defect.mended_in)
        and (has_ivfflat or not defect.ivfflat)
        and (facts.is_32_bit or not defect.on_32_bit)
    ]


def _missing(facts: Facts) -> Finding:
    create = "CREATE EXTENSION vector;"
    installed = facts.available is not None
    return Finding(
        "extension-missing",
        Severity.ERROR,
        "The extension pgvector is missing.",
        f"pg_extension of the database {facts.database!r} has no vector; the server "
        + (f"could create {facts.available}." if installed else "has none to create."),
        "No vector can be stored, and nothing be searched.",
        "Create it, as a superuser or a role that may."
        if installed
        else "Install pgvector on the server (Debian: postgresql-NN-pgvector; managed: enable vector), then create it.",
        sql=create,
    )


def _too_old(facts: Facts, version: str) -> Finding:
    return Finding(
        "extension-old",
        Severity.ERROR,
        f"The extension pgvector is too old: {OLDEST} or later is needed.",
        f"pg_extension says {version}.",
        "Filtered searches return too few rows: there are no iterative index scans.",
        *_update(facts, OLDEST),
    )


def _defective(facts: Facts, version: str, defects: list[Defect]) -> Finding:
    return Finding(
        "extension-defects",
        Severity.WARNING,
        f"The extension pgvector {version} has defects that a later version mends.",
        f"pg_extension says {version}.",
        "Known: " + "; ".join(f"{defect.what}, mended in {defect.mended_in}" for defect in defects) + ".",
        *_update(facts, max((defect.mended_in for defect in defects), key=_number)),
    )


def _update(facts: Facts, wanted: str) -> tuple[str, None, str]:
    """Return remedy, command and SQL."""
    available = facts.available
    remedy = "Update it, as its owner."
    if available is None or _number(available) < _number(wanted):
        remedy = f"Install pgvector {wanted} or later on the server, which has {available or 'none'}, then update it."
    return remedy, None, "ALTER EXTENSION vector UPDATE;"


def schema_of_extension(facts: Facts) -> str:
    """Return the schema of the extension, quoted; ``public`` where it is missing."""
    return quote(facts.extension.schema if facts.extension else "public")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
