"""The app's own tables; a project has a collection of documents."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgcorpus.models import Collection


class Base(DeclarativeBase):
    """What `alembic revision --autogenerate` compares: the app's tables, not those of pgcorpus."""


class Project(Base):
    """One of the app's projects."""

    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    collection_id: Mapped[int | None] = mapped_column(ForeignKey(Collection.id))
