"""A search of any mapped class goes by the index that serves it, whatever its names and its other indexes are."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import numpy as np
import pytest
from sqlalchemy import Engine, ForeignKey, insert, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pgcorpus.database import session_factory
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Vector, hnsw_index
from pgcorpus.repositories import VectorRepository

ROWS, DIMENSIONS = 2_000, 8
VECTORS = np.random.default_rng(0).normal(size=(ROWS, DIMENSIONS)).astype(np.float32)


class Base(DeclarativeBase):
    """Of these tests."""


class Odd(Base):
    """Two vector columns, and names that have to be quoted."""

    __tablename__ = "odd %t\"a's"
    __table_args__ = (hnsw_index('v%e"c', form="halfvec"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    vector: Mapped[Any] = mapped_column('v%e"c', Vector(DIMENSIONS))
    other: Mapped[Any] = mapped_column(Vector(DIMENSIONS), nullable=True)


class Embedded(Base):
    """An index of the rows with an embedding, and one of some rows."""

    __tablename__ = "embedded"
    __table_args__ = (
        hnsw_index("vector", form="halfvec", where=text("vector IS NOT NULL"), name="embedded_all"),
        hnsw_index("other", where=text("id > 5"), name="embedded_some"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    vector: Mapped[Any] = mapped_column(Vector(DIMENSIONS), nullable=True)
    other: Mapped[Any] = mapped_column(Vector(DIMENSIONS), nullable=True)


class Parent(Base):
    """A class with the vectors of those that inherit it."""

    __tablename__ = "parents"
    __table_args__ = (hnsw_index("vector", form="halfvec"),)
    __mapper_args__: ClassVar = {"polymorphic_on": "kind", "polymorphic_identity": "parent"}
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    vector: Mapped[Any] = mapped_column(Vector(DIMENSIONS))


class Child(Parent):
    """One that inherits, with a table of its own."""

    __tablename__ = "children"
    __mapper_args__: ClassVar = {"polymorphic_identity": "child"}
    id: Mapped[int] = mapped_column(ForeignKey("parents.id"), primary_key=True)
    name: Mapped[str]


class Free(Base):
    """A column of vectors of any length, and an index of those of one."""

    __tablename__ = "free"
    id: Mapped[int] = mapped_column(primary_key=True)
    vector: Mapped[Any] = mapped_column(Vector())


class Twice(Base):
    """An index of each method."""

    __tablename__ = "twice"
    __table_args__ = (hnsw_index("vector", name="twice_hnsw"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    vector: Mapped[Any] = mapped_column(Vector(DIMENSIONS))


@pytest.fixture
def session(engine: Engine) -> Any:
    Base.metadata.create_all(engine)
    with session_factory(engine)() as session:
        # What a larger table looks like to the planner.
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_sort = off"))
        yield session


def fill(session: Session, model: Any, rows: int = 50) -> VectorRepository[Any]:
    values = [{"id": i + 1, "vector": vector} for i, vector in enumerate(VECTORS[:rows])]
    session.execute(insert(model), values)
    return VectorRepository(session, model, "vector")


def test_names_that_are_quoted_and_a_second_column_are_no_obstacle(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    repository = fill(session, Odd)
    explained = repository.explain(VECTORS[0], 3)
    assert (explained.index, explained.form) == ('ix_odd %t"a\'s_v%e"c_halfvec', IndexForm.HALFVEC)
    assert repository.search(VECTORS[0], 3)[0].document.id == 1
    with caplog.at_level(logging.WARNING):
        assert not VectorRepository(session, Odd, "other").search(VECTORS[0], 3).indexed
    assert "no index of" in caplog.text


def test_an_index_of_all_rows_with_an_embedding_serves_every_search(session: Session) -> None:
    repository = fill(session, Embedded)
    assert repository.explain(VECTORS[0], 3).index == "embedded_all"
    hits = repository.search(VECTORS[0], 3, recall=0.9)
    assert (hits.form, hits.indexed, hits.exact) == (IndexForm.HALFVEC, True, False)


def test_of_an_index_of_some_rows_nobody_is_told_that_there_is_none(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    fill(session, Embedded)
    session.execute(text("UPDATE embedded SET other = vector"))
    repository = VectorRepository(session, Embedded, "other")
    with caplog.at_level(logging.WARNING):
        assert repository.explain(VECTORS[0], 3, where=Embedded.id > 5).index == "embedded_some"
        assert repository.search(VECTORS[0], 3)[0].document.id == 1
    assert not caplog.records


def test_an_inheriting_class_is_searched_by_the_index_of_its_parent(session: Session) -> None:
    session.add_all(Child(name=str(i), vector=vector) for i, vector in enumerate(VECTORS[:50]))
    repository = VectorRepository(session, Child)
    assert repository.explain(VECTORS[0], 3).index == "ix_parents_vector_halfvec"
    hits = repository.search(VECTORS[7], 3, entities=True)
    assert (hits.form, hits[0].document.name) == (IndexForm.HALFVEC, "7")


def test_an_index_that_the_statement_cannot_ask_is_not_said_to_serve_it(session: Session) -> None:
    session.execute(text("CREATE INDEX ON free USING hnsw ((vector::halfvec(8)) halfvec_cosine_ops)"))
    hits = fill(session, Free).search(VECTORS[0], 3, recall=0.9)
    assert (hits.form, hits.indexed, hits.exact) == (None, False, True)


def test_an_ivfflat_index_that_the_planner_prefers_is_asked_for_enough_lists(session: Session) -> None:
    repository = fill(session, Twice, ROWS)
    session.execute(text("CREATE INDEX twice_flat ON twice USING ivfflat (vector vector_cosine_ops) WITH (lists = 49)"))
    session.execute(text("ANALYZE twice"))
    explained = repository.explain(VECTORS[0], 10)
    assert (explained.index, explained.settings["ivfflat.probes"]) == ("twice_flat", "7")
    assert repository.search(VECTORS[0], 10).ef_search is None
    assert repository.search(VECTORS[0], 10, recall=0.9).exact


def test_an_index_that_was_dropped_since_the_snapshot_was_taken_is_passed_over(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    with session_factory(engine).begin() as session:
        fill(session, Embedded)
    with session_factory(engine.execution_options(isolation_level="REPEATABLE READ"))() as session:
        session.execute(text("SELECT count(*) FROM pg_class"))
        with engine.begin() as connection:
            connection.execute(text("DROP INDEX embedded_all"))
        assert len(VectorRepository(session, Embedded, "vector").search(VECTORS[0], 3)) == 3
