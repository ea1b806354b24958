"""llama-index-vector-stores-postgres: PGVectorStore with JSONB metadata, searched as a retriever does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters, VectorStoreQuery
from llama_index.core.vector_stores.utils import node_to_metadata_dict
from llama_index.vector_stores.postgres import PGVectorStore

from benchmarks.comparison.peers.base import Peer, Search, Table
from benchmarks.data import Row
from benchmarks.target import Target
from benchmarks.terms import DIMENSIONS, K

# What add() stores: the metadata, and the node itself as JSON text.
FILL = """
    INSERT INTO data_llama_items (text, metadata_, node_id, embedding)
    SELECT content, %s::jsonb || metadata || jsonb_build_object(
        '_node_content', (%s::jsonb || jsonb_build_object('id_', key, 'metadata', metadata))::text
    ), key, embedding FROM pgcorpus.documents ORDER BY id
"""


class This(Peer):
    """llama-index-vector-stores-postgres."""

    wants_lists = True
    distributions = ("llama-index-vector-stores-postgres", "sqlalchemy", "pgvector")

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._store = self._open(perform_setup=False, hnsw_kwargs={"hnsw_ef_search": target.ef_search})

    def create(self) -> Table:
        self._open(perform_setup=True).add([])
        stored = node_to_metadata_dict(TextNode(text=""), remove_text=True, flat_metadata=False)
        node = stored.pop("_node_content")
        return Table("data_llama_items", FILL, (json.dumps(stored), node))

    def searcher(self, mode: str, field: str | None = None) -> Search:  # noqa: ARG002 -- there is one way
        filters = None if field is None else MetadataFilters(filters=[MetadataFilter(key=field, value=0)])

        def search(embedding: list[float]) -> Any:
            query = VectorStoreQuery(query_embedding=embedding, similarity_top_k=K, filters=filters)
            return self._store.query(query)

        return search

    def numbers(self, found: Any) -> list[int]:
        return [node.metadata["number"] for node in found.nodes]

    def write(self, mode: str, rows: Sequence[Row]) -> None:  # noqa: ARG002 -- there is one way
        self._store.add(
            [
                TextNode(id_=str(row.number), text=row.content, metadata=row.metadata, embedding=row.vector)
                for row in rows
            ]
        )

    def _open(self, **options: Any) -> PGVectorStore:
        return PGVectorStore.from_params(
            connection_string=self.target.url("psycopg2"),
            async_connection_string=self.target.url("asyncpg"),
            table_name="llama_items",
            embed_dim=DIMENSIONS,
            use_jsonb=True,
            **options,
        )
