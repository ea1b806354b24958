"""The facts, read in two statements: one of the catalog, which any role may read, and one of our own tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, TextClause, text

from pgcorpus.models import SCHEMA
from pgcorpus.repositories.transactions import is_outside_transactions
from pgcorpus.services.doctor.extension import wants_an_update
from pgcorpus.services.doctor.facts import TABLES, VERSION_TABLE, Extension, Facts, IndexFacts, TableFacts, Waiting

# Of each collection so many of its newest documents are looked at for an embedding, by the primary key: to look at all
# would be to read the table, since no index knows a NULL.
NEWEST_DOCUMENTS = 100
NEWEST_COLLECTIONS = 50

_SEQUENCES = [f"{table.name}_id_seq" for table in TABLES if table.autoincrement_column is not None]

# By names, not to_regclass, which fails where the role may not use the schema. As text: what a driver makes of JSON
# depends on its settings, which are the host's.
_CATALOG = text(f"""
    WITH ours AS (
        SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = '{SCHEMA}' AND c.relname = ANY (CAST(:names AS text[]))
    ),
    documents AS (SELECT * FROM ours WHERE relname = 'documents'),
    vector_indexes AS (
        SELECT x.relname AS name, m.amname AS method, o.opcname AS opclass, a.attname AS column,
               i.indpred IS NOT NULL AS partial, i.indisvalid AND i.indisready AS valid,
               NOT i.indisvalid AND EXISTS (
                   SELECT FROM pg_stat_progress_create_index p JOIN pg_locks l ON l.pid = p.pid
                   WHERE l.relation = i.indrelid AND l.database = p.datid
               ) AS building
        FROM documents d
        JOIN pg_index i ON i.indrelid = d.oid
        JOIN pg_class x ON x.oid = i.indexrelid
        JOIN pg_am m ON m.oid = x.relam AND m.amname IN ('hnsw', 'ivfflat')
        JOIN pg_opclass o ON o.oid = i.indclass[0]
        LEFT JOIN pg_attribute a ON a.attrelid = d.oid AND a.attnum = i.indkey[0] AND a.attnum > 0
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
            SELECT json_agg(DISTINCT pid) FROM pg_locks JOIN ours ON ours.oid = relation
            WHERE mode = 'AccessExclusiveLock' AND pid <> pg_backend_pid()
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ),
        'indexes', (SELECT json_agg(vector_indexes ORDER BY name) FROM vector_indexes),
        'rows', (SELECT CAST(greatest(reltuples, pg_stat_get_live_tuples(oid), 0) AS bigint) FROM documents),
        'analysed', EXISTS (SELECT FROM pg_stats WHERE schemaname = '{SCHEMA}' AND tablename = 'documents')
    ) AS text)
""")  # noqa: S608 -- our own constants

_AVAILABLE = text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")

_REVISIONS = f"SELECT json_agg(version_num) FROM {SCHEMA}.{VERSION_TABLE}"  # noqa: S608
_METRICS = f"SELECT json_agg(DISTINCT distance) FROM {SCHEMA}.collections"  # noqa: S608
_WAITING = f"""
    SELECT json_agg(found)
    FROM (
        SELECT id AS collection_id, tenant_id AS tenant, name AS collection, documents, seen
        FROM (
            SELECT id, tenant_id, name FROM {SCHEMA}.collections
            WHERE embedding_model IS NOT NULL AND shadow_of IS NULL
            ORDER BY id DESC LIMIT {NEWEST_COLLECTIONS}
        ) AS newest_collections
        CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE embedding IS NULL) AS documents, count(*) AS seen
            FROM (
                SELECT embedding FROM {SCHEMA}.documents
                WHERE collection_id = newest_collections.id ORDER BY id DESC LIMIT {NEWEST_DOCUMENTS}
            ) AS newest_documents
        ) AS counted
        WHERE documents > 0
    ) AS found
"""  # noqa: S608


def read_facts(connection: Connection) -> Facts:
    """Read the facts, in a savepoint where the caller has a transaction.

    Args:
        connection: On psycopg or psycopg2; nothing is written, and no setting changed.

    Raises:
        DBAPIError: The connection is lost, or the server refused.
    """
    with _aside(connection):
        facts = _from_catalog(json.loads(connection.scalar(_CATALOG, {"names": _names()})))
        if wants_an_update(facts):
            facts = replace(facts, available=connection.scalar(_AVAILABLE))
        parts = _parts(facts)
        if facts.locks or not parts:  # who waits behind a load helps nobody
            return facts
        return _with_contents(facts, json.loads(connection.scalar(_contents(parts))))


def _names() -> list[str]:
    return [*(table.name for table in TABLES), VERSION_TABLE, *_SEQUENCES]


def _from_catalog(answer: Mapping[str, Any]) -> Facts:
    """Return what the catalog says; an aggregate of nothing is None."""
    found = dict(answer)
    found["extension"] = Extension(**found["extension"]) if found["extension"] else None
    found["tables"] = {
        name: TableFacts(frozenset(table["rights"]), frozenset(table["columns"]))
        for name, table in (found["tables"] or {}).items()
    }
    found["sequences"] = found["sequences"] or {}
    found["indexes"] = tuple(IndexFacts(**index) for index in found["indexes"] or ())
    found["locks"] = tuple(found["locks"] or ())
    found["rows"] = found["rows"] or 0
    return Facts(**found)


def _parts(facts: Facts) -> dict[str, str]:
    """Return the questions that can be asked of our tables as they are, and by this role."""
    readable = {
        "revisions": (_REVISIONS, facts.can_read(VERSION_TABLE)),
        "metrics": (_METRICS, facts.can_read("collections", "distance")),
        "waiting": (
            _WAITING,
            facts.can_read("collections", "embedding_model", "shadow_of") and facts.can_read("documents", "embedding"),
        ),
    }
    return {name: question for name, (question, possible) in readable.items() if possible}


def _contents(parts: Mapping[str, str]) -> TextClause:
    pairs = ", ".join(f"'{name}', ({question})" for name, question in parts.items())
    return text(f"SELECT CAST(json_build_object({pairs}) AS text)")


def _with_contents(facts: Facts, answer: Mapping[str, Any]) -> Facts:
    revisions = tuple(answer["revisions"] or ()) if "revisions" in answer else None
    waiting = tuple(Waiting(**each) for each in answer.get("waiting") or ())
    return replace(facts, revisions=revisions, metrics=frozenset(answer.get("metrics") or ()), waiting=waiting)


# Beside what the caller does


@contextmanager
def _aside(connection: Connection) -> Iterator[None]:
    """Do something whose failure leaves the caller's transaction usable, if there is one.

    A success ends with RELEASE or COMMIT: after a ROLLBACK psycopg forgets all statements that it has prepared.
    """
    if is_outside_transactions(connection):
        yield
        return
    with connection.begin_nested() if connection.in_transaction() else connection.begin():
        yield
