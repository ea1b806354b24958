"""What the role may do: all that a search takes, what goes with it, and all or nothing of what writing takes."""

from __future__ import annotations

from pgcorpus.models import SCHEMA
from pgcorpus.services.doctor.extension import schema_of_extension
from pgcorpus.services.doctor.facts import TABLES, Facts
from pgcorpus.services.doctor.finding import Finding, Severity

_WRITES = ("INSERT", "UPDATE", "DELETE")

# What a search reads whoever calls it.
_SEARCHED = ("collections", "documents")


def rights_findings(facts: Facts) -> list[Finding]:
    """Return which rights the role lacks, for reading and for writing."""
    if not facts.tables:
        return []
    searching = _lacking_to_search(facts)
    if searching:
        return [_cannot_search(facts, [*searching, *_lacking_beside(facts)])]
    return [*_beside(facts), *([] if facts.standby else _writing(facts))]


def _lacking_to_search(facts: Facts) -> list[str]:
    """Return the grants that a search takes and the role does not have."""
    grants = [] if facts.schema_usable else [f"USAGE ON SCHEMA {SCHEMA}"]
    if facts.extension and not facts.extension.usable:
        grants.append(f"USAGE ON SCHEMA {schema_of_extension(facts)}")
    return [*grants, *_on_tables("SELECT", [name for name in _unread(facts) if name in _SEARCHED])]


def _lacking_beside(facts: Facts) -> list[str]:
    return _on_tables("SELECT", [name for name in _unread(facts) if name not in _SEARCHED])


def _unread(facts: Facts) -> list[str]:
    return [name for name, table in facts.tables.items() if "SELECT" not in table.rights]


def _lacking_to_write(facts: Facts) -> list[str]:
    """Return the grants that writing takes and the role does not have."""
    names = [table.name for table in TABLES if table.name in facts.tables]
    grants: list[str] = []
    for right in _WRITES:
        grants += _on_tables(right, [name for name in names if right not in facts.tables[name].rights])
    closed = [f"{SCHEMA}.{name}" for name, usable in facts.sequences.items() if not usable]
    return [*grants, f"USAGE ON SEQUENCE {', '.join(closed)}"] if closed else grants


def _on_tables(right: str, names: list[str]) -> list[str]:
    return [f"{right} ON {', '.join(f'{SCHEMA}.{name}' for name in names)}"] if names else []


def _cannot_search(facts: Facts, grants: list[str]) -> Finding:
    return Finding(
        "rights-reading",
        Severity.ERROR,
        f"The role {facts.role} may not read what a search reads.",
        f"It lacks {'; '.join(grants)}.",
        "Searches fail with `permission denied`.",
        "Have the owner, or a superuser, grant it.",
        sql=_granting(facts, grants),
    )


def _beside(facts: Facts) -> list[Finding]:
    grants = _lacking_beside(facts)
    if not grants:
        return []
    return [
        Finding(
            "rights-reading",
            Severity.NOTE,
            f"The role {facts.role} may search, and not read all that goes with it.",
            f"It lacks {'; '.join(grants)}.",
            "The commands, `search(recall=...)` or a cache of embeddings fail with `permission denied`; other searches"
            " work.",
            "If it is to use them, have the owner or a superuser grant it.",
            sql=_granting(facts, grants),
        )
    ]


def _writing(facts: Facts) -> list[Finding]:
    """A role that may only read is a choice; one that may write this and not that is a mistake."""
    grants = _lacking_to_write(facts)
    if not grants:
        return []
    may_write = any({*_WRITES} & facts.tables[table.name].rights for table in TABLES if table.name in facts.tables)
    return [
        Finding(
            "rights-writing",
            Severity.WARNING if may_write else Severity.NOTE,
            f"The role {facts.role} may not write all that an ingest writes."
            if may_write
            else f"The role {facts.role} may read, and not write.",
            f"It lacks {'; '.join(grants)}.",
            "Writes fail with `permission denied`; searches work.",
            "If it is to write, have the owner or a superuser grant it.",
            sql=_granting(facts, grants),
        )
    ]


def _granting(facts: Facts, grants: list[str]) -> str:
    return " ".join(f"GRANT {grant} TO {facts.role};" for grant in grants)
