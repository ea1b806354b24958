"""What a search returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pgcorpus.models import Metric


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document as a search reads it: without its embedding, and not tied to the session."""

    collection_id: int
    id: int
    key: str
    content: str
    source: str | None
    position: int | None
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search.

    Attributes:
        document: The passage found.
        distance: In the search's metric; smaller is nearer.
        score: The same as a score; larger is better (for cosine 1 - distance).
    """

    document: DocumentView
    distance: float
    score: float


def to_hits(rows: Iterable[Any], metric: Metric) -> list[Hit]:
    """Turn a search's rows (the passage's columns, then the distance) into hits."""
    return [Hit(DocumentView(*row[:-1]), row[-1], metric.score(row[-1])) for row in rows]
