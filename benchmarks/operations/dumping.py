"""What a dump holds and takes, and what a restored database finds."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.operations.site import (
    ASKED,
    HASTY,
    INDEX,
    Site,
    answers,
    ask,
    codes,
    mb,
    require_index,
    same,
    say,
    size,
)

DUMPS = {
    "plain": ["-Fp"],
    "custom": ["-Fc"],
    "level-1": ["-Fc", "-Z1"],
    "directory": ["-Fd", "-j2", "-Z1"],
}


def dump(site: Site) -> None:
    """What a dump has, how long a restore takes, and whether searches then find the same."""
    require_index(site)
    queries = site.data.queries[:ASKED]
    exact, found = answers(site.engine, queries, exact=True), answers(site.engine, queries, **HASTY)
    heap = int(ask(site.engine, "SELECT pg_relation_size('pgcorpus.documents')"))
    table, index = size(site.engine, "documents"), size(site.engine, INDEX)
    say("the table, with all indexes, and of that the vector index", mb(heap), mb(table), mb(index))
    archive = {}
    for name, options in DUMPS.items():
        archive[name] = site.folder / f"dump.{name}"
        start = time.perf_counter()
        made = site.program("pg_dump", *options, "--exclude-table-data=pgcorpus.embedding_cache", "-f", archive[name])
        taken = sum(each.stat().st_size for each in [archive[name], *archive[name].glob("*")] if each.is_file())
        say(f"pg_dump {' '.join(options)}", f"{time.perf_counter() - start:.1f} s, {mb(taken)}", made.stderr.strip())
    site.program("createdb", database="restored")
    for section in ("pre-data", "data", "post-data"):
        start = time.perf_counter()
        done = site.program("pg_restore", f"--section={section}", "-j2", archive["directory"], database="restored")
        say(f"pg_restore of {section}", f"{time.perf_counter() - start:.1f} s", done.stderr.strip())
    restored = site.database("restored")
    say("the doctor on what was restored, before and after ANALYZE", codes(restored))
    ask(restored, "ANALYZE pgcorpus.documents")
    say("", codes(restored))
    say("exact answers after the restore", same(answers(restored, queries, exact=True), exact))
    say("recall before and after", same(found, exact), same(answers(restored, queries, **HASTY), exact))
    _elsewhere(site, archive["custom"])


def _elsewhere(site: Site, archive: Path) -> None:
    """A schema alone, and the extension in another place."""
    part = site.folder / "dump.schema"
    site.program("pg_dump", "-Fc", "-n", "pgcorpus", "-f", part)
    site.program("createdb", database="part")
    done = site.program("pg_restore", "--exit-on-error", part, database="part")
    say("pg_restore of the schema alone, without the extension", done.stderr.strip().splitlines()[:4])
    ask(site.database("part"), "DROP SCHEMA pgcorpus CASCADE")
    ask(site.database("part"), "CREATE EXTENSION vector SCHEMA public")
    done = site.program("pg_restore", "--exit-on-error", part, database="part")
    say("the same after CREATE EXTENSION", done.returncode, done.stderr.strip())
    ask(site.database("part"), "CREATE SCHEMA extensions")
    ask(site.database("part"), "ALTER EXTENSION vector SET SCHEMA extensions")
    say("the extension moved after that, searched", len(answers(site.database("part"), site.data.queries[:1])[0]))
    ask(site.engine, "DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    site.program("createdb", "--owner=plain", database="owned")
    done = site.program("pg_restore", "--role=plain", "--no-owner", archive, database="owned")
    say("pg_restore as a role that is no superuser", done.returncode, done.stderr.strip().splitlines()[:3])
    ask(site.database("owned"), "DROP SCHEMA IF EXISTS pgcorpus CASCADE")
    ask(site.database("owned"), "CREATE EXTENSION vector SCHEMA public")
    done = site.program("pg_restore", "--exit-on-error", "--role=plain", "--no-owner", part, database="owned")
    say("the same of the schema alone, with the extension there", done.returncode, done.stderr.strip())
