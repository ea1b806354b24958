"""The figures of a database, as one reading found them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """What was measured last of a collection's recall.

    Attributes:
        measured_at: When.
        documents: How many the collection had.
        k: How many nearest were asked for.
        recall: At the setting that searches have by default, without a filter; None where that was not measured.
        stale: Why it no longer tells what searches may expect; None while it does.
    """

    measured_at: datetime
    documents: int
    k: int
    recall: float | None
    stale: str | None


@dataclass(frozen=True, slots=True)
class CollectionFigures:
    """A collection.

    Attributes:
        id: The collection's.
        tenant: Whose it is.
        name: Its name.
        embedding_model: The model of its embeddings, once it has any.
        distance: The metric it is searched with.
        shadow_of: Of one that stands behind another while that one's model is switched, the other.
        documents: How many it has.
        embedded: How many of those have an embedding.
        sources: How many sources they come from; None where that is not estimated.
        content_bytes: Of their texts, before any compression.
        changed_at: When a document was last added or changed; None of an empty one, and where that is not estimated.
        estimated: Whether these are the planner's estimate and a sample's share rather than counted.
        calibration: What was measured last of its recall.
    """

    id: int
    tenant: str
    name: str
    embedding_model: str | None
    distance: str
    shadow_of: int | None
    documents: int
    embedded: int
    sources: int | None
    content_bytes: int | None
    changed_at: datetime | None
    estimated: bool
    calibration: CalibrationFigures | None


@dataclass(frozen=True, slots=True)
class TableFigures:
    """A table of ours. What counts is counted by the server since its statistics were last reset.

    Attributes:
        name: With its schema.
        rows: As of the last VACUUM or ANALYZE; None where there was none.
        dead_rows: What is left of rows that were updated or deleted, as the server estimates.
        heap_bytes: Of its rows.
        toast_bytes: Of long values that are stored out of them.
        index_bytes: Of all its indexes.
        hit_ratio: Share of the pages read that were in ``shared_buffers``, 0 to 1; None before the first.
        vacuumed_at: The last VACUUM, by hand or automatic.
        analyzed_at: The last ANALYZE, likewise.
    """

    name: str
    rows: int | None
    dead_rows: int
    heap_bytes: int
    toast_bytes: int
    index_bytes: int
    hit_ratio: float | None
    vacuumed_at: datetime | None
    analyzed_at: datetime | None


@dataclass(frozen=True, slots=True)
class IndexFigures:
    """A vector index on the documents.

    Attributes:
        name: With its schema.
        method: ``hnsw`` or ``ivfflat``.
        form: What it keeps of an embedding: ``vector``, ``halfvec`` or ``binary``.
        metric: What it compares by; None of ``binary``.
        collection_id: Of an index of one collection.
        valid: Whether searches may use it.
        bytes: Its size now.
        rows: As of the last build, VACUUM or ANALYZE.
        scans: How often it was used; a statement that scans twice counts twice.
        hit_ratio: Share of the pages read that were in ``shared_buffers``, 0 to 1; None before the first.
    """

    name: str
    method: str
    form: str
    metric: str | None
    collection_id: int | None
    valid: bool
    bytes: int
    rows: int
    scans: int
    hit_ratio: float | None


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """What is kept of one model's embeddings. How often it is asked is not stored: events tell.

    Attributes:
        model: The embedder's ``model``.
        entries: Texts.
        bytes: Of their vectors.
        estimated: Whether these are a sample's share rather than counted.
    """

    model: str
    entries: int
    bytes: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class StatementFigures:
    """A statement on the documents, as ``pg_stat_statements`` has it: its values are parameters there.

    Attributes:
        text: Of the statement, on one line.
        calls: How often it ran.
        rows: It returned, or wrote, in all.
        total_ms: Spent on it in all, in milliseconds.
        mean_ms: Of one call.
        max_ms: Of the longest.
    """

    text: str
    calls: int
    rows: int
    total_ms: float
    mean_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """The server.

    Attributes:
        version: Of PostgreSQL, such as ``18.6``.
        pgvector: Its version; None where it is missing.
        standby: Whether it is a hot standby, which counts its own reads, and no writes.
        counted_since: When the statistics were last reset; None where they never were.
        settings: Those of memory and of searches, as ``SHOW`` prints them.
    """

    version: str
    pgvector: str | None
    standby: bool
    counted_since: datetime | None
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Statistics:
    """All of them.

    Attributes:
        server: The server.
        collections: By tenant and name.
        tables: The documents', and our others.
        indexes: The vector indexes on the documents, by name.
        cache: By model.
        statements: Those on the documents, the longest in all first; None where the extension is missing, or not
            loaded, or the role may not read it.
    """

    server: ServerFigures
    collections: tuple[CollectionFigures, ...]
    tables: tuple[TableFigures, ...]
    indexes: tuple[IndexFigures, ...]
    cache: tuple[CacheFigures, ...]
    statements: tuple[StatementFigures, ...] | None
