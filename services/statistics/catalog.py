"""What the server itself knows: sizes, uses, its version and its settings."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, column, func, select, table, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.models import Base
from pgcorpus.names import qualified, regclass_name
from pgcorpus.repositories.transactions import is_outside_transactions
from pgcorpus.services.statistics.figures import ServerFigures, StatementFigures, TableFigures

# What an index is built and searched in (PostgreSQL documentation, "Resource Consumption"; pgvector README).
SETTINGS = (
    "shared_buffers",
    "effective_cache_size",
    "work_mem",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers_per_gather",
    "hnsw.ef_search",
    "hnsw.iterative_scan",
    "hnsw.max_scan_tuples",
    "hnsw.scan_mem_multiplier",
    "ivfflat.probes",
)

MOST_STATEMENTS = 20

_SERVER = text("""
    SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby,
           (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector,
           (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()) AS counted_since
""")

# pgvector's are not known before its library is loaded, unless the connection carries them.
_SETTINGS = text("""
    SELECT name, current_setting(name, true) AS value
    FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS wanted (name, place)
    WHERE current_setting(name, true) <> '' ORDER BY place
""")

_TABLES = text("""
    SELECT n.nspname || '.' || c.relname AS name,
           CASE WHEN c.reltuples >= 0 THEN CAST(c.reltuples AS bigint) END AS rows,
           coalesce(s.n_dead_tup, 0) AS dead_rows,
           pg_relation_size(c.oid) AS heap_bytes,
           CASE WHEN c.reltoastrelid <> 0 THEN pg_total_relation_size(c.reltoastrelid) ELSE 0 END AS toast_bytes,
           pg_indexes_size(c.oid) AS index_bytes,
           CAST(io.heap_blks_hit AS float8) / nullif(io.heap_blks_hit + io.heap_blks_read, 0) AS hit_ratio,
           greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
           greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at
    FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS wanted (name, place)
    JOIN pg_class c ON c.oid = to_regclass(wanted.name)
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
    LEFT JOIN pg_statio_all_tables io ON io.relid = c.oid
    ORDER BY wanted.place
""")

_INDEX_USES = text("""
    SELECT x.relname AS name, pg_relation_size(x.oid) AS bytes, coalesce(s.idx_scan, 0) AS scans,
           CAST(io.idx_blks_hit AS float8) / nullif(io.idx_blks_hit + io.idx_blks_read, 0) AS hit_ratio
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.indexrelid
    LEFT JOIN pg_statio_all_indexes io ON io.indexrelid = i.indexrelid
    WHERE i.indrelid = to_regclass(:table)
""")

_STATEMENTS_SCHEMA = text("""
    SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_stat_statements'
""")


class IndexUse(NamedTuple):
    """An index, vector or not, as the server counts."""

    bytes: int
    scans: int
    hit_ratio: float | None


def read_server(connection: Connection) -> ServerFigures:
    """Return what the server is."""
    row = connection.execute(_SERVER).one()
    settings = {row.name: row.value for row in connection.execute(_SETTINGS, {"names": list(SETTINGS)})}
    return ServerFigures(row.version.split()[0], row.pgvector, row.standby, row.counted_since, settings)


def read_tables(connection: Connection, model: type[Any]) -> tuple[TableFigures, ...]:
    """Return the sizes of the documents' table, and of our others."""
    tables = dict.fromkeys([model.__table__, *Base.metadata.sorted_tables])
    rows = connection.execute(_TABLES, {"names": [_name(connection, each) for each in tables]})
    return tuple(TableFigures(**row) for row in rows.mappings())


def read_index_uses(connection: Connection, model: type[Any]) -> dict[str, IndexUse]:
    """Return how the indexes of the documents' table are used, by name."""
    rows = connection.execute(_INDEX_USES, {"table": _name(connection, model.__table__)})
    return {row.name: IndexUse(row.bytes, row.scans, row.hit_ratio) for row in rows}


def read_statements(connection: Connection, model: type[Any]) -> tuple[StatementFigures, ...] | None:
    """Return the statements on the documents that took longest in all; None where nobody counts them.

    The extension is there without its library in a server that was started without it, and refuses.
    """
    schema = connection.scalar(_STATEMENTS_SCHEMA)
    if schema is None:
        return None
    try:
        return _statements(connection, schema, model.__table__)
    except DBAPIError as exc:
        if exc.connection_invalidated:
            raise
        return None


def _statements(connection: Connection, schema: str, documents: Table) -> tuple[StatementFigures, ...]:
    """Read the extension's view, in a savepoint where the caller has a transaction."""
    figures = ("query", "calls", "rows", "total_exec_time", "mean_exec_time", "max_exec_time")
    view = table("pg_stat_statements", *map(column, (*figures, "dbid")), schema=schema)
    here: Any = (
        select(column("oid")).select_from(table("pg_database")).where(column("datname") == func.current_database())
    )
    name = qualified(connection.schema_for_object(documents), documents.name)  # as statements spell it
    statement = (
        select(*(view.c[figure] for figure in figures))
        .where(view.c.dbid == here.scalar_subquery(), view.c.query.contains(name, autoescape=True))
        .order_by(view.c.total_exec_time.desc())
        .limit(MOST_STATEMENTS)
    )
    if is_outside_transactions(connection):
        rows = connection.execute(statement).all()
    else:
        with connection.begin_nested():
            rows = connection.execute(statement).all()
    return tuple(StatementFigures(" ".join(query.split()), *map(_number, figures)) for query, *figures in rows)


def _number(value: Any) -> Any:
    return value if isinstance(value, int) else float(value)


def _name(connection: Connection, each: Table) -> str:
    return regclass_name(connection.schema_for_object(each), each.name)
