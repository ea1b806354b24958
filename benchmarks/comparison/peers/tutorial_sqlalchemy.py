"""SQLAlchemy as pgvector-python's README shows it: ``pgvector.sqlalchemy``, ORM entities, psycopg2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import BigInteger, create_engine, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.comparison.peers.base import Peer, Search, Table
from benchmarks.comparison.peers.tutorial_table import CREATE, TABLE
from benchmarks.data import Row
from benchmarks.target import Target
from benchmarks.terms import DIMENSIONS, K


class Base(DeclarativeBase): ...


class Item(Base):
    """A passage."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    content: Mapped[str]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    embedding: Mapped[Any] = mapped_column(Vector(DIMENSIONS))


class This(Peer):
    """The tutorial's SQLAlchemy."""

    wants_lists = True
    distributions = ("sqlalchemy", "psycopg2-binary", "pgvector")

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        settings = f"-c hnsw.ef_search={target.ef_search}"
        self._engine = create_engine(target.url("psycopg2"), connect_args={"options": settings})

    def create(self) -> Table:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(CREATE)
        return TABLE

    def searcher(self, mode: str, field: str | None = None) -> Search:  # noqa: ARG002 -- there is one way
        def search(embedding: list[float]) -> Sequence[Item]:
            query = select(Item)
            if field is not None:
                query = query.where(Item.meta[field].as_integer() == 0)
            with Session(self._engine) as session:
                return session.scalars(query.order_by(Item.embedding.cosine_distance(embedding)).limit(K)).all()

        return search

    def numbers(self, found: Any) -> list[int]:
        return [item.meta["number"] for item in found]

    def write(self, mode: str, rows: Sequence[Row]) -> None:  # noqa: ARG002 -- there is one way
        with Session(self._engine) as session:
            session.add_all(Item(content=row.content, meta=row.metadata, embedding=row.vector) for row in rows)
            session.commit()
