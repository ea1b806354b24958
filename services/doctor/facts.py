"""What is asked of a database before anything is concluded from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Table

from pgcorpus.models import Base

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
class TableFacts:
    """A table of ours in the database.

    Attributes:
        rights: What the role may do: SELECT, INSERT, UPDATE, DELETE.
        columns: The names of its columns.
    """

    rights: frozenset[str]
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """A vector index on the documents.

    Attributes:
        name: Without its schema.
        method: ``hnsw`` or ``ivfflat``.
        opclass: Its operator class.
        column: What it is on; None for an expression.
        partial: Whether it has some of the rows only.
        valid: Whether searches may use it.
        building: Whether an index of this table is being built at this moment.
    """

    name: str
    method: str
    opclass: str
    column: str | None
    partial: bool
    valid: bool
    building: bool


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
class Facts:
    """What a database answered.

    Attributes:
        role: Who asks, quoted as SQL needs it.
        database: Its name.
        standby: Whether it is a hot standby, where nothing can be written.
        is_32_bit: Whether the server is a 32-bit program.
        extension: pgvector, if it is there.
        available: The version of pgvector that the server could install; asked only where there is cause to.
        schema_usable: Whether the role may use our schema; None where there is none.
        tables: Our tables that are there, by name.
        sequences: Whether the role may use each of our sequences, by name.
        indexes: The vector indexes on the documents.
        rows: How many documents there are, roughly.
        analysed: Whether the planner has statistics of the documents.
        locks: Server processes that have locked a table of ours, or wait to; then nothing that follows is asked.
        revisions: What our version table says; None where it is not there or cannot be read.
        metrics: Those of the collections.
        waiting: Collections with documents that have no embedding.
    """

    role: str
    database: str
    standby: bool = False
    is_32_bit: bool = False
    extension: Extension | None = None
    available: str | None = None
    schema_usable: bool | None = None
    tables: Mapping[str, TableFacts] = field(default_factory=dict)
    sequences: Mapping[str, bool] = field(default_factory=dict)
    indexes: tuple[IndexFacts, ...] = ()
    rows: int = 0
    analysed: bool = False
    locks: tuple[int, ...] = ()
    revisions: tuple[str, ...] | None = None
    metrics: frozenset[str] = frozenset()
    waiting: tuple[Waiting, ...] = ()

    def can_read(self, table: str, *columns: str) -> bool:
        """Say whether the role may read a table, and whether it has these columns."""
        found = self.tables.get(table)
        return bool(self.schema_usable and found and "SELECT" in found.rights and found.columns >= {*columns})
