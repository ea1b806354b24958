"""What is written to a retired collection all the same is carried over, and nothing else is taken for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from pgcorpus.database import session_factory
from pgcorpus.errors import SwitchError
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.switching import standing
from pgcorpus.repositories.switching.standing import State
from pgcorpus.services.switching import LateWrites, ModelSwitch, Progress, Stage, sweeping
from tests.support.embedder import CountingEmbedder
from tests.support.switching import KEPT, assert_embedded_by, contents, draft, embedder_of, make_wiki, vector_of


@pytest.fixture
def wiki(engine: Engine) -> Engine:
    """A database with a collection of the old model."""
    make_wiki(engine)
    return engine


def objects(session: Session, *keys: str) -> list[Any]:
    repository = DocumentRepository(session, "wiki")
    return [repository.get_by_key(key) for key in keys]


@pytest.mark.parametrize("way", ["finish", "rollback"])
def test_objects_that_were_loaded_before_and_are_flushed_after_are_carried_over(wiki: Engine, way: str) -> None:
    switch = ModelSwitch(wiki, embedder_of("new"), "wiki")
    with session_factory(wiki)() as late:
        changed, deleted, both, gone = objects(late, *KEPT[:4])
        late.commit()
        switch.run(sample=0)
        with session_factory(wiki).begin() as session:
            repository = DocumentRepository(session, "wiki", embedding_model="new")
            repository.upsert([draft(KEPT[2], "changed in time", "new"), draft("taken", "in time", "new")])
            repository.delete({"key": KEPT[3]})
        changed.content, changed.embedding = "changed late", vector_of("changed late", "old")
        both.content, gone.content = "too late", "too late"
        late.delete(deleted)
        for key in ("added late", "taken"):
            vector = vector_of(key, "old")
            late.add(Document(collection_id=changed.collection_id, key=key, content=key, embedding=vector))
        late.commit()
    expected = {key: key for key in KEPT[4:]} | {
        KEPT[0]: "changed late",
        KEPT[2]: "changed in time",
        "taken": "in time",
        "added late": "added late",
    }
    if way == "finish":
        assert switch.finish() == LateWrites(inserted=1, updated=1, deleted=1)
        assert_embedded_by(wiki, embedder_of("new"))
    else:
        assert switch.rollback(embedder_of("old")).late == LateWrites(inserted=1, updated=1, deleted=1)
        assert_embedded_by(wiki, embedder_of("old"))
    assert contents(wiki) == expected


def test_what_is_changed_late_while_the_collection_takes_its_place_back_stays(wiki: Engine) -> None:
    switch = ModelSwitch(wiki, embedder_of("new"), "wiki")
    with session_factory(wiki)() as late:
        changed, readded = objects(late, *KEPT[:2])
        late.commit()
        switch.run(sample=0)
        number = readded.id
        with session_factory(wiki).begin() as session:
            repository = DocumentRepository(session, "wiki", embedding_model="new")
            repository.upsert([draft("new", "new", "new")])
            repository.delete({"key": KEPT[1]})
            session.add(Document(collection_id=repository.collection().id, id=number, key=KEPT[1], content="again"))

        def flush(_: Any) -> None:
            changed.content, changed.embedding = "late", vector_of("late", "old")
            late.commit()

        switch.rollback(CountingEmbedder("old", 8, before=flush))
    assert contents(wiki) == {name: name for name in (*KEPT, "new")} | {KEPT[0]: "late", KEPT[1]: "again"}


def test_late_writes_need_the_model_that_is_active(wiki: Engine) -> None:
    with session_factory(wiki)() as late:
        (changed,) = objects(late, KEPT[0])
        late.commit()
        ModelSwitch(wiki, embedder_of("new"), "wiki").run(sample=0)
        changed.content, changed.embedding = "late", vector_of("late", "old")
        late.commit()
    for other in (None, embedder_of("old")):
        with pytest.raises(SwitchError, match="the collection's present model"):
            ModelSwitch(wiki, other, "wiki").finish()
    assert ModelSwitch(wiki, embedder_of("new"), "wiki").finish().updated == 1


def test_the_flip_waits_for_transactions_that_have_loaded_objects_and_carries_their_writes_over(wiki: Engine) -> None:
    with session_factory(wiki)() as late:
        (document,) = objects(late, KEPT[0])

        def flush(progress: Progress) -> None:
            if progress.stage is Stage.SWEEPING and late.in_transaction():
                document.content, document.embedding = "late", vector_of("late", "old")
                late.commit()

        report = ModelSwitch(wiki, embedder_of("new"), "wiki", progress=flush).run(sample=0)
    assert report.flipped is not None
    assert report.flipped.late == LateWrites(updated=1)
    assert contents(wiki)[KEPT[0]] == "late"
    assert_embedded_by(wiki, embedder_of("new"))


def test_a_transaction_that_goes_on_and_on_is_told_of(wiki: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "WAIT", 0.1)
    with session_factory(wiki)() as late:
        objects(late, KEPT[0])
        report = ModelSwitch(wiki, embedder_of("new"), "wiki").run(sample=0)
    assert report.flipped is not None
    assert report.flipped.late == LateWrites(pending=1)


def test_a_deletion_that_was_killed_takes_nothing_with_it(wiki: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is half deleted must not be read as deleted by a late writer."""
    switch = ModelSwitch(wiki, embedder_of("new"), "wiki")
    switch.run(sample=0)
    monkeypatch.setattr("pgcorpus.services.switching.places._DELETED", 10)
    with monkeypatch.context() as patch:

        def dies(*_: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(standing, "drop", dies)
        with pytest.raises(KeyboardInterrupt):
            switch.finish()
    (shadow,) = switch.status().shadows
    assert shadow.state is State.DROPPED
    with pytest.raises(SwitchError, match="being deleted"):
        switch.rollback(embedder_of("old"))
    assert switch.finish() == LateWrites()
    assert contents(wiki) == {name: name for name in KEPT}


# What came after the flip


def add_with_low_id(session: Session, **columns: Any) -> None:
    """As a host does that gives ids, or whose sequence hands them out in parts."""
    collection = DocumentRepository(session, "wiki").ensure_collection()
    vector = vector_of("low", "new")
    session.add(Document(collection_id=collection.id, id=1, key="low", content="low", embedding=vector, **columns))


@pytest.fixture
def high(wiki: Engine) -> Engine:
    """The ids that the sequence gives from now on are lower than those of all documents."""
    with wiki.begin() as connection:
        connection.execute(text("UPDATE pgcorpus.documents SET id = id + 100000"))
    return wiki


@pytest.mark.parametrize("way", ["finish", "rollback"])
@pytest.mark.parametrize("columns", [{}, {"created_at": datetime(2001, 1, 1, tzinfo=UTC)}], ids=["now", "long ago"])
def test_a_low_id_that_a_host_gives_after_the_flip_is_no_late_delete(
    high: Engine, way: str, columns: dict[str, Any]
) -> None:
    switch = ModelSwitch(high, embedder_of("new"), "wiki")
    switch.run(sample=0)
    with session_factory(high).begin() as session:
        add_with_low_id(session, **columns)
    late = switch.finish() if way == "finish" else switch.rollback(embedder_of("old")).late
    assert late == LateWrites()
    assert contents(high) == {name: name for name in (*KEPT, "low")}


@pytest.mark.parametrize("writes", [False, True])
def test_nor_is_one_of_a_transaction_that_began_before_the_flip(high: Engine, writes: bool) -> None:
    switch = ModelSwitch(high, embedder_of("new"), "wiki")
    with high.begin() as connection:
        connection.execute(text("CREATE TABLE elsewhere (n int)"))
    with session_factory(high)() as session:
        session.execute(text("INSERT INTO elsewhere VALUES (1)" if writes else "SELECT 1"))
        switch.run(sample=0)
        add_with_low_id(session)
        session.commit()
    assert switch.finish() == LateWrites()
    assert contents(high) == {name: name for name in (*KEPT, "low")}


def test_what_repositories_write_after_the_flip_is_no_late_delete(high: Engine) -> None:
    switch = ModelSwitch(high, embedder_of("new"), "wiki")
    switch.run(sample=0)
    with session_factory(high).begin() as session:
        repository = DocumentRepository(session, "wiki", embedding_model="new")
        repository.bulk_load([draft("loaded", "loaded", "new")], index="keep")
        repository.upsert([draft("upserted", "upserted", "new"), draft(KEPT[0], "changed", "new")])
        repository.sync_source("page", [draft("synced", "synced", "new")])
    assert switch.finish() == LateWrites()
    assert contents(high) == {name: name for name in (*KEPT, "loaded", "upserted", "synced")} | {KEPT[0]: "changed"}


def test_a_late_insert_with_a_low_id_is_carried_over_and_stays(high: Engine) -> None:
    switch = ModelSwitch(high, embedder_of("new"), "wiki")
    with session_factory(high)() as late:
        (known,) = objects(late, KEPT[0])
        late.commit()
        switch.run(sample=0)
        late.add(Document(collection_id=known.collection_id, id=1, key="low", content="low"))
        late.commit()
    assert switch.rollback(embedder_of("old")).late == LateWrites(inserted=1)
    assert ModelSwitch(high, embedder_of("old"), "wiki").finish() == LateWrites()
    assert contents(high) == {name: name for name in (*KEPT, "low")}


def test_late_deletes_are_carried_over_before_another_flip_and_nothing_is_taken_for_one_after_it(
    high: Engine,
) -> None:
    switch = ModelSwitch(high, embedder_of("new"), "wiki")
    with session_factory(high)() as late:
        (deleted,) = objects(late, KEPT[0])
        late.commit()
        switch.run(sample=0)
        late.delete(deleted)
        late.commit()
        third = CountingEmbedder("third", 16)
        report = ModelSwitch(high, third, "wiki").run(sample=0)
    assert report.flipped is not None
    assert report.flipped.late == LateWrites(deleted=1)
    with session_factory(high).begin() as session:
        add_with_low_id(session, created_at=datetime(2001, 1, 1, tzinfo=UTC))
    ModelSwitch(high, third, "wiki").rollback(embedder_of("new"))
    ModelSwitch(high, embedder_of("new"), "wiki").finish()
    assert contents(high) == {name: name for name in (*KEPT[1:], "low")}
