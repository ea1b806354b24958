"""The app's own tables; the passages and their embeddings are pgcorpus's, in a schema of its own."""

import hashlib

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    tenant: Mapped[str]
    token_hash: Mapped[str] = mapped_column(unique=True)


class Article(Base):
    __tablename__ = "articles"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey(User.id))


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
