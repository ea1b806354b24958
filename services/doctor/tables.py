"""Our tables: there, at the revision this code needs, with the columns of the models."""

from __future__ import annotations

from functools import cache

from pgcorpus import schema
from pgcorpus.models import DIMENSIONS, SCHEMA
from pgcorpus.services.doctor.extension import schema_of_extension
from pgcorpus.services.doctor.facts import TABLES, VERSION_TABLE, Facts
from pgcorpus.services.doctor.finding import Finding, Severity

_UPGRADE = "pgcorpus migrate upgrade"


@cache
def revisions() -> tuple[str, ...]:
    """Return our revisions, oldest first: those of the installed package."""
    return tuple(revision.id for revision in schema.history())


def table_findings(facts: Facts) -> list[Finding]:
    """Return what is wrong with the schema."""
    if facts.locks:
        return [_locked(facts.locks)]
    if facts.revisions is None and facts.tables.get(VERSION_TABLE):
        return []  # there, and not to be read: a finding about rights
    reached = facts.revisions[0] if facts.revisions else None
    if reached is None:
        return _without_revision(facts)
    if reached not in revisions():
        return [_ahead(reached)]
    if reached != revisions()[-1]:
        return [_behind(reached)]
    return _incomplete(facts)


def missing_columns(facts: Facts) -> dict[str, list[str]]:
    """Return the columns of the models that the database lacks, by table."""
    lacking = {}
    for table in TABLES:
        found = facts.tables.get(table.name)
        columns = [each.name for each in table.columns if found is None or each.name not in found.columns]
        if columns:
            lacking[table.name] = columns
    return lacking


def _without_revision(facts: Facts) -> list[Finding]:
    """Nothing is there yet, or a host's own history has our tables: then they are compared with the models."""
    if not facts.tables.get("documents"):
        return [_missing(facts)]
    return [_behind_in_host(lacking)] if (lacking := missing_columns(facts)) else []


def _locked(processes: tuple[int, ...]) -> Finding:
    ids = ", ".join(str(process) for process in processes)
    ending = f"SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[{ids}]) AS pid;"  # noqa: S608
    return Finding(
        "tables-locked",
        Severity.WARNING,
        "A table of pgcorpus, or an index of it, is locked, and was not looked into.",
        f"pg_locks has an AccessExclusiveLock of the server processes {ids}.",
        "Searches wait as long as it is held: by a migration, a load that rebuilds the index, a REINDEX that is not"
        " CONCURRENTLY.",
        f"Wait; or end those sessions, whose work is undone then: {ending}",
    )


def _missing(facts: Facts) -> Finding:
    seen = "no schema" if facts.schema_usable is None else "no table in the schema"
    return Finding(
        "schema-missing",
        Severity.ERROR,
        "The tables of pgcorpus are missing.",
        f"The database {facts.database!r} has {seen} {SCHEMA}.",
        "Nothing can be stored or searched.",
        "Make them; where the history of your own project is to have them, by its migration.",
        command=_UPGRADE,
        revisions=f"base:{revisions()[-1]}",
    )


def _behind(reached: str) -> Finding:
    pending = revisions()[revisions().index(reached) + 1 :]
    return Finding(
        "schema-behind",
        Severity.ERROR,
        f"A migration is due: {', '.join(pending)}.",
        f"{SCHEMA}.{VERSION_TABLE} says {reached}; this release needs {pending[-1]}.",
        "Commands refuse to work, and what needs the newer tables fails.",
        f"Migrate; where a revision of your own calls schema.apply, by another one, up to {pending[-1]}.",
        command=_UPGRADE,
        revisions=f"{reached}:{pending[-1]}",
    )


def _ahead(reached: str) -> Finding:
    return Finding(
        "schema-ahead",
        Severity.ERROR,
        "The database was migrated by a newer release of pgcorpus.",
        f"{SCHEMA}.{VERSION_TABLE} says {reached}; this release knows {revisions()[-1]} as the newest.",
        "Commands refuse to work; what this release writes may lack what the newer one needs.",
        "Upgrade the package, or downgrade the database with the newer release.",
        command="pip install --upgrade pgcorpus",
    )


def _behind_in_host(lacking: dict[str, list[str]]) -> Finding:
    return Finding(
        "schema-behind-in-host",
        Severity.ERROR,
        "A migration is due in the history of your own project, which has our tables.",
        f"{SCHEMA}.{VERSION_TABLE} names no revision, and the tables lack {_listed(lacking)}.",
        "Commands refuse to work, and what needs the newer tables fails.",
        "Migrate in your project.",
        command="alembic upgrade pgcorpus@head",
    )


def _incomplete(facts: Facts) -> list[Finding]:
    """Somebody dropped something: the extension with CASCADE, say, which takes the embeddings along."""
    lacking = missing_columns(facts)
    if not lacking:
        return []
    if lacking == {"documents": ["embedding"]}:
        return [_without_embedding(facts)]
    return [
        Finding(
            "columns-missing",
            Severity.ERROR,
            "Tables or columns of pgcorpus are missing, though the revision is the newest.",
            f"The database {facts.database!r} lacks {_listed(lacking)}.",
            "What needs them fails.",
            "Restore them from a backup.",
        )
    ]


def _without_embedding(facts: Facts) -> Finding:
    table = f"{SCHEMA}.documents"
    return Finding(
        "embeddings-missing",
        Severity.ERROR,
        "The embeddings are gone.",
        f"{table} has no column embedding: DROP EXTENSION vector CASCADE takes it along.",
        "Nothing is found by meaning, and nothing can be written.",
        "Restore the table from a backup. Or add the column, have the index built, and embed all documents again.",
        sql=f"ALTER TABLE {table} ADD COLUMN embedding {schema_of_extension(facts)}.vector({DIMENSIONS});"
        f" ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE MAIN;",
    )


def _listed(lacking: dict[str, list[str]]) -> str:
    return "; ".join(f"{SCHEMA}.{table}: {', '.join(columns)}" for table, columns in lacking.items())
