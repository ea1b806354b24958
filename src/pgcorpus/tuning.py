"""The settings that every search runs with: carried by our connections, else set for a transaction."""

from __future__ import annotations

# pgvector README, "HNSW": hnsw.ef_search is 1 to 1,000, and 40 by default. With 160 the recall was at least .963 at
# every selectivity of a hard set of 20,000 x 1536, where 40 gave .79 (docs/benchmarks.md).
DEFAULT_EF_SEARCH = 160

# pgvector README, "Iterative Index Scans".
SCANS = ("relaxed_order", "strict_order", "off")

# Iterative scans go on where a filter leaves too few rows (pgvector README, "Iterative Index Scans").
SEARCH_DEFAULTS = {"hnsw.ef_search": str(DEFAULT_EF_SEARCH), "hnsw.iterative_scan": SCANS[0]}

# In a pooled connection's ``info``: whether the server was seen to have taken SEARCH_DEFAULTS for the whole session.
CARRIED = "pgcorpus_search_defaults"


def as_options() -> str:
    """Return the defaults as libpq's ``options``, which outlive RESET ALL and roll back with nothing."""
    return " ".join(f"-c {name}={value}" for name, value in SEARCH_DEFAULTS.items())
