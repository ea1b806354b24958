"""A collection's model is switched while others read and write it: no answer is wrong, and no write is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from pgcorpus.database import create_engine, session_factory
from pgcorpus.errors import EmbeddingModelMismatchError, SwitchError
from pgcorpus.models import Collection, Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.switching import moving
from pgcorpus.services.switching import LateWrites, ModelSwitch, SwitchReport
from tests.support.switching import (
    KEPT,
    assert_embedded_by,
    contents,
    draft,
    embedder_of,
    is_waiting,
    make_wiki,
    vector_of,
)
from tests.support.waiting import wait_until


@pytest.fixture
def wiki(engine: Engine) -> Engine:
    """A database with a collection of the old model."""
    make_wiki(engine)
    return engine


# Everybody at once


class Client:
    """Somebody who works on the collection until told to stop, with whatever model it has.

    Args:
        engine: The database.
        number: Its own; nobody else writes documents of its keys.
    """

    def __init__(self, engine: Engine, number: int) -> None:
        self.sessions = session_factory(engine)
        self.name = f"c{number}"
        self.random = random.Random(number)
        self.model = "old"
        self.expected: dict[str, tuple[str, Any]] = {}  # what is committed: content and metadata by key
        self.rounds = 0

    def work(self, stop: Event) -> None:
        while not stop.is_set():
            self.rounds += 1
            self.act()

    def act(self) -> None:
        raise NotImplementedError

    def in_the_right_model(self, work: Callable[[DocumentRepository], Any]) -> Any:
        """Do it in a transaction, once more with the other embedder if the collection has that one."""
        for _ in range(3):
            try:
                with self.sessions.begin() as session:
                    return work(DocumentRepository(session, "wiki", embedding_model=self.model))
            except EmbeddingModelMismatchError:
                self.model = "new" if self.model == "old" else "old"
        raise AssertionError("the model changed twice")


class Writer(Client):
    """Writes by the repository's methods."""

    def act(self) -> None:
        choice: Callable[[], None] = self.random.choice([self.upsert, self.upsert, self.sync, self.mark, self.delete])
        choice()

    def key(self) -> str:
        return f"{self.name} {self.random.randrange(12)}"

    def upsert(self) -> None:
        keys = sorted({self.key() for _ in range(3)})
        new = {key: f"{key} in round {self.rounds}" for key in keys}
        self.in_the_right_model(
            lambda repository: repository.upsert([draft(key, new[key], self.model) for key in keys])
        )
        self.expected |= {key: (new[key], {"from": key}) for key in keys}

    def sync(self) -> None:
        """A source of its own, some of it as it was."""
        keys = [f"{self.name} page {number}" for number in range(8) if self.random.random() < 0.6]
        given = {key: f"{key}, edition {self.random.randrange(3)}" for key in keys}
        self.in_the_right_model(
            lambda repository: repository.sync_source(self.name, [draft(k, v, self.model) for k, v in given.items()])
        )
        kept = {key: value for key, value in self.expected.items() if not key.startswith(f"{self.name} page")}
        self.expected = kept | {key: (content, {"from": key}) for key, content in given.items()}

    def mark(self) -> None:
        key, seen = self.key(), self.rounds
        count = self.in_the_right_model(lambda repository: repository.update_meta({"key": key}, {"seen": seen}))
        assert count == (key in self.expected)
        if count:
            content, meta = self.expected[key]
            self.expected[key] = (content, meta | {"seen": seen})

    def delete(self) -> None:
        key = self.key()
        count = self.in_the_right_model(lambda repository: repository.delete({"key": key}))
        assert count == (self.expected.pop(key, None) is not None)


class Orm(Client):
    """Adds, changes and deletes mapped objects, each document once; nothing holds the collection for it."""

    def act(self) -> None:
        try:
            with self.sessions.begin() as session:
                done = self.random.choice([self.add, self.change, self.remove])(session)
        except StaleDataError:
            return  # what it had loaded was changed or deleted with the collection it was in
        if done is not None:
            done()

    def add(self, session: Session) -> Callable[[], None]:
        collection = DocumentRepository(session, "wiki").collection()
        key = f"{self.name} {self.rounds}"
        vector = vector_of(key, str(collection.embedding_model))
        session.add(Document(collection_id=collection.id, key=key, content=key, meta={}, embedding=vector))
        return lambda: self.expected.update({key: (key, {})})

    def change(self, session: Session) -> Callable[[], None] | None:
        key, document = self.one_of_mine(session, changed=False)
        if document is None:
            return None
        document.content = f"{key} changed"
        model = session.get_one(Collection, document.collection_id).embedding_model
        document.embedding = vector_of(document.content, str(model))
        return lambda: self.expected.update({key: (f"{key} changed", {})})

    def remove(self, session: Session) -> Callable[[], None] | None:
        key, document = self.one_of_mine(session, changed=True)
        if document is None:
            return None
        session.delete(document)
        return lambda: self.expected.pop(key) and None

    def one_of_mine(self, session: Session, *, changed: bool) -> tuple[str, Any]:
        keys = [key for key, (content, _) in self.expected.items() if (content != key) is changed]
        key = self.random.choice(keys) if keys else ""
        document = DocumentRepository(session, "wiki").get_by_key(key)
        return key, document if document and (document.content != key) is changed else None


class Reader(Client):
    """Searches, and believes nothing."""

    def act(self) -> None:
        wanted = self.random.choice(KEPT)
        hits = self.in_the_right_model(
            lambda repository: repository.search(vector_of(wanted, self.model), 10, include_embedding=True)
        )
        assert wanted in [hit.document.content for hit in hits]
        for hit in hits:
            assert np.array_equal(hit.document.embedding, vector_of(hit.document.content, self.model))


@contextmanager
def working(clients: list[Client]) -> Iterator[None]:
    """Let them work meanwhile, and fail if one of them did."""
    stop = Event()
    with ThreadPoolExecutor(len(clients)) as pool:
        futures = [pool.submit(client.work, stop) for client in clients]
        try:
            yield
        finally:
            stop.set()
    for future in futures:
        future.result()


def test_whatever_others_do_meanwhile_nothing_is_lost_and_no_answer_is_wrong(wiki: Engine) -> None:
    writers = [Writer(wiki, 0), Writer(wiki, 1), Writer(wiki, 2), Orm(wiki, 3)]
    everybody = [*writers, Reader(wiki, 4), Reader(wiki, 5)]
    with working(everybody):
        switch = ModelSwitch(wiki, embedder_of("new"), "wiki")
        there = switch.run(sample=5)
        back = switch.rollback(embedder_of("old"))
        again = switch.run(sample=0)
        finished = switch.finish()
    assert all(report.flipped for report in (there, back, again))
    assert all(client.rounds > 10 for client in everybody)
    with session_factory(wiki)() as session:
        page = DocumentRepository(session, "wiki", embedding_model="new").list(limit=10_000)
        found = {each.key: (each.content, each.meta) for each in page.items}
    expected = {name: (name, {"from": name}) for name in KEPT}
    for writer in writers:
        expected |= writer.expected
    assert found == expected, finished
    assert_embedded_by(wiki, embedder_of("new"))
    assert ModelSwitch(wiki, None, "wiki").status().shadows == ()


# A writer that takes its time


@contextmanager
def in_background(work: Callable[[], SwitchReport]) -> Iterator[Future[SwitchReport]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


@pytest.mark.parametrize("begin", ["a write", "a collection that is held"])
def test_the_flip_waits_for_a_transaction_and_nobody_waits_for_the_flip(wiki: Engine, begin: str) -> None:
    switch = ModelSwitch(wiki, embedder_of("new"), "wiki", lock_timeout=0.1)
    with session_factory(wiki)() as slow:
        repository = DocumentRepository(slow, "wiki", embedding_model="old")
        if begin == "a write":
            repository.update_meta({"key": KEPT[0]}, {"slow": True})
        else:
            repository.ensure_collection()
        with in_background(lambda: switch.run(sample=0)) as future:
            wait_until(lambda: is_waiting(wiki))
            for number in range(5):
                with session_factory(wiki).begin() as quick:
                    quick.execute(text("SET LOCAL lock_timeout = '10s'"))
                    others = DocumentRepository(quick, "wiki", embedding_model="old")
                    others.upsert([draft(f"quick {number}", "quick", "old")])
                assert not future.done()
            slow.commit()
            flipped = future.result().flipped
    assert flipped is not None
    assert flipped.attempts > 1
    assert_embedded_by(wiki, embedder_of("new"))
    assert {f"quick {number}" for number in range(5)} < set(contents(wiki))


def test_a_role_that_may_only_read_the_collections_writes_documents_and_the_flip_waits_for_it(wiki: Engine) -> None:
    role = f"writer_{wiki.url.database}"
    with wiki.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role}"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA pgcorpus TO {role}"))
        connection.execute(text(f"GRANT SELECT ON pgcorpus.collections TO {role}"))
        connection.execute(text(f"GRANT ALL ON pgcorpus.documents, pgcorpus.documents_id_seq TO {role}"))
    app = create_engine(wiki.url, connect_args={"options": f"-c role={role}"})
    with session_factory(app)() as session:
        repository = DocumentRepository(session, "wiki", embedding_model="old")
        repository.ensure_collection()
        with in_background(lambda: ModelSwitch(wiki, embedder_of("new"), "wiki").run(sample=0)) as future:
            wait_until(lambda: is_waiting(wiki))
            repository.upsert([draft("new", "new", "old"), draft(KEPT[0], "changed", "old")])
            repository.delete({"key": KEPT[1]})
            session.commit()
            future.result()
    assert contents(wiki) == {name: name for name in (*KEPT[2:], "new")} | {KEPT[0]: "changed"}
    assert_embedded_by(wiki, embedder_of("new"))
    app.dispose()
    with wiki.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_cannot_see_the_flip_writes_nothing_to_the_old_collection(
    wiki: Engine, isolation: Any
) -> None:
    with wiki.connect().execution_options(isolation_level=isolation) as connection, Session(connection) as session:
        repository = DocumentRepository(session, "wiki", embedding_model="old")
        assert repository.collection().embedding_model == "old"
        session.connection().execute(text("SAVEPOINT flipped"))
        ModelSwitch(wiki, embedder_of("new"), "wiki").run(sample=0)
        for write in (
            lambda: repository.delete({"key": KEPT[0]}),
            lambda: repository.update_meta(None, {"late": 1}),
            lambda: repository.upsert([draft(KEPT[1], "late", "old")]),
        ):
            with pytest.raises(OperationalError, match="could not serialize access"):
                write()
            session.connection().execute(text("ROLLBACK TO flipped"))
    assert ModelSwitch(wiki, embedder_of("new"), "wiki").finish() == LateWrites()


def test_a_transaction_may_write_to_more_collections_than_the_server_has_locks_for(wiki: Engine) -> None:
    locks = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
    with session_factory(wiki)() as session:
        for number in range(400):
            DocumentRepository(session, f"c{number}").ensure_collection()
        assert 0 < session.scalars(locks).one() <= 256


def test_a_last_look_that_takes_too_long_is_given_up_and_a_longer_hold_is_the_way(
    wiki: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "SPAN", 10)
    with pytest.raises(SwitchError, match=r"took over 0\.001 s.* run it again with a longer hold"):
        ModelSwitch(wiki, embedder_of("new"), "wiki", hold=0.001).run(sample=0)
    assert ModelSwitch(wiki, embedder_of("new"), "wiki", hold=60).run(sample=0).flipped


def test_a_flip_that_is_never_let_through_says_so_and_loses_nothing(wiki: Engine) -> None:
    switch = ModelSwitch(wiki, embedder_of("new"), "wiki", lock_timeout=0.05, patience=0.3)
    with session_factory(wiki)() as slow:
        DocumentRepository(slow, "wiki").update_meta({"key": KEPT[0]}, {"slow": True})
        with pytest.raises(SwitchError, match=r"could not change places in 0\.3 s: transactions that write"):
            switch.run(sample=0)
        slow.rollback()
    assert_embedded_by(wiki, embedder_of("old"))
    again = embedder_of("new")
    assert ModelSwitch(wiki, again, "wiki").run(sample=0).flipped
    assert again.texts == []
