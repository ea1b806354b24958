"""Settings that a role or the database gives to new sessions, and that blunt or break searches."""

from __future__ import annotations

import re

from pgcorpus.names import quote
from pgcorpus.services.doctor.facts import Facts, Override
from pgcorpus.services.doctor.finding import Finding, Severity

# Milliseconds: an exact search of 20,000 documents took 56, one that completes a filtered search may read all, and a
# batch of an ingest takes about as long.
SHORTEST_TIMEOUT = 1_000

_MILLISECONDS = {"us": 0.001, "": 1, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_OFF = ("off", "false", "no", "0")


def setting_findings(facts: Facts) -> list[Finding]:
    """Return the settings that should not be."""
    return [_found(facts, override, *why) for override in facts.overrides if (why := _why(override))]


def told_of(facts: Facts) -> set[str]:
    """Return the names of the settings that there is a finding about."""
    return {override.name for override in facts.overrides if _why(override)}


def _why(override: Override) -> tuple[Severity, str] | None:
    """Return how bad a setting is, and what comes of it."""
    name, value = override.name, override.value.lower()
    if name in ("enable_indexscan", "enable_indexonlyscan") and value in _OFF:
        return Severity.WARNING, "Searches are exact and read every vector of the collection."
    if name == "statement_timeout" and 0 < _milliseconds(value) < SHORTEST_TIMEOUT:
        return Severity.WARNING, "Searches that have to read much, and ingests, are cancelled."
    if name == "hnsw.iterative_scan" and value in _OFF:
        return Severity.NOTE, f"{_OWN}; of those by hand a filtered one finds too few documents, or none."
    if name == "hnsw.ef_search" and value.isdigit() and int(value) < _FEWEST:
        return Severity.NOTE, f"{_OWN}; those by hand return at most {value} documents, and miss near ones."
    return None


_OWN = "Searches of pgcorpus set it themselves"
_FEWEST = 40  # PostgreSQL's users know pgvector by this default (pgvector README, "HNSW")


def _found(facts: Facts, override: Override, severity: Severity, consequence: str) -> Finding:
    whose = f"The role {override.role}" if override.role else "The database"
    where = "in all databases" if override.everywhere else f"in {facts.database}"
    return Finding(
        "settings-blunt",
        severity,
        f"{whose} begins each session with {override.name} = {override.value}.",
        f"pg_db_role_setting says so, {where}.",
        consequence,
        "Reset it, unless it is meant; sessions that begin after that are without it.",
        sql=_reset(facts, override),
    )


def _reset(facts: Facts, override: Override) -> str:
    database = quote(facts.database)
    if override.role is None:
        whose = "ROLE ALL" if override.everywhere else f"DATABASE {database}"
    else:
        whose = f"ROLE {override.role}" + ("" if override.everywhere else f" IN DATABASE {database}")
    return f"ALTER {whose} RESET {override.name};"


def _milliseconds(value: str) -> float:
    """Return a time as PostgreSQL takes it; 0 for what is none."""
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", value)
    return float(parts[1]) * _MILLISECONDS.get(parts[2], 0) if parts else 0
