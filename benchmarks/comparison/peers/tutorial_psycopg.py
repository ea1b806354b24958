"""psycopg 3 as pgvector-python's README shows it: one connection, ``register_vector``, ``SELECT *``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg.types.json import Jsonb

from benchmarks.comparison.peers.base import Peer, Search, Table
from benchmarks.comparison.peers.tutorial_table import CREATE, TABLE
from benchmarks.data import Row

SEARCH = "SELECT * FROM items ORDER BY embedding <=> %s LIMIT 10"
FILTERED = "SELECT * FROM items WHERE (metadata->>%s)::int = 0 ORDER BY embedding <=> %s LIMIT 10"


class This(Peer):
    """The tutorial's psycopg 3."""

    wants_lists = True
    distributions = ("psycopg", "pgvector")

    def create(self) -> Table:
        self._connect().execute(CREATE)
        return TABLE

    def searcher(self, mode: str, field: str | None = None) -> Search:  # noqa: ARG002 -- there is one way
        connection = self._connect()
        connection.execute(f"SET hnsw.ef_search = {self.target.ef_search}".encode())

        def search(embedding: list[float]) -> list[Any]:
            # A plain list would be sent as double precision[], for which there is no <=>.
            vector = Vector(embedding)
            if field is None:
                return connection.execute(SEARCH, (vector,)).fetchall()
            return connection.execute(FILTERED, (field, vector)).fetchall()

        return search

    def numbers(self, found: Any) -> list[int]:
        return [row[2]["number"] for row in found]

    def write(self, mode: str, rows: Sequence[Row]) -> None:  # noqa: ARG002 -- there is one way
        with self._connect() as connection:
            for row in rows:
                connection.execute(
                    "INSERT INTO items (content, metadata, embedding) VALUES (%s, %s, %s)",
                    (row.content, Jsonb(row.metadata), row.vector),
                )
            connection.commit()

    def _connect(self) -> psycopg.Connection[Any]:
        target = self.target
        connection = psycopg.connect(
            host=target.host, port=target.port, dbname=target.database, user=target.user, autocommit=True
        )
        register_vector(connection)
        return connection
