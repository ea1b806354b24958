"""The forms that are compared, and the settings that each is asked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgcorpus.indexing import IndexForm

EF_SEARCH = (10, 20, 40, 80, 120, 160, 240, 400, 800)
RERANK = (20, 40, 80, 120, 200, 300, 400, 600, 800, 1_000)
PROBES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
FULL = "HNSW vector"


@dataclass(frozen=True)
class Kind:
    """A form of a method."""

    method: str
    form: IndexForm

    def settings(self, lists: int) -> Sequence[Mapping[str, int]]:
        """Return what its searches are asked at.

        Args:
            lists: Of IVFFlat.
        """
        if self.method == "ivfflat":
            return [{"probes": probes} for probes in PROBES if probes <= lists]
        if self.form is IndexForm.BINARY:
            return [{"rerank": rows} for rows in RERANK]
        return [{"ef_search": ef_search} for ef_search in EF_SEARCH]


KINDS = {
    FULL: Kind("hnsw", IndexForm.VECTOR),
    "HNSW halfvec": Kind("hnsw", IndexForm.HALFVEC),
    "HNSW binary": Kind("hnsw", IndexForm.BINARY),
    "IVFFlat vector": Kind("ivfflat", IndexForm.VECTOR),
    "IVFFlat halfvec": Kind("ivfflat", IndexForm.HALFVEC),
}


def lists_for(rows: int) -> int:
    """Return the lists of IVFFlat that pgvector's README advises for up to a million rows."""
    return max(1, rows // 1_000)
