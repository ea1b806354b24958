"""What was measured of a collection's recall is checked before it is stored, and stays with the row measured."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from pgcorpus.database import session_factory
from pgcorpus.errors import CollectionNotFoundError, SearchError
from pgcorpus.models import Calibration, CalibrationPoint, Collection
from pgcorpus.repositories import Calibrations, calibrations
from pgcorpus.services.switching import ModelSwitch
from tests.support.switching import fill, new_embedder, old_embedder

INDEX = "CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops)"


def point(**changes: Any) -> CalibrationPoint:
    """Return a point that can be stored, with some things changed."""
    figures: Any = {"ef_search": 40, "recall": 0.85, "p50_ms": 1.5, "p95_ms": 3, "scanned": 420.5} | changes
    return figures  # type: ignore[no-any-return]


@pytest.fixture
def collection(session: Session) -> Collection:
    collection = Collection(name=f"wiki-{uuid4()}")
    session.add(collection)
    session.flush()
    return collection


def save(session: Session, collection_id: int, *points: CalibrationPoint, k: int = 10) -> Calibration:
    return Calibrations(session).save(collection_id, points, index_definition=INDEX, documents=20_000, k=k)


def test_what_is_saved_is_found_the_last_one_first(session: Session, collection: Collection) -> None:
    here = Calibrations(session)
    assert here.latest(collection.id) is None
    assert here.all(collection.id) == []
    points = [point(), point(ef_search=1_000, recall=1, mode="strict_order", filter={"meta.year": {"$gte": 2024}})]
    first = save(session, collection.id, *points)
    second = save(session, collection.id, point(recall=np.float64(0.5), mode=None, filter=None), k=5)
    session.expire_all()
    assert here.all(collection.id) == [second, first]
    assert here.latest(collection.id) == second
    assert first.points == points
    assert (first.index_definition, first.documents, first.k) == (INDEX, 20_000, 10)
    assert abs(first.measured_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert repr(second) == f"Calibration({collection.id}, {second.id}, k=5, points=1)"


def test_a_collection_has_its_own(session: Session, collection: Collection) -> None:
    other = Collection(name=f"other-{uuid4()}")
    session.add(other)
    session.flush()
    save(session, collection.id, point())
    assert Calibrations(session).latest(other.id) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ef_search": 0}, "ef_search is a whole number, 1 to 1,000, not 0"),
        ({"ef_search": 1_001}, "ef_search"),
        ({"ef_search": 40.0}, "ef_search"),
        ({"ef_search": True}, "ef_search"),
        ({"recall": 1.01}, "recall is a number of 0 to 1, not 1.01"),
        ({"recall": -0.1}, "recall"),
        ({"recall": float("nan")}, "recall"),
        ({"recall": None}, "recall"),
        ({"recall": True}, "recall"),
        ({"p50_ms": "3"}, "p50_ms is a number, at least 0, not '3'"),
        ({"p95_ms": float("inf")}, "p95_ms"),
        ({"scanned": -1}, "scanned"),
        ({"scanned": 10**400}, "scanned"),
        ({"mode": "fast"}, "mode is one of relaxed_order, strict_order, off, not 'fast'"),
        ({"mode": ["off"]}, "mode"),
        ({"filter": "meta.year"}, "filter is a dictionary"),
        ({"filter": {"meta.at": datetime(2024, 1, 1, tzinfo=UTC)}}, "as JSON has it"),
        ({"filter": {"meta.x": float("nan")}}, "as JSON has it"),
        ({"filter": {"meta.x": "a\0"}}, "as JSON has it"),
        ({"speed": 1}, "there is no speed; there are ef_search, exact, filter, form, mode"),
    ],
)
def test_a_point_that_cannot_be_is_refused_before_the_server_is_asked(
    session: Session, collection: Collection, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(SearchError, match="point 2 of the calibration: ") as caught:
        save(session, collection.id, point(), point(**changes))
    assert words in str(caught.value)
    assert not session.new


def test_a_point_that_lacks_something_is_refused(session: Session, collection: Collection) -> None:
    lacking: Any = {"ef_search": 40, "recall": 1, "scanned": 1}
    with pytest.raises(SearchError, match="it lacks p50_ms, p95_ms"):
        save(session, collection.id, lacking)


def test_the_keys_checked_are_those_of_the_type() -> None:
    assert set(get_type_hints(CalibrationPoint)) == calibrations._KNOWN


def test_no_points_no_k_or_no_collection_is_refused(session: Session, collection: Collection) -> None:
    for points, k in (((), 10), ((point(),), 0), ((point(),), 2**31)):
        with pytest.raises(SearchError, match="at least one point"):
            save(session, collection.id, *points, k=k)
    with pytest.raises(CollectionNotFoundError, match="no collection of the id 0"):
        save(session, 0, point())
    save(session, collection.id, point())  # the session goes on


def test_nothing_is_committed_here(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.add(Collection(name="wiki"))
        session.commit()
        save(session, 1, point())
        session.rollback()
    assert stored(engine) == {}


def stored(engine: Engine) -> dict[int, int]:
    """Return the number of calibrations by collection."""
    with session_factory(engine)() as session:
        return dict(Counter(session.scalars(select(Calibration.collection_id))))


def test_it_goes_with_its_collection(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.add_all([Collection(name="one"), Collection(name="two")])
        session.flush()
        save(session, 1, point())
        save(session, 2, point())
        session.execute(text("DELETE FROM pgcorpus.collections WHERE id = 1"))
        session.commit()
    assert stored(engine) == {2: 1}


def test_where_a_model_is_switched_each_of_the_two_keeps_its_own(engine: Engine) -> None:
    """The one measured loses its name for a while; with a rollback it has it again, and with the end it is gone."""
    fill(engine)
    with session_factory(engine)() as session:
        old = session.scalars(select(Collection.id).where(Collection.name == "wiki")).one()
        save(session, old, point())
        session.commit()
    switch = ModelSwitch(engine, new_embedder(), "wiki")
    switch.run(sample=0)
    assert named(engine) is None
    with session_factory(engine)() as session:
        new = session.scalars(select(Collection.id).where(Collection.name == "wiki")).one()
        save(session, new, point(ef_search=80))
        session.commit()
    assert named(engine) == 80
    switch.rollback(old_embedder())
    assert named(engine) == 40
    switch.run(sample=0)
    assert named(engine) == 80
    switch.finish()
    assert named(engine) == 80
    assert stored(engine) == {new: 1}


def named(engine: Engine) -> int | None:
    """Return the ef_search that was measured last of the collection that is called wiki now."""
    with session_factory(engine)() as session:
        collection = session.scalars(select(Collection.id).where(Collection.name == "wiki")).one()
        latest = Calibrations(session).latest(collection)
        return latest.points[0]["ef_search"] if latest else None
