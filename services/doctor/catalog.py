"""The first of the statements: of the catalog, which any role may read, and which waits for no lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text

from pgcorpus.models import SCHEMA
from pgcorpus.services.doctor.facts import (
    TABLES,
    VERSION_TABLE,
    Extension,
    Facts,
    IndexFacts,
    Override,
    Server,
    Stored,
    TableFacts,
)

_SEQUENCES = [f"{table.name}_id_seq" for table in TABLES if table.autoincrement_column is not None]

# What CATALOG is asked with.
NAMES = {"names": [*(table.name for table in TABLES), VERSION_TABLE, *_SEQUENCES]}

# By names, not to_regclass, which fails where the role may not use the schema. As text: what a driver makes of JSON
# depends on its settings, which are the host's.
CATALOG = text(f"""
    WITH ours AS (
        SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = '{SCHEMA}' AND c.relname = ANY (CAST(:names AS text[]))
    ),
    documents AS (SELECT * FROM ours WHERE relname = 'documents'),
    -- To plan a statement takes a lock on each index of its table.
    lockable AS (
        SELECT oid FROM ours UNION ALL SELECT i.indexrelid FROM pg_index i JOIN ours ON ours.oid = i.indrelid
    ),
    statistics AS (SELECT * FROM pg_stats WHERE schemaname = '{SCHEMA}' AND tablename = 'documents'),
    vector_indexes AS (
        SELECT x.relname AS name, m.amname AS method, i.indisvalid AND i.indisready AS valid, age(x.xmin) AS age,
               NOT i.indisvalid AND EXISTS (
                   SELECT FROM pg_stat_progress_create_index p JOIN pg_locks l ON l.pid = p.pid
                   WHERE l.relation = i.indrelid AND l.database = p.datid
               ) AS building
        FROM documents d
        JOIN pg_index i ON i.indrelid = d.oid
        JOIN pg_class x ON x.oid = i.indexrelid
        JOIN pg_am m ON m.oid = x.relam AND m.amname IN ('hnsw', 'ivfflat')
    )
    SELECT CAST(json_build_object(
        'role', quote_ident(current_user),
        'database', current_database(),
        'standby', pg_is_in_recovery(),
        'is_32_bit', strpos(version(), '32-bit') > 0,
        'extension', (
            SELECT json_build_object('version', e.extversion, 'schema', n.nspname,
                                     'usable', has_schema_privilege(n.oid, 'USAGE'))
            FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'
        ),
        'server', json_build_object(
            'shared_buffers', pg_size_bytes(current_setting('shared_buffers')),
            'effective_cache_size', pg_size_bytes(current_setting('effective_cache_size')),
            'maintenance_work_mem', pg_size_bytes(current_setting('maintenance_work_mem')),
            'autovacuum', CAST(current_setting('autovacuum') AS bool) AND CAST(current_setting('track_counts') AS bool)
        ),
        'overrides', (
            SELECT json_agg(json_build_object(
                'role', quote_ident(r.rolname), 'everywhere', s.setdatabase = 0,
                'name', split_part(given, '=', 1), 'value', substr(given, strpos(given, '=') + 1)
            ) ORDER BY r.rolname, given)
            FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS given LEFT JOIN pg_roles r ON r.oid = s.setrole
            WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                  AND (s.setrole = 0 OR EXISTS (
                      SELECT FROM documents d WHERE has_table_privilege(s.setrole, d.oid, 'SELECT')
                  ))
        ),
        'schema_usable', (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = '{SCHEMA}'),
        'tables', (
            SELECT json_object_agg(relname, json_build_object(
                'rights', array_remove(ARRAY[
                    CASE WHEN has_table_privilege(oid, 'SELECT') THEN 'SELECT' END,
                    CASE WHEN has_table_privilege(oid, 'INSERT') THEN 'INSERT' END,
                    CASE WHEN has_table_privilege(oid, 'UPDATE') THEN 'UPDATE' END,
                    CASE WHEN has_table_privilege(oid, 'DELETE') THEN 'DELETE' END
                ], NULL),
                'columns', ARRAY(
                    SELECT attname FROM pg_attribute WHERE attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
                )
            )) FROM ours WHERE relkind <> 'S'
        ),
        'sequences', (
            SELECT json_object_agg(relname, has_sequence_privilege(oid, 'USAGE')) FROM ours WHERE relkind = 'S'
        ),
        'locks', (
            SELECT json_agg(DISTINCT pid) FROM pg_locks JOIN lockable ON lockable.oid = relation
            WHERE mode = 'AccessExclusiveLock' AND pid <> pg_backend_pid()
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ),
        'indexes', (SELECT json_agg(vector_indexes ORDER BY name) FROM vector_indexes),
        'stored', (
            SELECT json_build_object(
                'reltuples', d.reltuples,
                'relpages', d.relpages,
                'dead', pg_stat_get_dead_tuples(d.oid),
                'changed', pg_stat_get_mod_since_analyze(d.oid),
                'options', d.reloptions,
                'storage', a.attstorage,
                'dimensions', a.atttypmod,
                'width', (SELECT avg_width FROM statistics WHERE attname = 'embedding'),
                'null_fraction', (SELECT null_frac FROM statistics WHERE attname = 'embedding'),
                'shares', (
                    SELECT json_object_agg(id, share)
                    FROM statistics s
                    CROSS JOIN unnest(CAST(CAST(s.most_common_vals AS text) AS bigint[]), s.most_common_freqs)
                        AS common (id, share)
                    WHERE s.attname = 'collection_id'
                )
            )
            FROM documents d JOIN pg_attribute a ON a.attrelid = d.oid AND a.attname = 'embedding'
        ),
        'rows', (SELECT CAST(greatest(reltuples, pg_stat_get_live_tuples(oid), 0) AS bigint) FROM documents),
        -- Where a policy holds the role back, it does not see the statistics.
        'analysed', EXISTS (SELECT FROM statistics) OR (SELECT row_security_active(oid) FROM documents)
    ) AS text)
""")  # noqa: S608 -- our own constants


def facts_of(answer: Mapping[str, Any]) -> Facts:
    """Return what the catalog says; an aggregate of nothing is None."""
    found = dict(answer)
    found["extension"] = Extension(**found["extension"]) if found["extension"] else None
    found["server"] = Server(**found["server"])
    found["overrides"] = tuple(Override(**each) for each in found["overrides"] or ())
    found["tables"] = {
        name: TableFacts(frozenset(table["rights"]), frozenset(table["columns"]))
        for name, table in (found["tables"] or {}).items()
    }
    found["sequences"] = found["sequences"] or {}
    found["indexes"] = tuple(IndexFacts(**index) for index in found["indexes"] or ())
    found["stored"] = _stored(found["stored"]) if found["stored"] else Stored()
    found["locks"] = tuple(found["locks"] or ())
    found["rows"] = found["rows"] or 0
    return Facts(**found)


def _stored(answer: dict[str, Any]) -> Stored:
    options = dict(option.split("=", 1) for option in answer.pop("options") or ())
    target = options.get("toast_tuple_target")
    shares = {int(id_): share for id_, share in (answer.pop("shares") or {}).items()}
    answer["null_fraction"] = answer["null_fraction"] or 0.0
    return Stored(
        **answer,
        shares=shares,
        autovacuum=options.get("autovacuum_enabled", "on") not in _OFF,
        toast_tuple_target=int(target) if target else None,
    )


# As PostgreSQL takes a boolean, in any unambiguous beginning; reloptions keep what was given.
_OFF = ("off", "of", "false", "fals", "fal", "fa", "f", "no", "n", "0")
