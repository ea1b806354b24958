"""A document: one passage of text, its metadata and its embedding."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    DateTime,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    func,
    inspect,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, validates

from pgcorpus import vectors
from pgcorpus.models.base import Base
from pgcorpus.models.collection import DEFAULT_LANGUAGE, Collection
from pgcorpus.models.fulltext import tsvector_expression
from pgcorpus.models.index import hnsw_index
from pgcorpus.models.storage import IN_ROW_DIMENSIONS, STORAGE, STORAGE_IN_ROW
from pgcorpus.models.vector import Vector, VectorMapped

# OpenAI text-embedding-3-small (OpenAI, "Embeddings").
DIMENSIONS = 1536


def content_hash(content: str) -> bytes:
    """Return the 32 bytes by which two contents are told apart: SHA-256 of the UTF-8 text."""
    return hashlib.sha256(content.encode()).digest()


def vector_column(dimensions: int, *, nullable: bool = True, in_row: bool = True) -> Any:
    """Declare a vector column that is fetched only when asked for.

    Args:
        dimensions: Number of float32 dimensions, 1 to 16,000; an index takes at most 2,000.
        nullable: Whether a row may wait for its embedding.
        in_row: Whether the vector lies in the table's row, where it fits: up to 1,950 dimensions. Out of it,
            PostgreSQL's default, the planner scans the whole table rather than use the index.

    Raises:
        DefinitionError: The number of dimensions is out of range.
    """
    info = {STORAGE: STORAGE_IN_ROW} if in_row and dimensions <= IN_ROW_DIMENSIONS else {}
    return mapped_column(Vector(dimensions), nullable=nullable, deferred=True, sort_order=1, info=info)


class DocumentMixin:
    """The columns and indexes of a document, for a model of your own::

        class Article(DocumentMixin, Base):
            __tablename__ = "articles"
            embedding: VectorMapped[Array | None] = vector_column(384)

    Attributes:
        collection_id: The collection; with ``id`` the primary key, which keeps the table fit for partitions.
        key: The document's own name in its collection; a random one by default.
        content: The text.
        content_hash: SHA-256 of the text, kept in step with it.
        source: Where the text is from; the passages of a file share it.
        position: Order within the source: rising, with gaps.
        meta: The column ``metadata``, a JSON object.
        language: Full-text language of the content.
        version: 1 when inserted, one more with every update; also guards against lost updates.
    """

    collection_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(
        Text, default=lambda: str(uuid4()), server_default=text("(gen_random_uuid())::text")
    )
    content: Mapped[str] = mapped_column(Text)
    content_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    source: Mapped[str | None] = mapped_column(Text)
    position: Mapped[int | None] = mapped_column(Integer)
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, default=dict, server_default=text("'{}'::jsonb"))
    language: Mapped[str] = mapped_column(Text, default=DEFAULT_LANGUAGE, server_default=DEFAULT_LANGUAGE)
    version: Mapped[int] = mapped_column(Integer, default=1, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 -- a declared_attr's convention
        """Guard updates by version, and leave the full-text column to SQL: nobody reads it in Python."""
        return {"version_id_col": cls.version, "exclude_properties": ["tsv"]}

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Any, ...]:  # noqa: N805
        """Return the constraints and indexes; a model that adds its own starts with these."""
        return document_table_args()

    @validates("content")
    def _hash_content(self, _name: str, content: str) -> str:
        self.content_hash = content_hash(content)
        return content

    @validates("embedding")
    def _check_embedding(self, _name: str, embedding: Any) -> vectors.Array | None:
        dimensions = inspect(type(self)).columns["embedding"].type.dim
        return None if embedding is None else vectors.as_searchable(embedding, dimensions)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.collection_id}, {self.id}, key={self.key!r})"


def document_table_args(*, m: int = 16, ef_construction: int = 64) -> tuple[Any, ...]:
    """Return the constraints and indexes of a document's table, for ``__table_args__``.

    Args:
        m: As in :func:`hnsw_index`.
        ef_construction: As in :func:`hnsw_index`.
    """
    return (
        # Named in this order: SQLAlchemy's own choice puts the serial first, and a collection's pages get slow.
        PrimaryKeyConstraint("collection_id", "id"),
        # By the column, not its name: a host's metadata does not know our tables.
        ForeignKeyConstraint(["collection_id"], [Collection.__table__.c.id], ondelete="CASCADE"),
        Column("tsv", TSVECTOR, Computed(tsvector_expression(), persisted=True)),
        UniqueConstraint("collection_id", "key"),
        Index(None, "collection_id", "source"),
        Index(None, "tsv", postgresql_using="gin"),
        Index(None, "metadata", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}),
        hnsw_index("embedding", m=m, ef_construction=ef_construction),
    )


class Document(DocumentMixin, Base):
    """A passage with an embedding of 1,536 dimensions; a smaller embedder's vectors are padded with zeros."""

    __tablename__ = "documents"

    embedding: VectorMapped[vectors.Array | None] = vector_column(DIMENSIONS)
