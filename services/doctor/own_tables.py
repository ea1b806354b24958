"""The second of the statements: what our own tables hold, as far as they are there and this role may read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy import TextClause, text

from pgcorpus.models import SCHEMA
from pgcorpus.names import regclass_name
from pgcorpus.repositories.indexes import INDEXES, index_of
from pgcorpus.services.doctor.facts import VERSION_TABLE, Calibrated, Facts, LargeCollection, Waiting

# Of each collection so many of its newest documents are looked at for an embedding, by the primary key: to look at all
# would be to read the table, since no index knows a NULL.
NEWEST_DOCUMENTS = 100
NEWEST_COLLECTIONS = 50

# From how many documents on an exact search is slow: with 10,000 of 1,536 dimensions it took 38 ms, by HNSW 10, and
# from 6,000 on the planner goes by the index with the costs that PostgreSQL comes with (docs/doctor.md).
LARGE = 10_000

# A document of 1,536 dimensions fills one.
_BLOCKS = 100

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
_VECTOR_INDEXES = f"SELECT json_agg(found) FROM ({INDEXES}) AS found"  # noqa: S608
_LARGE = f"""
    SELECT json_agg(json_build_object('collection_id', id, 'tenant', tenant_id, 'collection', name, 'metric', distance))
    FROM {SCHEMA}.collections WHERE id = ANY (CAST(:large AS bigint[]))
"""  # noqa: S608
_CALIBRATED = f"""
    SELECT json_agg(found)
    FROM (
        SELECT DISTINCT ON (k.collection_id)
            c.tenant_id AS tenant, c.name AS collection, k.collection_id, k.index_definition, k.documents
        FROM {SCHEMA}.calibrations k JOIN {SCHEMA}.collections c ON c.id = k.collection_id
        WHERE c.shadow_of IS NULL
        ORDER BY k.collection_id DESC, k.id DESC LIMIT {NEWEST_COLLECTIONS}
    ) AS found
"""  # noqa: S608
_PAGES = f"SELECT pg_relation_size('{SCHEMA}.documents') / CAST(current_setting('block_size') AS bigint)"
# Of blocks from all over the table, the same ones each time. Of a document that was changed nobody knows how old it is,
# and an index that was built over documents must have met some of the others.
_OLDEST = f"""
    SELECT CASE WHEN bool_and(version = 1) THEN max(age(xmin)) END
    FROM {SCHEMA}.documents TABLESAMPLE SYSTEM (
        least(100, 100.0 * {_BLOCKS} * CAST(current_setting('block_size') AS bigint)
                   / greatest(pg_relation_size('{SCHEMA}.documents'), 1))
    ) REPEATABLE (0)
"""  # noqa: S608


# What the answers are about, for people.
WORDS = {
    "revisions": "which revision the tables have",
    "metrics": "the metrics of the collections",
    "waiting": "which documents wait for an embedding",
    "vector_indexes": "the vector indexes",
    "large": "the large collections",
    "calibrated": "the calibrations",
    "oldest": "the oldest documents",
    "pages": "the size of the documents' table",
}


def questions(facts: Facts) -> dict[str, str]:
    """Return what can be asked of our tables as they are, by this role, and is worth asking."""
    collections = facts.can_read("collections", "distance", "shadow_of", "embedding_model")
    documents = facts.can_read("documents", "embedding")
    ivfflat = any(index.method == "ivfflat" for index in facts.indexes)
    asked = {
        "revisions": (_REVISIONS, facts.can_read(VERSION_TABLE)),
        "metrics": (_METRICS, collections),
        "waiting": (_WAITING, collections and documents),
        "vector_indexes": (_VECTOR_INDEXES, documents and bool(facts.indexes)),
        "large": (_LARGE, collections and bool(_large_ids(facts))),
        "calibrated": (_CALIBRATED, collections and facts.can_read("calibrations", "index_definition")),
        "oldest": (_OLDEST, ivfflat and facts.can_read("documents", "version")),
        "pages": (_PAGES, documents),
    }
    return {name: question for name, (question, possible) in asked.items() if possible}


def statement(asked: Mapping[str, str], facts: Facts) -> tuple[TextClause, dict[str, Any]]:
    """Return one statement of all questions, with its parameters."""
    pairs = ", ".join(f"'{name}', ({question})" for name, question in asked.items())
    values = {"table": regclass_name(SCHEMA, "documents"), "large": list(_large_ids(facts))}
    parameters = {name: value for name, value in values.items() if f":{name}" in pairs}
    return text(f"SELECT CAST(json_build_object({pairs}) AS text)"), parameters


def with_answers(facts: Facts, answer: Mapping[str, Any]) -> Facts:
    """Return the facts with what our tables answered; an aggregate of nothing is None."""
    rows = (SimpleNamespace(**row) for row in answer.get("vector_indexes") or ())
    large = [LargeCollection(**each) for each in answer.get("large") or ()]
    counts = _large_ids(facts)
    large = [replace(each, documents=counts[each.collection_id]) for each in large]
    return replace(
        facts,
        revisions=tuple(answer["revisions"] or ()) if "revisions" in answer else None,
        metrics=frozenset(answer.get("metrics") or ()),
        waiting=tuple(Waiting(**each) for each in answer.get("waiting") or ()),
        vector_indexes=tuple(index for row in rows if (index := index_of(row)) is not None),
        large=tuple(sorted(large, key=lambda each: -each.documents)),
        calibrated=tuple(Calibrated(**each) for each in answer.get("calibrated") or ()),
        oldest=answer.get("oldest"),
        pages=answer.get("pages") or 0,
    )


def _large_ids(facts: Facts) -> dict[int, int]:
    """Return how many documents the large collections have, by the planner's statistics."""
    return {id_: count for id_ in facts.stored.shares if (count := facts.stored.documents_of(id_) or 0) >= LARGE}
