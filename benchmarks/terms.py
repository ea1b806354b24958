"""What is equal for all that is compared."""

from __future__ import annotations

MB = 1024**2

K = 10
# OpenAI text-embedding-3-small, the dimensions of our migrations.
DIMENSIONS = 1536
# The index that our migrations make; also pgvector's defaults (README, "HNSW").
M = 16
EF_CONSTRUCTION = 64

BASE = "psycopg3-binary"
OURS = "pgcorpus"
COLLECTION = "bench"

# Metadata fields that are 0 in this part of the rows.
SELECTIVITIES = {"thousandth": 0.001, "hundredth": 0.01, "tenth": 0.1, "half": 0.5}

# The role of the peers with tables of their own: enable_seqscan = off. Their vectors lie out of line, so that the
# planner takes the table for small (docs/storage.md) and, at the server's defaults, may scan 20,000 rows in full. Their
# clients are compared on the index that a larger table would be searched by.
PEER_ROLE = "peer"
# The same peers once more, as the server's defaults have it: under filters complete by a full scan, which grows with
# the table.
DEFAULTS_ROLE = "peer_at_defaults"
OWN_ROLE = "corpus"


def default_ef_search() -> int:
    """Return the ``hnsw.ef_search`` that our searches use by default, and so all others."""
    from pgcorpus.tuning import DEFAULT_EF_SEARCH

    return DEFAULT_EF_SEARCH
