"""The base: what an expert writes by hand with psycopg 3.

Autocommit, since BEGIN and ROLLBACK cost a tenth; prepared statements; the vector, the scope and all results in
binary; one cursor kept. ``plan_cache_mode`` stays at ``auto``, the fastest of the three here (2.23 ms against 2.27
and 2.37). Filters add an iterative scan, a sort outside and a custom plan: else the answer is short, unsorted or slow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg.types.json import Jsonb

from benchmarks.comparison.peers.base import Peer, Search
from benchmarks.data import Row
from benchmarks.target import Target
from benchmarks.terms import COLLECTION

SEARCH = """
    SELECT id, key, content, source, position, metadata, embedding <=> %s AS distance
    FROM pgcorpus.documents WHERE collection_id = %s ORDER BY distance LIMIT 10
"""
SEARCHES = {
    "search": SEARCH,
    # The control: what differs between the two is noise.
    "again": SEARCH,
    "embedding": """
        SELECT id, key, content, source, position, metadata, embedding <=> %s AS distance, embedding
        FROM pgcorpus.documents WHERE collection_id = %s ORDER BY distance LIMIT 10
    """,
    "filtered": """
        SELECT * FROM (
            SELECT id, key, content, source, position, metadata, embedding <=> %s AS distance
            FROM pgcorpus.documents WHERE collection_id = %s AND metadata @> %s ORDER BY distance LIMIT 20
        ) candidates ORDER BY distance + 0 LIMIT 10
    """,
}

COPY = """
    COPY pgcorpus.documents (collection_id, key, content, content_hash, source, position, metadata, embedding)
    FROM STDIN (FORMAT BINARY)
"""
COPY_TYPES = ("int8", "text", "text", "bytea", "text", "int4", "jsonb", "vector")


class This(Peer):
    """psycopg 3, by hand."""

    distributions = ("psycopg", "pgvector")

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._connection = self._connect()

    def searcher(self, mode: str, field: str | None = None) -> Search:
        connection = self._connect()
        if mode == "ping":
            return lambda _: connection.execute("SELECT 1").fetchall()
        connection.execute("SELECT set_config('hnsw.ef_search', %s, false)", [str(self.target.ef_search)])
        cursor = connection.cursor(binary=True)
        collection = self._collection()
        if field is None:
            query = SEARCHES[mode]
            return lambda vector: cursor.execute(query, (vector, collection)).fetchall()
        connection.execute("SET hnsw.iterative_scan = relaxed_order")
        connection.execute("SET plan_cache_mode = force_custom_plan")
        condition = Jsonb({field: 0})
        return lambda vector: cursor.execute(SEARCHES["filtered"], (vector, collection, condition)).fetchall()

    def numbers(self, found: Any) -> list[int]:
        return [int(row[1]) for row in found]

    def write(self, mode: str, rows: Sequence[Row]) -> None:  # noqa: ARG002 -- there is one way
        with self._connection.transaction(), self._connection.cursor() as cursor:
            collection = self._collection()
            with cursor.copy(COPY) as copy:
                copy.set_types(COPY_TYPES)
                for number, content, source, position, metadata, vector in rows:
                    digest = hashlib.sha256(content.encode()).digest()
                    copy.write_row(
                        (collection, str(number), content, digest, source, position, Jsonb(metadata), vector)
                    )

    def _connect(self) -> psycopg.Connection[Any]:
        target = self.target
        connection = psycopg.connect(
            host=target.host, port=target.port, dbname=target.database, user=target.user, autocommit=True
        )
        register_vector(connection)
        return connection

    def _collection(self) -> int:
        row = self._connection.execute("SELECT id FROM pgcorpus.collections WHERE name = %s", [COLLECTION]).fetchone()
        assert row is not None  # noqa: S101 -- made with the tables
        return int(row[0])
