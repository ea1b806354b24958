"""The table of the two tutorials."""

from __future__ import annotations

from benchmarks.comparison.peers.base import Table

CREATE = """
    CREATE TABLE IF NOT EXISTS items (
        id bigserial PRIMARY KEY, content text, metadata jsonb, embedding vector(1536)
    )
"""

TABLE = Table(
    "items",
    """
    INSERT INTO items (content, metadata, embedding)
    SELECT content, metadata, embedding FROM pgcorpus.documents ORDER BY id
    """,
)
