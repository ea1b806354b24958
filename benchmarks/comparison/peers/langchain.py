"""langchain-postgres: PGVectorStore, which its README recommends, with an index query option for ``ef_search``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import HNSWQueryOptions

from benchmarks.comparison.peers.base import Peer, Search, Table
from benchmarks.data import Row
from benchmarks.target import Target
from benchmarks.terms import DIMENSIONS, K

NAME = "langchain_items"

FILL = """
    INSERT INTO langchain_items (langchain_id, content, embedding, langchain_metadata)
    SELECT key, content, embedding, metadata FROM pgcorpus.documents ORDER BY id
"""


class NoEmbeddings(Embeddings):
    """Vectors are given, so nothing is embedded."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError


class This(Peer):
    """langchain-postgres."""

    wants_lists = True
    distributions = ("langchain-postgres", "psycopg", "pgvector")

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._engine = PGEngine.from_connection_string(target.url("psycopg"))
        self._store: PGVectorStore | None = None

    def create(self) -> Table:
        self._engine.init_vectorstore_table(
            NAME, DIMENSIONS, id_column=Column("langchain_id", "TEXT", nullable=False), overwrite_existing=True
        )
        return Table(NAME, FILL)

    def searcher(self, mode: str, field: str | None = None) -> Search:  # noqa: ARG002 -- there is one way
        store = self._open()
        if field is None:
            return lambda embedding: store.similarity_search_with_score_by_vector(embedding, k=K)
        condition = {field: {"$eq": 0}}
        return lambda embedding: store.similarity_search_with_score_by_vector(embedding, k=K, filter=condition)

    def numbers(self, found: Any) -> list[int]:
        return [document.metadata["number"] for document, _ in found]

    def write(self, mode: str, rows: Sequence[Row]) -> None:  # noqa: ARG002 -- there is one way
        self._open().add_embeddings(
            [row.content for row in rows],
            [row.vector for row in rows],
            [row.metadata for row in rows],
            [str(row.number) for row in rows],
        )

    def _open(self) -> PGVectorStore:
        if self._store is None:
            self._store = PGVectorStore.create_sync(
                self._engine, NoEmbeddings(), NAME, index_query_options=HNSWQueryOptions(self.target.ef_search)
            )
        return self._store
