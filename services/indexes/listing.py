"""The vector indexes of a table, with what they take and how much they are used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, text

from pgcorpus.autogenerate.catalog import IndexFacts, read_indexes
from pgcorpus.autogenerate.spec import unquoted
from pgcorpus.database import autocommit
from pgcorpus.errors import SchemaError
from pgcorpus.models import SCHEMA, Document
from pgcorpus.names import qualified, quote, regclass_name
from pgcorpus.repositories.indexes import VectorIndex, read_indexes_of

# A part of a table's name, as SQL has it or as it is.
_NAME = re.compile(r'"(?:[^"]|"")+"|[^."]+')

# Of a partitioned index, the sum of its parts; any other has none.
_USE = text("""
    SELECT x.relname AS name, pg_get_indexdef(x.oid) AS definition, parts.*,
           NOT i.indisvalid AND EXISTS (
               SELECT FROM pg_stat_progress_create_index p JOIN pg_locks l ON l.pid = p.pid
               WHERE l.relation = i.indrelid AND l.database = p.datid
           ) AS building
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    CROSS JOIN LATERAL (
        SELECT CAST(coalesce(sum(pg_relation_size(c.oid)), 0) AS bigint) AS bytes,
               CAST(coalesce(sum(greatest(c.reltuples, 0)), 0) AS bigint) AS rows,
               CAST(coalesce(sum(pg_stat_get_numscans(c.oid)), 0) AS bigint) AS scans,
               coalesce(array_agg(CAST(pg_relation_filenode(c.oid) AS bigint)), '{}') AS files
        FROM pg_class c
        WHERE c.relkind = 'i' AND (c.oid = x.oid OR c.oid IN (SELECT relid FROM pg_partition_tree(x.oid)))
    ) AS parts
    WHERE i.indrelid = to_regclass(:table)
""")
_EXISTS = text("SELECT to_regclass(:table) IS NOT NULL")
_BUFFERCACHE = text("""
    WITH home AS MATERIALIZED (
        SELECT nspname AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE extname = 'pg_buffercache' AND has_schema_privilege(n.oid, 'USAGE')
    )
    SELECT schema FROM home
    WHERE has_table_privilege(to_regclass(quote_ident(schema) || '.pg_buffercache'), 'SELECT')
          AND has_function_privilege(to_regprocedure(quote_ident(schema) || '.pg_buffercache_pages()'), 'EXECUTE')
""")
_CACHED = """
    SELECT CAST(count(*) AS bigint) * CAST(current_setting('block_size') AS bigint) FROM {schema}.pg_buffercache
    WHERE reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relfilenode = ANY (:files)
"""
_COLLECTIONS = text(f"SELECT id, name FROM {SCHEMA}.collections WHERE id = ANY (:ids)")  # noqa: S608 -- a constant


@dataclass(frozen=True, slots=True)
class IndexUse:
    """A vector index, what it takes and how much it is used.

    Attributes:
        name: Without its schema.
        method: ``hnsw`` or ``ivfflat``.
        form: ``vector``, ``halfvec`` or ``binary``; None of another kind, by which no search of ours goes.
        metric: What it compares by; None of signs and other kinds.
        options: All parameters, with the method's defaults.
        where: Of a partial index, the predicate.
        collection_id: Of an index of one collection.
        collection: The name of that.
        valid: Whether searches may use it.
        building: Whether it is being built now.
        bytes: On disk.
        rows: When it was last built, vacuumed or analysed.
        scans: How often it was used, since the server's statistics were last reset.
        cached: Bytes of it in ``shared_buffers``; None without the extension pg_buffercache.
        definition: The statement that makes it.
    """

    name: str
    method: str
    form: str | None
    metric: str | None
    options: Mapping[str, int]
    where: str | None
    collection_id: int | None
    collection: str | None
    valid: bool
    building: bool
    bytes: int
    rows: int
    scans: int
    cached: int | None
    definition: str


def list_indexes(engine: Engine, table: Table | str | None = None) -> list[IndexUse]:
    """Return the vector indexes of a table by name; it only reads, also on a standby.

    Args:
        engine: The database.
        table: A table, or the name of one, such as ``public.items`` or ``"a.b"``; the documents' by default.

    Raises:
        SchemaError: There is no such table.
    """
    with autocommit(engine).connect() as connection:
        schema, name = _place(connection, Document.__table__ if table is None else table)
        place = {"table": regclass_name(schema, name)}
        if not table_exists(connection, schema, name):
            raise SchemaError(f"there is no table {qualified(schema, name)}")
        facts = read_indexes(connection, name, schema)
        kinds = {index.name: index for index in read_indexes_of(connection, schema, name)}
        use = {row.name: row for row in connection.execute(_USE, place) if row.name in facts}
        names = _collections(connection, [index.collection_id for index in kinds.values()])
        return [_use(connection, facts[each], kinds.get(each), use[each], names) for each in sorted(use)]


def table_exists(connection: Connection, schema: str | None, name: str) -> bool:
    """Return whether the database has a table."""
    return bool(connection.scalar(_EXISTS, {"table": regclass_name(schema, name)}))


def _place(connection: Connection, table: Any) -> tuple[str | None, str]:
    if isinstance(table, str):
        *schema, name = [unquoted(part) for part in _NAME.findall(table)] or [table]
        return ".".join(schema) or None, name
    return connection.schema_for_object(table), table.name


def _use(
    connection: Connection, facts: IndexFacts, kind: VectorIndex | None, row: Any, names: Mapping[int, str]
) -> IndexUse:
    collection_id = kind.collection_id if kind else None
    return IndexUse(
        name=facts.name,
        method=facts.method,
        form=kind.form.value if kind else None,
        metric=kind.metric.value if kind and kind.metric else None,
        options=dict(facts.options),
        where=facts.where,
        collection_id=collection_id,
        collection=names.get(collection_id) if collection_id is not None else None,
        valid=facts.valid,
        building=row.building,
        bytes=row.bytes,
        rows=row.rows,
        scans=row.scans,
        cached=_cached(connection, row.files),
        definition=row.definition,
    )


def _collections(connection: Connection, ids: list[int | None]) -> dict[int, str]:
    wanted = [each for each in ids if each is not None]
    if not wanted or not table_exists(connection, SCHEMA, "collections"):
        return {}
    return {row.id: row.name for row in connection.execute(_COLLECTIONS, {"ids": wanted})}


def _cached(connection: Connection, files: list[int]) -> int | None:
    """Ask the extension, where there is one that this role may use; it reads the state of every buffer."""
    schema = connection.scalar(_BUFFERCACHE)
    if schema is None:
        return None
    cached: int | None = connection.scalar(text(_CACHED.format(schema=quote(schema))), {"files": files})
    return cached
