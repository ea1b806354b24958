"""How the table of the documents is kept: the vectors in its rows, dead rows removed, the statistics those of today."""

from __future__ import annotations

from pgcorpus.models import SCHEMA
from pgcorpus.models.storage import STORAGE_IN_ROW
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity

# Fewer rows are read through in any case.
MANY_ROWS = 1_000

# Autovacuum vacuums after a fifth of the rows and analyses after a tenth (PostgreSQL documentation, "Automatic
# Vacuuming"): what is half as many again does not wait for its turn.
_MANY_DEAD = _MANY_CHANGED = 0.5
_GROWN = 0.2

_TABLE = f"{SCHEMA}.documents"
_BYTES = 4  # of a number in a vector


def storing_findings(facts: Facts) -> list[Finding]:
    """Return what is wrong with the table."""
    if not facts.can_read("documents"):
        return []
    return [*_statistics(facts), *_autovacuum(facts), *_dead(facts), *_toasted(facts)]


# Statistics


def _statistics(facts: Facts) -> list[Finding]:
    if facts.rows <= MANY_ROWS:
        return []
    if not facts.analysed:
        return [_missing(facts)]
    return [_stale(facts)] if _is_outgrown(facts) else []


def _is_outgrown(facts: Facts) -> bool:
    """Say whether the table has grown too: what a session wrote before its ANALYZE may be counted after it."""
    stored = facts.stored
    changed = stored.changed > max(MANY_ROWS, _MANY_CHANGED * stored.reltuples)
    return changed and facts.pages > (1 + _GROWN) * stored.relpages


def _missing(facts: Facts) -> Finding:
    return Finding(
        "statistics-missing",
        _severity(facts),
        "The planner has no statistics of the documents.",
        f"{_TABLE} has about {facts.rows:,} rows and was never analysed.",
        "It guesses how selective a filter is, and may scan the table where an index would do.",
        "Analyse the table; autovacuum does it by itself where it is on and gets round to it.",
        sql=f"ANALYZE {_TABLE};",
    )


def _stale(facts: Facts) -> Finding:
    return Finding(
        "statistics-stale",
        _severity(facts),
        "The planner's statistics of the documents are of another time.",
        f"{_TABLE} had {facts.stored.reltuples:,.0f} rows when it was analysed; {facts.stored.changed:,} were written"
        " or deleted since.",
        "It guesses wrongly how selective a filter is, and may scan the table where an index would do.",
        "Analyse the table; autovacuum does it by itself where it is on and gets round to it.",
        sql=f"ANALYZE {_TABLE};",
    )


# Vacuum


def _has_autovacuum(facts: Facts) -> bool:
    return facts.stored.autovacuum and (facts.server is None or facts.server.autovacuum)


def _severity(facts: Facts) -> Severity:
    """After a load, autovacuum is there within the minute; where it is off, nobody comes."""
    return Severity.NOTE if _has_autovacuum(facts) else Severity.WARNING


def _autovacuum(facts: Facts) -> list[Finding]:
    server = facts.server is None or facts.server.autovacuum
    if facts.rows <= MANY_ROWS or _has_autovacuum(facts):
        return []
    of_table = f"ALTER TABLE {_TABLE} RESET (autovacuum_enabled);"
    of_server = "ALTER SYSTEM RESET autovacuum; ALTER SYSTEM RESET track_counts; SELECT pg_reload_conf();"
    return [
        Finding(
            "autovacuum-off",
            Severity.WARNING,
            "Autovacuum is off" + (" for the documents." if server else "."),
            f"{_TABLE} has autovacuum_enabled off." if server else "The server has autovacuum or track_counts off.",
            "Deleted and replaced rows stay, in the table and in its indexes, which searches walk through; the"
            " planner's statistics grow old.",
            "Leave it to autovacuum, unless you vacuum and analyse yourself.",
            sql=of_table if server else of_server,
        )
    ]


def _dead(facts: Facts) -> list[Finding]:
    dead = facts.stored.dead
    if dead <= max(MANY_ROWS, _MANY_DEAD * facts.rows):
        return []
    return [
        Finding(
            "vacuum-due",
            _severity(facts),
            "Many documents are dead, and were not vacuumed.",
            f"{_TABLE} has about {dead:,} dead rows beside {facts.rows:,} living ones.",
            "They take up space, and searches find them in the vector index before they look whether they live.",
            "Vacuum the table; readers and writers go on meanwhile. If they stay, an old transaction still sees them"
            " (pg_stat_activity, the oldest xact_start).",
            sql=f"VACUUM (ANALYZE) {_TABLE};",
        )
    ]


# Storage


def is_toasted(facts: Facts) -> bool:
    """Say whether most vectors lie out of their rows: then the statistics know the width of a pointer to them."""
    width, whole = facts.stored.width, _BYTES * facts.stored.dimensions
    return facts.rows > MANY_ROWS and width is not None and facts.stored.null_fraction < 1 and width < whole / 2


def _toasted(facts: Facts) -> list[Finding]:
    if not is_toasted(facts):
        return []
    stored = facts.stored
    ignored = facts.planned is not None and facts.planned.index is None
    return [
        Finding(
            "vectors-toasted",
            Severity.WARNING,
            "The vectors lie out of their rows, in the TOAST table.",
            f"pg_stats has {stored.width:,} bytes for an embedding in its row, and one takes"
            f" {_BYTES * stored.dimensions:,}." + (" EXPLAIN of a search does not go by the index." if ignored else ""),
            "The table looks tiny to the planner, which scans all of it rather than use the vector index; and an exact"
            " search takes three times as long.",
            "Keep them in the rows. What rewrites those that are there locks the table until it is written, and its"
            " indexes are built, anew: give it maintenance_work_mem, and a quiet hour.",
            sql=f"{_in_row(facts)}VACUUM (FULL, ANALYZE) {_TABLE};",
        )
    ]


def _in_row(facts: Facts) -> str:
    """Return what has rows to come keep their vectors."""
    mode, target = STORAGE_IN_ROW.mode, STORAGE_IN_ROW.toast_tuple_target
    main = f"ALTER TABLE {_TABLE} ALTER COLUMN embedding SET STORAGE {mode.upper()}; "
    roomy = f"ALTER TABLE {_TABLE} SET (toast_tuple_target = {target}); "
    is_main = facts.stored.storage == mode[0]
    return ("" if is_main else main) + ("" if facts.stored.toast_tuple_target == target else roomy)
