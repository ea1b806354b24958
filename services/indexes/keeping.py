"""Vector indexes built, rebuilt and dropped while the app serves; whatever ends a run, the next one goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, text

from pgcorpus.autogenerate.building import create_index, old_name, replace_index
from pgcorpus.autogenerate.building import drop_index as drop_built
from pgcorpus.autogenerate.catalog import IndexFacts, canonical, differences, read_index
from pgcorpus.autogenerate.resources import BuildSettings
from pgcorpus.autogenerate.session import log
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import with_defaults
from pgcorpus.locks import advisory_lock, is_held
from pgcorpus.models import SCHEMA, Document, Metric
from pgcorpus.names import qualified, regclass_name
from pgcorpus.repositories.indexes import VectorIndex as Serving
from pgcorpus.repositories.indexes import forget_indexes, read_indexes
from pgcorpus.services.indexes.following import Tell, own_connection, run_followed
from pgcorpus.services.indexes.noting import note_built, note_dropped, note_tuned
from pgcorpus.services.indexes.permission import refusals_explained, require_changeable
from pgcorpus.services.indexes.planning import BuildPlan, Place, extension_required, plan_of
from pgcorpus.services.indexes.wanted import WantedIndex

# Seconds: another process may be building.
WAIT = 3600.0

_OID = text("SELECT CAST(to_regclass(:name) AS oid)::bigint")
_BYTES = text("""
    SELECT coalesce((SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(to_regclass(:name)) WHERE isleaf),
                    pg_relation_size(to_regclass(:name)), 0)::bigint
""")
_IN_USE = text(f"SELECT id, distance FROM {SCHEMA}.collections")  # noqa: S608 -- a constant


class Outcome(StrEnum):
    """What was done."""

    BUILT = "built"
    THERE = "already there"
    REBUILT = "rebuilt"
    FINISHED = "an interrupted rebuild finished"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was done with an index.

    Attributes:
        name: Of the index.
        outcome: What was done.
        seconds: That it took, waiting included.
        bytes: On disk; 0 of one that was dropped.
        plan: Of a build, what was foreseen.
    """

    name: str
    outcome: Outcome
    seconds: float
    bytes: int = 0
    plan: BuildPlan | None = None


def plan_build(
    engine: Engine,
    wanted: WantedIndex,
    *,
    model: type[Any] = Document,
    column: str = "embedding",
    settings: BuildSettings | None = None,
) -> BuildPlan:
    """Return what :func:`build_index` would do and what that takes; it only reads.

    Raises:
        DefinitionError: As in :func:`build_index`.
        SchemaError: There is no such table.
        DatabaseError: This role may not build it, or not here.
    """
    with refusals_explained("planning a build"), _looking(engine, model, column) as (connection, place):
        wanted, plan = plan_of(connection, place, wanted, settings or BuildSettings())
        _require_same(connection, place.definition(wanted))
        return plan


def build_index(
    engine: Engine,
    wanted: WantedIndex,
    *,
    model: type[Any] = Document,
    column: str = "embedding",
    settings: BuildSettings | None = None,
    tell: Tell | None = None,
    wait: float = WAIT,
) -> Kept:
    """Build a vector index while readers and writers go on; a valid one that is the same is left, an invalid replaced.

    Interrupted, it drops what it has built so far; killed, the next call replaces it.

    Args:
        engine: The database; not behind a PgBouncer in transaction mode.
        wanted: The index.
        model: The mapped class.
        column: Its vector column.
        settings: Memory and workers of the build; chosen by its size and the server's limits otherwise.
        tell: Is told of the progress.
        wait: Seconds to wait for another process that changes indexes of the table.

    Raises:
        DefinitionError: pgvector could not build it, one of that name differs, or IVFFlat has no rows to learn from.
        SchemaError: There is no such table.
        DatabaseError: This role may not build it, or not here; the server has refused; or the wait was in vain.
    """
    settings = settings or BuildSettings()
    with _changing(engine, model, column, wait, "building an index") as (connection, place):
        wanted, plan = plan_of(connection, place, wanted, settings)
        index = place.definition(wanted)
        _require_same(connection, index)
        before, start = _oid(connection, index), time.monotonic()
        run_followed(engine, lambda worker: _create(worker, place, index, settings), tell)
        outcome = Outcome.THERE if before is not None and before == _oid(connection, index) else Outcome.BUILT
        return Kept(index.name, outcome, time.monotonic() - start, _bytes(connection, index), plan)


def rebuild_index(
    engine: Engine,
    name: str,
    *,
    options: Mapping[str, int] | None = None,
    model: type[Any] = Document,
    column: str = "embedding",
    settings: BuildSettings | None = None,
    tell: Tell | None = None,
    wait: float = WAIT,
) -> Kept:
    """Build an index anew, with other parameters perhaps, beside the one that serves, and swap them.

    At no moment is there no index. What an interrupted call left behind the next one finishes, rather than begin
    anew.

    Args:
        engine: As in :func:`build_index`.
        name: The index, without its schema.
        options: Parameters to change: ``m`` and ``ef_construction``, or ``lists``.
        model: The mapped class.
        column: Its vector column.
        settings: As in :func:`build_index`.
        tell: As in :func:`build_index`.
        wait: As in :func:`build_index`.

    Raises:
        DefinitionError: There is no such index, a parameter is impossible, or the table is partitioned and the
            parameters are those it has.
        SchemaError: There is no such table.
        DatabaseError: As in :func:`build_index`.
    """
    settings = settings or BuildSettings()
    with _changing(engine, model, column, wait, f"rebuilding {name}") as (connection, place):
        facts = _required(connection, place, name)
        index = _changed(facts, options or {}, place)
        cut_off = _oid(connection, index.named(old_name(name))) is not None
        before, start = _oid(connection, index), time.monotonic()
        run_followed(engine, lambda worker: _replace(worker, place, facts, index, settings), tell)
        same = before == _oid(connection, index)
        outcome = Outcome.FINISHED if same and cut_off else Outcome.REBUILT
        return Kept(name, outcome, time.monotonic() - start, _bytes(connection, index))


def drop_index(
    engine: Engine,
    name: str,
    *,
    force: bool = False,
    model: type[Any] = Document,
    column: str = "embedding",
    wait: float = WAIT,
) -> Kept:
    """Drop a vector index while readers and writers go on.

    Args:
        engine: As in :func:`build_index`.
        name: The index, without its schema.
        force: Whether to drop also the last one that serves a metric by which a collection is searched.
        model: The mapped class.
        column: Its vector column.
        wait: As in :func:`build_index`.

    Raises:
        DefinitionError: There is no such index, or it is the last one.
        SchemaError: There is no such table.
        DatabaseError: As in :func:`build_index`.
    """
    with _changing(engine, model, column, wait, f"dropping {name}") as (connection, place):
        facts = _required(connection, place, name)
        if not force:
            _require_dispensable(connection, place, name)
        start = time.monotonic()
        run_followed(engine, lambda worker: _drop(worker, place, facts), None)
        return Kept(name, Outcome.DROPPED, time.monotonic() - start)


# Where and whether


@contextmanager
def _looking(engine: Engine, model: type[Any], column: str) -> Iterator[tuple[Connection, Place]]:
    table: Any = model.__table__
    with own_connection(engine) as connection:
        schema = connection.schema_for_object(table)
        partitioned = require_changeable(connection, schema, table.name)
        yield connection, Place(table, schema, column, partitioned)


@contextmanager
def _changing(engine: Engine, model: Any, column: str, wait: float, what: str) -> Iterator[tuple[Connection, Place]]:
    """Be the only one that changes the indexes of a table, loads included; this process's searches look again after."""
    lock = f"index build on {model.__table__.fullname}"
    with refusals_explained(what), _looking(engine, model, column) as (connection, place):
        if is_held(connection, lock):
            log.warning("waiting for another process that changes the indexes of %s", model.__table__.fullname)
        with advisory_lock(engine, lock, wait):
            try:
                yield connection, place
            finally:
                forget_indexes(connection)


def _required(connection: Connection, place: Place, name: str) -> IndexFacts:
    facts = read_index(connection, name, place.schema)
    if facts is None or facts.table != place.table.name:
        raise DefinitionError(
            f"{qualified(place.schema, place.table.name)} has no vector index {name}: see `pgcorpus index list`"
        )
    return facts


def _require_same(connection: Connection, index: VectorIndex) -> None:
    """Refuse to take another one for it; one that is invalid is going to be replaced."""
    with extension_required(connection):
        found = read_index(connection, index.name, index.schema)
        if found is None or not found.valid:
            return
        made = canonical(connection, index)
    changes = differences(found, made) if made else []
    if changes:
        raise DefinitionError(
            f"{index.name} is there and differs: {'; '.join(changes)}. "
            f"Change it with `pgcorpus index rebuild {index.name}`, or drop it"
        )


def _changed(facts: IndexFacts, options: Mapping[str, int], place: Place) -> VectorIndex:
    index = replace(facts.index(facts.schema), options={**facts.options, **options})
    if place.partitioned and with_defaults(index.method, index.options) == facts.options and facts.valid:
        raise DefinitionError(
            f"{place.table.name} is partitioned: rebuild it as it is with "
            f"REINDEX INDEX CONCURRENTLY {qualified(facts.schema, facts.name)}"
        )
    return index


def _require_dispensable(connection: Connection, place: Place, name: str) -> None:
    indexes = read_indexes(connection, place.table)
    dropped = next((index for index in indexes if index.name == name and index.valid), None)
    if dropped is None or place.table is not Document.__table__:
        return
    others = [index for index in indexes if index.name != name]
    left = {metric for metric, collection in _in_use(connection) if _leaves(dropped, others, metric, collection)}
    if left:
        raise DefinitionError(
            f"{name} is the last index for {', '.join(sorted(left))}, by which collections are searched: without it "
            "every search reads all vectors of its collection. Build another one first, or drop it with --force"
        )


def _in_use(connection: Connection) -> list[tuple[Metric, int]]:
    return [(Metric(row.distance), row.id) for row in connection.execute(_IN_USE)]


def _leaves(dropped: Serving, others: list[Serving], metric: Metric, collection: int) -> bool:
    """Return whether a collection's searches go by an index now, and by none without it."""
    column = dropped.column
    if not dropped.serves(column, metric, collection):
        return False
    return not any(index.serves(column, metric, collection) for index in others)


# On the connection that does it


def _create(connection: Connection, place: Place, index: VectorIndex, settings: BuildSettings) -> None:
    replaced = read_index(connection, index.name, index.schema)
    create_index(connection, index, settings)
    note_built(connection, place, index, replaced)


def _replace(
    connection: Connection, place: Place, facts: IndexFacts, index: VectorIndex, settings: BuildSettings
) -> None:
    """The note comes first: the swap carries it over."""
    note_tuned(connection, place, facts, index)
    replace_index(connection, index, settings, anew=True)


def _drop(connection: Connection, place: Place, facts: IndexFacts) -> None:
    note_dropped(connection, place, facts)
    drop_built(connection, facts.name, facts.schema)


def _oid(connection: Connection, index: VectorIndex) -> int | None:
    oid: int | None = connection.scalar(_OID, {"name": regclass_name(index.schema, index.name)})
    return oid


def _bytes(connection: Connection, index: VectorIndex) -> int:
    return connection.scalar(_BYTES, {"name": regclass_name(index.schema, index.name)}) or 0
