"""What a build is going to be: the index, its statements, and what it takes; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Table, text

from pgcorpus.autogenerate.catalog import IndexFacts, read_index
from pgcorpus.autogenerate.extension import extension_home, extension_in_sight
from pgcorpus.autogenerate.resources import BuildSettings, choose, read_server
from pgcorpus.autogenerate.resources import estimate as estimate_need
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.errors import DefinitionError, ExtensionError
from pgcorpus.indexing import with_defaults
from pgcorpus.names import qualified, quote, regclass_name
from pgcorpus.services.indexes.sizing import Estimate, estimate_index
from pgcorpus.services.indexes.wanted import WantedIndex, definition_of, dimensions_of, lists_for, name_of

# Without statistics of its columns the planner takes one row in 200 for a collection's, however many there are.
_ANALYSED = text("""
    SELECT EXISTS (
        SELECT FROM pg_stats s JOIN pg_namespace n ON n.nspname = s.schemaname
        JOIN pg_class t ON t.relnamespace = n.oid AND t.relname = s.tablename
        WHERE t.oid = to_regclass(:table)
    )
""")
_SIZE = text("SELECT pg_size_bytes(:size)")


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """A build that is going to be.

    Attributes:
        name: Of the index.
        rows: That it will have, as the planner estimates.
        estimate: What it takes.
        memory: ``maintenance_work_mem`` that the build will have, in bytes.
        workers: Parallel workers that it may have beside itself.
        fits: Whether that is enough; if not, building a graph takes many times as long, and IVFFlat is refused.
        statements: What is run, for a session outside a transaction; nothing where a valid one of that name is there.
    """

    name: str
    rows: int
    estimate: Estimate
    memory: int
    workers: int
    fits: bool
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A table and where the database has it.

    Attributes:
        partitioned: Whether indexes are built part by part.
    """

    table: Table
    schema: str | None
    column: str
    partitioned: bool = False

    def definition(self, wanted: WantedIndex, extension: str | None = None) -> VectorIndex:
        """Return an index of this table."""
        return definition_of(self.table, self.schema, self.column, wanted, extension)

    @property
    def declared(self) -> set[str]:
        """The names of the indexes that the model has."""
        return {str(index.name) for index in self.table.indexes}


@contextmanager
def extension_required(connection: Connection) -> Iterator[str | None]:
    """Have pgvector's names in sight inside, and yield its schema where the search_path lacks it.

    Raises:
        ExtensionError: The database has no pgvector.
    """
    home = extension_home(connection)
    if home is None:
        raise ExtensionError("the database has no pgvector: run `pgcorpus migrate upgrade`")
    with extension_in_sight(connection):
        yield None if home[1] else home[0]


def rows_of(connection: Connection, place: Place, wanted: WantedIndex) -> int:
    """Return how many rows an index would have: as the planner estimates them, or counted where it cannot know."""
    key, table = quote(place.column), qualified(place.schema, place.table.name)
    if not connection.scalar(_ANALYSED, {"table": regclass_name(place.schema, place.table.name)}):
        where = f"{key} IS NOT NULL" + (f" AND {wanted.where}" if wanted.where else "")
        return _number(connection, f"SELECT count(*) FROM {table} WHERE {where}")  # noqa: S608 -- checked names
    plain = VectorIndex("rows", place.table.name, key, None, where=wanted.where, schema=place.schema)
    return estimate_need(connection, plain).rows


def _number(connection: Connection, sql: str) -> int:
    return connection.exec_driver_sql(sql, execution_options={"no_parameters": True}).scalar() or 0


def with_lists(
    connection: Connection, place: Place, wanted: WantedIndex, rows: int, found: IndexFacts | None
) -> WantedIndex:
    """Return an IVFFlat index with its lists: those asked for, else those that it has; any other as it is.

    Raises:
        DefinitionError: There is no vector to learn the lists from.
    """
    if wanted.method != "ivfflat":
        return wanted
    if found is not None and found.valid and found.method == "ivfflat":
        return replace(wanted, options={**found.options, **wanted.options})
    where = f" AND {wanted.where}" if wanted.where else ""
    table, column = qualified(place.schema, place.table.name), quote(place.column)
    some = f"SELECT 1 FROM {table} WHERE {column} IS NOT NULL{where} LIMIT 1"  # noqa: S608 -- checked names
    if not _number(connection, some):
        raise DefinitionError(
            "IVFFlat learns its lists from the rows, and there are none: load them first, or use hnsw"
        )
    return replace(wanted, options={"lists": lists_for(rows), **wanted.options})


def plan_of(
    connection: Connection, place: Place, wanted: WantedIndex, settings: BuildSettings
) -> tuple[WantedIndex, BuildPlan]:
    """Return an index with all its parameters, and what its build is going to be.

    Raises:
        DefinitionError: It cannot be built on that column, or not on an empty table.
        ExtensionError: The database has no pgvector.
    """
    with extension_required(connection) as extension:
        rows = rows_of(connection, place, wanted)
        found = read_index(connection, name_of(place.table.name, place.column, wanted), place.schema)
        wanted = with_lists(connection, place, wanted, rows, found)
        index = place.definition(wanted)
        need = estimate_need(connection, index)
        given = choose(need, read_server(connection), settings)
        estimate = estimate_index(
            wanted.form, wanted.method, rows, dimensions_of(place.table, place.column), wanted.options
        )
        memory = connection.scalar(_SIZE, {"size": given["maintenance_work_mem"]}) or 0
        spelled = place.definition(replace(wanted, options=with_defaults(wanted.method, wanted.options)), extension)
        return wanted, BuildPlan(
            name=index.name,
            rows=rows,
            estimate=replace(estimate, memory=need.memory),  # of the table as it is, pages and all
            memory=memory,
            workers=int(given["max_parallel_maintenance_workers"]),
            fits=need.memory <= memory,
            statements=tuple(_statements(spelled, given, found, partitioned=place.partitioned)),
        )


def _statements(
    index: VectorIndex, given: dict[str, Any], found: IndexFacts | None, *, partitioned: bool
) -> Iterator[str]:
    if found is not None and found.valid:
        return
    if found is not None and not partitioned:
        yield f"DROP INDEX CONCURRENTLY {qualified(index.schema, index.name)}"
    for name, value in given.items():
        yield f"SET {name} = '{value}'"
    if partitioned:
        yield index.create_sql(concurrently=False, only=True)
        yield "-- then on each partition CREATE INDEX CONCURRENTLY, and ALTER INDEX ... ATTACH PARTITION"
    else:
        yield index.create_sql(concurrently=True)
