"""The peers: each module has a class ``This`` that does a few jobs the way its documentation shows."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """Where a peer is found.

    Attributes:
        module: Its module's name in this package.
        requirements: Its file in ``requirements/``; None where it runs in the environment of this command.
        note: What a reader of the table should know.
    """

    module: str
    requirements: str | None
    note: str


PEERS = {
    "psycopg3-binary": Peer(
        "by_hand", None, "the base: autocommit, prepared, binary both ways, our table, collection_id = %s"
    ),
    "pgcorpus": Peer("ours", None, "the same table"),
    "psycopg3-tutorial": Peer("tutorial_psycopg", None, "as in pgvector-python's README; own table, SELECT *"),
    "sqlalchemy-tutorial": Peer("tutorial_sqlalchemy", None, "pgvector.sqlalchemy, ORM entities, psycopg2; own table"),
    "langchain-postgres": Peer(
        "langchain", "langchain.txt", "PGVectorStore on psycopg 3; own table; ef_search by HNSWQueryOptions"
    ),
    "llama-index": Peer(
        "llamaindex", "llamaindex.txt", "PGVectorStore on psycopg2; own table; ef_search by hnsw_kwargs"
    ),
}
