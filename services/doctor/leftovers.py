"""What was left lying: copies of a switch of models, retired collections, embeddings in the cache that none has."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from sqlalchemy import Connection, text

from pgcorpus.locks import is_held
from pgcorpus.models import SCHEMA
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.services.doctor.aside import aside
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.switching.places import switch_lock

# Days after which a switch that nobody is at is taken for forgotten, and a retired collection for no longer wanted.
FORGOTTEN = 1
RETIRED = 7

# A cache has the embeddings of questions too, and of texts that were changed: so many for each document are plenty.
_TIMES = 3
_MANY_ENTRIES = 10_000

_COPIES = text(f"""
    SELECT s.tenant_id, a.name AS collection, s.name, s.retired_at_id IS NOT NULL AS had_its_place,
           coalesce(s.retired_at_id < 0, false) AS dropped,
           CAST(extract(epoch FROM now() - coalesce(s.retired_at, s.created_at)) / 86400 AS float8) AS days
    FROM {SCHEMA}.collections s JOIN {SCHEMA}.collections a ON a.id = s.shadow_of
    ORDER BY s.id
""")  # noqa: S608

# Rows as the statistics count them, which follow a DELETE; a standby has none of them.
_CACHE = text(f"""
    SELECT pg_total_relation_size(c.oid) AS bytes,
           CAST(CASE WHEN pg_stat_get_tuples_inserted(c.oid) > 0 THEN pg_stat_get_live_tuples(c.oid)
                     ELSE greatest(c.reltuples, 0) END AS bigint) AS entries
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = '{SCHEMA}' AND c.relname = 'embedding_cache' AND NOT EXISTS (
        -- Documents of a host's own classes have theirs there as well.
        SELECT FROM pg_constraint f
        JOIN pg_class collections ON collections.oid = f.confrelid
        JOIN pg_class other ON other.oid = f.conrelid
        WHERE f.contype = 'f' AND collections.relname = 'collections' AND collections.relnamespace = n.oid
              AND other.relname NOT IN ('collections', 'documents', 'calibrations')
    )
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Copy:
    """A collection that stands behind another.

    Attributes:
        tenant: Whose it is.
        collection: The name of the one that it stands behind.
        name: Its own.
        had_its_place: Whether it was retired; else it is to take the other's place.
        dropped: Whether its documents are being deleted.
        days: How long it has stood there.
    """

    tenant: str
    collection: str
    name: str
    had_its_place: bool
    dropped: bool
    days: float

    @property
    def is_due(self) -> bool:
        """Whether it has stood there for too long."""
        return self.days > (RETIRED if self.had_its_place and not self.dropped else FORGOTTEN)


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What was left lying.

    Attributes:
        copies: Collections that stand behind others for too long, and that nobody is at.
        cached: How many embeddings the cache has, roughly.
        cached_bytes: What they take.
    """

    copies: tuple[Copy, ...] = ()
    cached: int = 0
    cached_bytes: int = 0


def read_leftovers(connection: Connection, facts: Facts) -> Leftovers:
    """Read what was left lying, in two statements; who holds a lock on the primary, a standby does not know."""
    with aside(connection):
        cache = connection.execute(_CACHE).first()
        copies = () if facts.standby else _forgotten(connection)
    return Leftovers(copies, *((cache.entries, cache.bytes) if cache else (0, 0)))


def _forgotten(connection: Connection) -> tuple[Copy, ...]:
    found = [Copy(*row) for row in connection.execute(_COPIES)]
    return tuple(
        copy for copy in found if copy.is_due and not is_held(connection, switch_lock(copy.tenant, copy.collection))
    )


def leftover_findings(facts: Facts, leftovers: Leftovers) -> list[Finding]:
    """Return what can be taken away: a finding for each copy, since each has a command of its own."""
    return [*map(_of_copy, leftovers.copies), *_of_cache(facts, leftovers)]


def _of_copy(copy: Copy) -> Finding:
    return _retired(copy) if copy.had_its_place else _abandoned(copy)


def _abandoned(copy: Copy) -> Finding:
    return Finding(
        "copy-abandoned",
        Severity.NOTE,
        f"A copy of the collection {copy.collection!r} waits to take its place, and nobody is at it.",
        _seen(copy, "was begun"),
        "It takes room, and its embeddings make searches in the same index slower.",
        "Delete it; or go on with the switch, by the command that began it.",
        command=_reembed(copy, "--abort"),
    )


def _retired(copy: Copy) -> Finding:
    what = "is half deleted" if copy.dropped else "gave its place away, and is kept"
    return Finding(
        "copy-retired",
        Severity.NOTE,
        f"A collection that stands behind {copy.collection!r} {what}.",
        _seen(copy, "was retired"),
        "It takes room, and its embeddings make searches in the same index slower.",
        "Delete it, with what late writers left there carried over; there is no way back then.",
        command=_reembed(copy, "--finish"),
    )


def _seen(copy: Copy, what: str) -> str:
    return f"{copy.name!r} (tenant {copy.tenant!r}) {what} {copy.days:.0f} days ago; no switch of it is running."


def _reembed(copy: Copy, action: str) -> str:
    tenant = [] if copy.tenant == DEFAULT_TENANT else ["--tenant", copy.tenant]
    return shlex.join(["pgcorpus", "reembed", "--collection", copy.collection, *tenant, action])


def _of_cache(facts: Facts, leftovers: Leftovers) -> list[Finding]:
    if leftovers.cached < max(_MANY_ENTRIES, _TIMES * facts.rows):
        return []
    return [
        Finding(
            "cache-large",
            Severity.NOTE,
            "Far more embeddings are kept in the cache than there are documents.",
            f"{SCHEMA}.embedding_cache has about {leftovers.cached:,} entries ({leftovers.cached_bytes / 1e6:,.0f} MB),"
            f" {SCHEMA}.documents about {facts.rows:,} rows.",
            "They take room on the disk and in backups. No search is slower for it.",
            "Delete those of texts that no document has, such as old questions; asked again they cost again.",
            command="pgcorpus cache prune --unused",
        )
    ]
