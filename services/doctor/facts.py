"""What is asked of a database before anything is concluded from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Table

from pgcorpus.models import Base
from pgcorpus.repositories.indexes import VectorIndex

TABLES: tuple[Table, ...] = tuple(Base.metadata.sorted_tables)
VERSION_TABLE = "alembic_version"


@dataclass(frozen=True, slots=True)
class Extension:
    """The extension pgvector in the database.

    Attributes:
        version: Such as ``0.8.2``.
        schema: Where it lives.
        usable: Whether the role may use that schema.
    """

    version: str
    schema: str
    usable: bool


@dataclass(frozen=True, slots=True)
class Server:
    """What the server is set to in this session; sizes in bytes.

    Attributes:
        shared_buffers: What it keeps of tables and indexes itself.
        effective_cache_size: That, and what the operating system is believed to keep.
        maintenance_work_mem: What a build of an index may take.
        autovacuum: Whether it vacuums and analyses by itself.
    """

    shared_buffers: int
    effective_cache_size: int
    maintenance_work_mem: int
    autovacuum: bool


@dataclass(frozen=True, slots=True)
class Override:
    """A setting that ``ALTER ROLE`` or ``ALTER DATABASE`` gives to new sessions that may read the documents.

    Attributes:
        role: Whose, quoted as SQL needs it; None for any.
        everywhere: Whether in all databases rather than this one.
        name: Of the setting.
        value: As it was given.
    """

    role: str | None
    everywhere: bool
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table of ours in the database.

    Attributes:
        rights: What the role may do: SELECT, INSERT, UPDATE, DELETE.
        columns: The names of its columns.
    """

    rights: frozenset[str]
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Stored:
    """The table of the documents, and how the server keeps it.

    Attributes:
        reltuples: Rows when it was last vacuumed or analysed; negative for never.
        relpages: Pages that it had then.
        dead: Rows that were updated or deleted and not vacuumed yet, roughly.
        changed: Rows written since it was last analysed, roughly.
        autovacuum: Whether the table is left to autovacuum.
        storage: Of the embedding's column, as ``pg_attribute`` has it: ``m`` for main.
        toast_tuple_target: Bytes that a row may have before values are moved out of it; None for the default.
        dimensions: Of the embeddings.
        width: Mean bytes of an embedding in its row, of a pointer where it lies elsewhere; None if never analysed.
        null_fraction: The share of documents without an embedding; 0 if never analysed.
        shares: The share of the documents that each of the larger collections has, by its id.
    """

    reltuples: float = -1
    relpages: int = 0
    dead: int = 0
    changed: int = 0
    autovacuum: bool = True
    storage: str = "m"
    toast_tuple_target: int | None = None
    dimensions: int = 0
    width: int | None = None
    null_fraction: float = 0
    shares: Mapping[int, float] = field(default_factory=dict)

    def documents_of(self, collection_id: int) -> int | None:
        """Return how many documents a larger collection had when the table was analysed."""
        share = self.shares.get(collection_id)
        return None if share is None else round(share * max(self.reltuples, 0))


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """A vector index on the documents, of whatever kind.

    Attributes:
        name: Without its schema.
        method: ``hnsw`` or ``ivfflat``.
        valid: Whether searches may use it.
        building: Whether an index of this table is being built at this moment.
        age: Transactions since it was built or altered.
    """

    name: str
    method: str
    valid: bool
    building: bool
    age: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Documents of a collection that have no embedding, among its newest.

    Attributes:
        collection_id: The collection.
        tenant: Whose it is.
        collection: Its name.
        documents: How many wait.
        seen: How many were looked at.
    """

    collection_id: int
    tenant: str
    collection: str
    documents: int
    seen: int


@dataclass(frozen=True, slots=True)
class LargeCollection:
    """A collection whose documents are too many to be compared one by one.

    Attributes:
        collection_id: The collection.
        tenant: Whose it is.
        collection: Its name.
        metric: What it is searched by.
        documents: How many it has, by the planner's statistics.
    """

    collection_id: int
    tenant: str
    collection: str
    metric: str
    documents: int = 0


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The last calibration of a collection.

    Attributes:
        tenant: Whose the collection is.
        collection: Its name.
        collection_id: The collection.
        index_definition: The index that was there.
        documents: How many it had.
    """

    tenant: str
    collection: str
    collection_id: int
    index_definition: str
    documents: int


@dataclass(frozen=True, slots=True)
class Planned:
    """How the server would answer a search of the largest collection that an index serves.

    Attributes:
        collection: The collection.
        index: The vector index it would go by; None where it would compare all rows.
        cost: What it holds that to cost.
        cause: A setting that keeps it from the index: its name, its value, and one with which it is used.
    """

    collection: LargeCollection
    index: str | None
    cost: float
    cause: tuple[str, str, str] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that the server did not let be looked at.

    Attributes:
        what: In words.
        why: The server's message.
        denied: Whether the role lacks a right for it.
    """

    what: str
    why: str
    denied: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What a database answered.

    Attributes:
        role: Who asks, quoted as SQL needs it.
        database: Its name.
        standby: Whether it is a hot standby, where nothing can be written.
        is_32_bit: Whether the server is a 32-bit program.
        extension: pgvector, if it is there.
        available: The version of pgvector that the server could install; asked only where there is cause to.
        server: What it is set to.
        overrides: What roles and the database set otherwise.
        schema_usable: Whether the role may use our schema; None where there is none.
        tables: Our tables that are there, by name.
        sequences: Whether the role may use each of our sequences, by name.
        indexes: The vector indexes on the documents, of whatever kind.
        stored: The table of the documents.
        rows: How many documents there are, roughly.
        analysed: Whether the planner has statistics of the documents.
        locks: Server processes that have locked a table of ours, or wait to; then nothing that follows is asked.
        vector_indexes: Those of the indexes that searches can go by.
        oldest: Transactions since the oldest documents were written, of some from all over the table; asked where an
            index is IVFFlat, and unknown where any was changed since.
        pages: That the table of the documents has now.
        revisions: What our version table says; None where it is not there or cannot be read.
        metrics: Those of the collections.
        waiting: Collections with documents that have no embedding.
        large: The largest collections, the largest first.
        calibrated: The last calibrations.
        planned: How a search would be answered; asked where a collection is large and has an index.
        refusals: What the server did not let be looked at.
    """

    role: str
    database: str
    standby: bool = False
    is_32_bit: bool = False
    extension: Extension | None = None
    available: str | None = None
    server: Server | None = None
    overrides: tuple[Override, ...] = ()
    schema_usable: bool | None = None
    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    sequences: Mapping[str, bool] = field(default_factory=dict)
    indexes: tuple[IndexFacts, ...] = ()
    stored: Stored = field(default_factory=Stored)
    rows: int = 0
    analysed: bool = False
    locks: tuple[int, ...] = ()
    vector_indexes: tuple[VectorIndex, ...] = ()
    oldest: int | None = None
    pages: int = 0
    revisions: tuple[str, ...] | None = None
    metrics: frozenset[str] = frozenset()
    waiting: tuple[Waiting, ...] = ()
    large: tuple[LargeCollection, ...] = ()
    calibrated: tuple[Calibrated, ...] = ()
    planned: Planned | None = None
    refusals: tuple[Refusal, ...] = ()

    def can_read(self, table: str, *columns: str) -> bool:
        """Say whether the role may read a table, and whether it has these columns."""
        found = self.tables.get(table)
        return bool(self.schema_usable and found and "SELECT" in found.rights and found.columns >= {*columns})

    def of_tenant(self, tenant: str) -> Facts:
        """Return the facts without what is other tenants'."""
        is_own = self.planned is not None and self.planned.collection.tenant == tenant
        return replace(
            self,
            waiting=tuple(each for each in self.waiting if each.tenant == tenant),
            large=tuple(each for each in self.large if each.tenant == tenant),
            calibrated=tuple(each for each in self.calibrated if each.tenant == tenant),
            planned=self.planned if is_own else None,
        )
