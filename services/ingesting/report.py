"""What an ingest says of itself, while it runs and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pgcorpus.repositories import SyncReport


class Stage(StrEnum):
    """What an ingest is doing."""

    EMBEDDING = "embedding"
    DELETING = "deleting what vanished"
    INDEXING = "building the vector index"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is.

    Attributes:
        stage: What it is doing.
        size: Bytes of the sources done with, of those the caller gave sizes for.
        passages: Passages read.
        embedded: Passages that have their embedding, from the embedder or from the cache.
        stored: Passages whose source is written.
    """

    stage: Stage = Stage.EMBEDDING
    size: float = 0
    passages: int = 0
    embedded: int = 0
    stored: int = 0


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did, or of a dry run would do.

    Attributes:
        sources: Sources read.
        passages: Passages read.
        embedded: Passages that needed an embedding.
        cached: How many of those cost nothing: the cache had them, or they came twice.
        changes: What was written.
        tokens: Tokens the embedder's server counted; of a dry run an estimate, a token for every four bytes.
        cost: The tokens at the price that was given; None without one.
        seconds: Time by part: ``read``, ``embed`` (summed over those that run at once), ``write``, ``index``.
        dry_run: Whether nothing was embedded and written.
    """

    sources: int
    passages: int
    embedded: int
    cached: int
    changes: SyncReport
    tokens: int = 0
    cost: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    dry_run: bool = False
