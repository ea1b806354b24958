"""A collection: documents that were embedded by one model and are searched together."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Text, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from pgcorpus.models.base import Base
from pgcorpus.models.metric import Metric

DEFAULT_TENANT = "default"
DEFAULT_LANGUAGE = "english"

_METRICS = ", ".join(f"'{metric}'" for metric in Metric)


class Collection(Base):
    """A named set of documents of one tenant.

    Attributes:
        tenant_id: Whose it is; names are unique within a tenant.
        embedding_model: The model that embeds its documents and queries; set with the first embedding.
        distance: The metric it is searched with.
        language: The full-text language of its queries.
        shadow_of: Of one that holds the same documents under another model, the collection it stands behind: to take
            its place, or after that to give it back.
        retired_at: Of one whose place was taken, when.
        retired_at_id: Of one whose place was taken, the largest id that a document had at that moment.
    """

    __tablename__ = "collections"
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        CheckConstraint(f"distance IN ({_METRICS})", name="distance"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=True)
    tenant_id: Mapped[str] = mapped_column(Text, default=DEFAULT_TENANT, server_default=DEFAULT_TENANT)
    name: Mapped[str] = mapped_column(Text)
    embedding_model: Mapped[str | None] = mapped_column(Text)
    distance: Mapped[str] = mapped_column(Text, default=Metric.COSINE.value, server_default=Metric.COSINE.value)
    language: Mapped[str] = mapped_column(Text, default=DEFAULT_LANGUAGE, server_default=DEFAULT_LANGUAGE)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    shadow_of: Mapped[int | None] = mapped_column(ForeignKey("collections.id", ondelete="CASCADE"))
    retired_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    retired_at_id: Mapped[int | None] = mapped_column(BigInteger)

    def __repr__(self) -> str:
        return f"Collection({self.tenant_id!r}, {self.name!r}, id={self.id})"
