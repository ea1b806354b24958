"""An embedding kept by the text it is of, so that no text is paid for twice."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from pgcorpus.models.base import Base


class CachedEmbedding(Base):
    """What a model answered for a text, whatever collection or tenant asked.

    Attributes:
        model: The embedder's ``model``.
        content_hash: SHA-256 of the text; the text itself is not kept.
        embedding: Little-endian float32, unpadded: bytes, since models differ in length and nothing searches here.
    """

    __tablename__ = "embedding_cache"

    model: Mapped[str] = mapped_column(Text, primary_key=True)
    content_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    embedding: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
