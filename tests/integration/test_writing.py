"""Writing is whole or not at all, touches only what differs, and says by position what it refuses."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import ARRAY, DateTime, Engine, Numeric, String, Text, UniqueConstraint, event, func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, column_property, mapped_column

from pgcorpus.database import async_session_factory, autocommit, create_async_engine, create_engine, session_factory
from pgcorpus.errors import CollectionNotFoundError, DatabaseError, DocumentError, FilterError, VectorError
from pgcorpus.models import Collection, Document, DocumentMixin, VectorMapped, document_table_args, vector_column
from pgcorpus.repositories.scope import Scope
from pgcorpus.repositories.writing.drafts import Draft
from pgcorpus.repositories.writing.sync import SyncReport
from pgcorpus.repositories.writing.upserting import UpsertReport
from pgcorpus.repositories.writing.writer import DocumentWriter
from pgcorpus.schema import upgrade
from pgcorpus.vectors import Array
from tests.support.vectors import random_vectors, unit

PSYCOPG = "postgresql+psycopg"


def writer(session: Session, collection: str = "c", **scope: Any) -> DocumentWriter:
    return DocumentWriter(session, Scope(collection, **scope))


def draft(key: str, content: str = "", axis: int | None = 0, **fields: Any) -> Draft:
    embedding = None if axis is None else unit(axis)
    return Draft(key=key, content=content or f"text of {key}", embedding=embedding, **fields)


def stored(session: Session, key: str, model: Any = Document) -> Any:
    return session.scalars(select(model).where(model.key == key).execution_options(populate_existing=True)).one()


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Document)) or 0


def physical(session: Session) -> dict[str, tuple[str, int]]:
    """Where each row lies and how often it was written: a row that was written again has moved."""
    rows = session.execute(text("SELECT key, ctid::text, version FROM pgcorpus.documents"))
    return {key: (ctid, version) for key, ctid, version in rows}


@pytest.fixture
def statements(session: Session) -> Iterator[list[str]]:
    """The SQL that the session sends."""
    seen: list[str] = []

    def record(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(session.get_bind(), "before_cursor_execute", record)
    yield seen
    event.remove(session.get_bind(), "before_cursor_execute", record)


# What a document is given as

FORMS: list[Callable[..., Any]] = [
    lambda **values: Draft(**values),
    lambda **values: Document(**values),
    lambda **values: values,
]


@pytest.mark.parametrize("form", FORMS, ids=["draft", "instance", "mapping"])
def test_add_takes_every_form_and_returns_an_instance_with_its_id(session: Session, form: Any) -> None:
    values = {"key": "k", "content": "x", "meta": {"n": 1}, "embedding": unit(3), "source": "s", "position": 7}
    document = writer(session, language="german").add(form(**values))
    assert isinstance(document, Document)
    assert document.id > 0
    assert (document.language, document.version) == ("german", 1)
    assert document.created_at <= document.updated_at
    session.expire_all()
    row = stored(session, "k")
    assert row is document
    assert (row.content, row.meta, row.source, row.position, row.language) == ("x", {"n": 1}, "s", 7, "german")
    assert np.array_equal(row.embedding, unit(3))


@pytest.mark.parametrize("form", FORMS, ids=["draft", "instance", "mapping"])
def test_a_document_without_a_key_is_added_under_a_random_one_but_not_upserted(session: Session, form: Any) -> None:
    document = writer(session).add(form(content="x"))
    assert UUID(document.key)
    with pytest.raises(DocumentError, match="document 1: the key is empty"):
        writer(session).upsert([draft("a"), form(content="x")])
    with pytest.raises(DocumentError, match="document 0: the key is empty"):
        writer(session).sync_source("s", [form(content="x")])


def test_a_pgvector_vector_or_a_list_is_an_embedding(session: Session) -> None:
    import pgvector

    added = writer(session).add_many(
        [{"content": "a", "embedding": unit(1).tolist()}, {"content": "b", "embedding": pgvector.Vector(unit(1))}]
    )
    session.expire_all()
    assert all(np.array_equal(each.embedding, unit(1)) for each in added)


BAD: list[tuple[Any, str]] = [
    (Draft("k"), "the content is empty"),
    (Draft("k", "a\0b"), "the content holds a null character"),
    (Draft("k", "\ud800"), "the content holds a lone surrogate"),
    (Draft("a\0b", "x"), "the key holds a null character"),
    (Draft("k" * 2001, "x"), "the key is longer than 2,000 bytes"),
    (Draft("é" * 1001, "x"), "the key is longer than 2,000 bytes"),
    (Draft("k", 5), "the content is not text but an integer"),  # type: ignore[arg-type]
    (Draft("k", "x", {"a": float("inf")}), "metadata.a: inf is not a JSON number"),
    (Draft("k", "x", {"a": {"b": "\0"}}), "metadata.a.b: the text holds a null character"),
    (Draft("k", "x", {"a\0": 1}), "metadata: a key holds a null character"),
    (Draft("k", "x", [1]), "metadata is not an object but a list"),  # type: ignore[arg-type]
    (Draft("k", "x", source=""), "the source is empty"),
    (Draft("k", "x", source="\0"), "the source holds"),
    (Draft("k", "x", language="a\0"), "the language holds"),
    (Draft("k", "x", position=2**31), "the position 2,147,483,648 is beyond"),
    (Draft("k", "x", position=True), "the position is not an integer"),
    (Draft("k", "x", fields={"author": "me"}), "'author' is no attribute of a document; there are content,"),
    (Draft("k", "x", fields={"version": 5}), "'version' is not given"),
    ({"key": "k", "content": "x", "id": 5}, "'id' is not given"),
    ({"key": "k", "content": "x", "%s": 5}, "'%s' is no attribute"),
    ({"key": "", "content": "x"}, "the key is empty"),
    ({"key": "k"}, "the content is empty"),
    (Draft("first", "x"), "the key 'first' is that of document 0 too"),
    (object(), "expected a Draft, a Document or a mapping, not object"),
    ("text", "expected a Draft, a Document or a mapping, not text"),
]
BAD_VECTORS: list[tuple[Any, str]] = [
    (unit(0, 3), "expected 1536 dimensions, not 3"),
    (np.zeros(1536, np.float32), "length zero"),
    (np.full(1536, np.nan, np.float32), "position 0 is not a finite"),
    (np.full(1536, np.inf, np.float32), "position 0 is not a finite"),
    ([1e39] * 1536, "position 0 is not a finite"),
    ("[1,2]", "a vector is a row of numbers"),
    (np.zeros((2, 1536), np.float32), "one row of numbers"),
]
WRITES: dict[str, Callable[[DocumentWriter, list[Any]], Any]] = {
    "add_many": lambda each, documents: each.add_many(documents),
    "upsert": lambda each, documents: each.upsert(documents),
    "bulk_load": lambda each, documents: each.bulk_load(documents),
    "sync_source": lambda each, documents: each.sync_source("s", documents),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_cannot_be_stored_is_named_by_position_and_nothing_is_written(session: Session, write: Any) -> None:
    each = writer(session)
    for bad, words in BAD:
        if write is WRITES["bulk_load"] and "that of document" in words:
            continue  # a load keeps no list of keys: the server finds it
        with pytest.raises(DocumentError) as caught:
            write(each, [draft("first"), bad, draft("last")])
        assert str(caught.value).startswith("document 1: "), words
        assert words in str(caught.value)
    assert count(session) == 0
    assert session.scalar(select(func.count()).select_from(Collection)) == 0
    assert write(each, [draft("first")])


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_vector_that_cannot_be_stored_is_named_by_position(session: Session, write: Any) -> None:
    each = writer(session)
    for bad, words in BAD_VECTORS:
        with pytest.raises(VectorError) as caught:
            write(each, [draft("first"), draft("second"), {"key": "k", "content": "x", "embedding": bad}])
        assert str(caught.value).startswith("document 2: ")
        assert words in str(caught.value)
    assert count(session) == 0


def test_only_documents_are_taken(session: Session) -> None:
    for wrong in ("text", {"content": "x"}, 5):
        with pytest.raises(DocumentError, match="expected documents, not"):
            writer(session).upsert(wrong)  # type: ignore[arg-type]


# add and add_many


def test_added_instances_are_those_of_the_session(session: Session) -> None:
    given = [Document(content=f"text {i}", embedding=unit(i)) for i in range(5)]
    added = writer(session).add_many(given)
    assert [id(each) for each in added] == [id(each) for each in given]
    assert all(each in session for each in given)
    assert not session.new
    assert not session.dirty
    assert sorted({each.id for each in given}) == [each.id for each in given]
    given[0].content = "changed"
    session.flush()
    assert (stored(session, given[0].key).version, given[0].content_hash) == (2, given[0].content_hash)


def test_adding_many_is_a_handful_of_statements_and_none_commits(session: Session, statements: list[str]) -> None:
    """langchain-postgres sends one INSERT and one COMMIT for each row."""
    writer(session).add_many([Document(content=f"text {i}", embedding=unit(i)) for i in range(800)])
    assert sum("INSERT INTO pgcorpus.documents" in each for each in statements) == 2
    assert not any("COMMIT" in each or "EXTENSION" in each for each in statements)
    assert len(statements) < 10


def test_a_key_that_is_stored_refuses_the_whole_batch_and_leaves_the_session_usable(session: Session) -> None:
    each = writer(session)
    each.add(draft("old"))
    batch = [Document(key="new", content="x"), Document(key="old", content="y")]
    with pytest.raises(DocumentError, match=r"stored already.* upsert\(\) updates .*old"):
        each.add_many(batch)
    assert not any(document in session for document in batch)
    session.flush()
    assert count(session) == 1
    assert each.add(batch[0]).id
    batch[1].key = "other"
    assert each.add(batch[1]).id
    assert count(session) == 3


def test_a_batch_that_is_rolled_back_makes_its_instances_transient(session: Session) -> None:
    document = Document(key="k", content="x", embedding=unit(0))
    savepoint = session.begin_nested()
    writer(session).add(document)
    savepoint.rollback()
    assert document not in session
    assert count(session) == 0
    assert writer(session).add(document).id
    assert count(session) == 1


def test_what_is_stored_or_given_twice_cannot_be_added(session: Session) -> None:
    document = writer(session).add(draft("k"))
    with pytest.raises(DocumentError, match="document 0: it is stored already"):
        writer(session).add(document)
    fresh = Document(content="x")
    with pytest.raises(DocumentError, match="given twice"):
        writer(session).add_many([fresh, fresh])


def test_nothing_is_something_to_write(session: Session) -> None:
    assert writer(session).add_many([]) == []
    assert writer(session).upsert([]) == UpsertReport()
    assert writer(session).bulk_load([]) == 0


def test_events_of_a_model_are_called(session: Session) -> None:
    seen: list[Any] = []

    def listener(_mapper: Any, _connection: Any, target: Any) -> None:
        seen.append(target.key)

    event.listen(Document, "before_insert", listener)
    try:
        writer(session).add_many([draft("a"), draft("b")])
    finally:
        event.remove(Document, "before_insert", listener)
    assert seen == ["a", "b"]
    assert count(session) == 2


@pytest.mark.parametrize("listened", [False, True])
def test_none_is_not_given_where_a_column_has_a_default(session: Session, listened: bool) -> None:
    """An event that is listened to takes the way of SQLAlchemy's own flush."""
    nones: dict[str, Any] = {"id": None, "key": None, "meta": None, "language": None, "version": None}
    if listened:
        event.listen(session, "before_flush", lambda *_: None)
    document = writer(session).add(Document(content="x", embedding=unit(0), **nones))
    assert UUID(document.key)
    session.expire_all()
    assert (document.meta, document.language, document.version) == ({}, "english", 1)


@pytest.mark.parametrize("name", ["add_many", "upsert", "bulk_load"])
def test_writes_in_autocommit_are_refused(engine: Engine, name: str) -> None:
    with session_factory(autocommit(engine))() as session, pytest.raises(DatabaseError, match="AUTOCOMMIT"):
        WRITES[name](writer(session), [draft("k")])


# upsert


def test_upsert_inserts_updates_and_leaves_alone(session: Session) -> None:
    each = writer(session)
    first = [draft(f"k{i}", axis=i, meta={"n": i}) for i in range(5)]
    assert each.upsert(first) == UpsertReport(inserted=5)
    before = physical(session)
    second = [*first[:3], draft("k3", "changed", 3, meta={"n": 3}), draft("k4", axis=4, meta={"n": 5}), draft("k5")]
    assert each.upsert(iter(second)) == UpsertReport(inserted=1, updated=2, unchanged=3)
    after = physical(session)
    assert [key for key in before if before[key] != after[key]] == ["k3", "k4"]
    assert after["k3"][1] == after["k4"][1] == 2
    row = stored(session, "k3")
    assert row.content == "changed"
    assert row.updated_at >= row.created_at


def test_upsert_counts_a_row_that_was_updated_often_as_updated(session: Session) -> None:
    for number in range(4):
        report = writer(session).upsert([draft("k", f"text {number}")])
        assert report == (UpsertReport(updated=1) if number else UpsertReport(inserted=1))
    assert stored(session, "k").version == 4


@pytest.mark.parametrize(
    ("given", "report", "axis"),
    [
        (Draft("k", "same"), UpsertReport(unchanged=1), 5),
        (Draft("k", "same", {"n": 1}), UpsertReport(updated=1), 5),
        (Draft("k", "same", embedding=unit(5)), UpsertReport(unchanged=1), 5),
        (Draft("k", "same", embedding=unit(6)), UpsertReport(updated=1), 6),
        (Draft("k", "other"), UpsertReport(updated=1), None),
        (Draft("k", "other", embedding=unit(7)), UpsertReport(updated=1), 7),
    ],
)
def test_an_embedding_is_kept_for_the_same_content_only(
    session: Session, given: Draft, report: UpsertReport, axis: int | None
) -> None:
    writer(session).upsert([Draft("k", "same", embedding=unit(5))])
    assert writer(session).upsert([given]) == report
    embedding = stored(session, "k").embedding
    assert embedding is None if axis is None else np.array_equal(embedding, unit(axis))


def test_a_document_that_waited_gets_its_embedding(session: Session) -> None:
    writer(session).upsert([draft("k", axis=None)])
    assert writer(session).upsert([draft("k", axis=2)]) == UpsertReport(updated=1)
    assert np.array_equal(stored(session, "k").embedding, unit(2))


def test_source_and_position_that_are_not_given_stay(session: Session) -> None:
    writer(session).upsert([draft("k", source="s", position=4, meta={"n": 1})])
    assert writer(session).upsert([draft("k", meta={"n": 1})]) == UpsertReport(unchanged=1)
    assert writer(session).upsert([draft("k", source="t")]) == UpsertReport(updated=1)
    row = stored(session, "k")
    assert (row.source, row.position, row.meta) == ("t", 4, {})


def test_metadata_is_compared_as_json(session: Session) -> None:
    writer(session).upsert([draft("k", meta={"a": 1, "b": [1, {"c": None}]})])
    assert writer(session).upsert([draft("k", meta={"b": [1.0, {"c": None}], "a": 1})]) == UpsertReport(unchanged=1)
    assert writer(session).upsert([draft("k", meta={"a": True, "b": []})]) == UpsertReport(updated=1)


def test_what_the_session_holds_is_what_was_written(session: Session) -> None:
    document = writer(session).add(draft("k", source="s", meta={"n": 1}))
    other = writer(session, "other").add(draft("k"))
    writer(session).upsert([draft("k", "new", 5)])
    assert (document.content, document.version, document.meta) == ("new", 2, {})
    assert np.array_equal(document.embedding, unit(5))
    writer(session).sync_source("s", [draft("k", "newer", 6)])
    assert (document.content, document.version) == ("newer", 3)
    assert np.array_equal(document.embedding, unit(6))
    document.content = "by hand"
    session.flush()
    assert (document.version, other.version, other.content) == (4, 1, "text of k")


def test_upsert_is_whole_or_not_at_all(session: Session) -> None:
    each = writer(session)
    each.upsert([draft("k")])
    with pytest.raises(DocumentError, match="document 600"):
        each.upsert([*(draft(f"k{i}") for i in range(600)), Draft("bad", "\0")])
    assert count(session) == 1


def test_upsert_of_one_tenant_leaves_anothers_alone(session: Session) -> None:
    for tenant in ("a", "b"):
        assert writer(session, tenant=tenant).upsert([draft("k", tenant)]) == UpsertReport(inserted=1)
    rows = session.scalars(select(Document).order_by(Document.content)).all()
    assert [(row.content, row.version) for row in rows] == [("a", 1), ("b", 1)]


def test_upserts_of_the_same_keys_at_once_are_safe(engine: Engine) -> None:
    """In random orders they would wait for each other in a circle."""
    factory, barrier = session_factory(engine), threading.Barrier(4)
    failures: list[Exception] = []
    reports: list[UpsertReport] = []

    def work(number: int) -> None:
        order = np.random.default_rng(number).permutation(60)
        try:
            barrier.wait()
            for round_ in range(4):
                with factory.begin() as session:
                    items = [draft(f"k{i}", f"by {number} in {round_}", int(i)) for i in order]
                    reports.append(writer(session).upsert(items))
        except Exception as exc:  # noqa: BLE001 -- handed to the test
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sum(report.inserted for report in reports) == 60
    assert sum(report.updated for report in reports) == 15 * 60
    with factory() as session:
        contents = session.execute(select(Document.content, func.count()).group_by(Document.content)).all()
        assert len(contents) == 1
        assert contents[0][1] == 60


# sync_source


def test_a_source_is_added_updated_and_emptied_of_what_vanished(session: Session) -> None:
    each = writer(session)
    assert each.sync_source("s", [draft("a", axis=1), draft("b", axis=2)]) == SyncReport(added=2)
    again = [draft("b", axis=None), {"key": "c", "content": "new", "embedding": unit(3)}]
    assert each.sync_source("s", again) == SyncReport(added=1, unchanged=1, deleted=1)
    assert np.array_equal(stored(session, "b").embedding, unit(2))
    with pytest.raises(VectorError, match="document 0, 'z' is new or changed and has no embedding"):
        each.sync_source("s", [draft("z", axis=None)])
    with pytest.raises(DocumentError, match="document 0: its source is 't', not 's'"):
        each.sync_source("s", [draft("a", source="t")])
    for name in ("", "a\0b", 5):
        with pytest.raises(DocumentError, match="the source's name"):
            each.sync_source(name, [])  # type: ignore[arg-type]


def test_a_key_of_another_source_is_refused_with_the_way_out(session: Session) -> None:
    each = writer(session)
    each.sync_source("s", [draft("a"), draft("b")])
    with pytest.raises(DocumentError, match=r"another source's document is free once that is deleted.*a") as caught:
        each.sync_source("t", [draft("a"), draft("c")])
    assert isinstance(caught.value.__cause__, IntegrityError)
    assert count(session) == 2
    assert each.sync_sources({"t": [draft("a"), draft("c")], "s": [draft("b")]}) == SyncReport(2, 0, 1, 1)


# delete and update_meta


def filled(session: Session) -> DocumentWriter:
    each = writer(session)
    each.add_many(
        [draft(f"k{i}", source="even" if i % 2 == 0 else "odd", meta={"n": i, "o": {"p": 1}}) for i in range(10)]
    )
    return each


def test_delete_takes_a_filter_and_tells_how_many(session: Session) -> None:
    each = filled(session)
    assert each.delete({"source": "even", "meta.n": {"$gte": 4}}) == 3
    assert each.delete(Document.key == "k1") == 1
    assert each.delete({"meta.n": 100}) == 0
    assert count(session) == 6
    assert each.delete(everything=True) == 6


@pytest.mark.parametrize("where", [None, {}, {"$and": []}, {"$and": [{}]}, {"$not": {"$or": []}}])
def test_a_delete_that_would_let_nothing_be_names_the_way_to_say_so(session: Session, where: Any) -> None:
    each = filled(session)
    with pytest.raises(FilterError, match="everything=True"):
        each.delete(where)
    assert count(session) == 10


def test_a_delete_is_of_its_own_collection_and_its_own_filter(session: Session) -> None:
    each = filled(session)
    writer(session, "other").add(draft("x"))
    assert each.delete(everything=True) == 10
    assert count(session) == 1
    with pytest.raises(FilterError, match="not both"):
        each.delete({"source": "even"}, everything=True)
    with pytest.raises(FilterError):
        each.delete({"nonsense": 1})
    with pytest.raises(CollectionNotFoundError):
        writer(session, "none").delete(everything=True)


def test_a_deletion_of_thousands_is_one_statement(session: Session, statements: list[str]) -> None:
    """vecs sends a DELETE for every twelve ids."""
    each = writer(session)
    each.upsert([draft(f"k{i}", axis=None, source=f"s{i}") for i in range(2_000)])
    statements.clear()
    assert each.delete_sources([f"s{i}" for i in range(1_500)]) == 1_500
    assert each.delete({"key": {"$in": [f"k{i}" for i in range(1_500, 2_000)]}}) == 500
    assert sum("DELETE" in statement for statement in statements) == 2


def test_an_object_that_was_deleted_is_gone_from_its_session(session: Session) -> None:
    document = writer(session).add(draft("k"))
    assert writer(session).delete({"key": "k"}) == 1
    assert document not in session


def test_metadata_is_merged_where_it_differs(session: Session) -> None:
    each = filled(session)
    document = stored(session, "k0")
    before = physical(session)
    assert each.update_meta({"source": "even"}, {"n": 4, "new": [1, None]}, remove=["o", "not there"]) == 5
    assert each.update_meta({"source": "even"}, {"n": 4, "new": [1, None]}, remove=["o"]) == 0
    after = physical(session)
    assert {key for key in before if before[key] != after[key]} == {"k0", "k2", "k4", "k6", "k8"}
    assert (document.meta, document.version) == ({"n": 4, "new": [1, None]}, 2)
    assert each.update_meta(None, {"all": True}) == 10
    assert each.update_meta(None, {}) == 0
    assert each.update_meta(None, {"n": 1}, remove=("n",)) == 9
    assert stored(session, "k1").meta == {"n": 1, "o": {"p": 1}, "all": True}


@pytest.mark.parametrize(
    ("changes", "remove", "words"),
    [
        ([1], (), "changes: expected an object"),
        ({"a": float("nan")}, (), "changes.a: nan"),
        ({"a\0": 1}, (), "changes: a key"),
        ({1: 1}, (), "changes: the key 1 is not text"),
        ({}, "key", "remove: expected a list of keys, not text"),
        ({}, [1], r"remove\[0\]: a key is text"),
        ({}, ["a", "\0"], r"remove\[1\]: the key holds"),
    ],
)
def test_changes_of_metadata_that_cannot_be_stored_are_named(
    session: Session, changes: Any, remove: Any, words: str
) -> None:
    each = filled(session)
    with pytest.raises(DocumentError, match=words):
        each.update_meta(None, changes, remove=remove)


# Injection comes through names

HOSTILE = [
    "'; DROP TABLE pgcorpus.documents; --", '"', "'", "''", "\\", "\\'", "%", "%s", "%(name)s", "%%", ":name", "::text",
    "{}", "{0}", "$1", "$$", "/*", "--", ";", "\n", "\t", "é", "名前", "\U0001f600", "NULL", "a.b", "$eq",
    "\u2028", '{"a":1}',
]  # fmt: skip


def test_names_of_every_kind_are_only_names(session: Session) -> None:
    for number, name in enumerate(HOSTILE):
        each = writer(session, collection=name, tenant=name)
        document = each.add({"key": name, "content": name, "source": name, "language": name, "meta": {name: name}})
        assert each.upsert([Draft(name, name, {name: [name]}), draft(name + "2")]) == UpsertReport(1, 1)
        assert each.bulk_load([Draft(name + "3", name, {name: name}, source=name)]) == 1
        assert each.sync_source(name + "s", [Draft(name + "4", name, {name: 1}, unit(0))]) == SyncReport(added=1)
        assert each.update_meta({"key": name}, {name + "+": name}, remove=[name]) == 1
        session.refresh(document)
        assert (document.key, document.content, document.source) == (name, name, name)
        assert document.meta == {name + "+": name}
        assert each.delete({"key": name}) == 1
        assert each.delete_sources([name, name + "s"]) == 2
        assert count(session) == number + 1


# A host's own model


class HostBase(DeclarativeBase):
    pass


class Article(DocumentMixin, HostBase):
    __tablename__ = "articles %s"
    __table_args__ = (*document_table_args(), UniqueConstraint("slug"))
    author: Mapped[str | None] = mapped_column(String(10))
    slug: Mapped[str] = mapped_column(default=lambda: str(uuid4()))
    rating: Mapped[float] = mapped_column(server_default="1.5")
    price: Mapped[Decimal | None] = mapped_column(Numeric(8, 2))
    day: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    token: Mapped[UUID | None]
    flag: Mapped[bool] = mapped_column(default=True)
    embedding: VectorMapped[Array | None] = vector_column(8)


class Tagged(DocumentMixin, HostBase):
    __tablename__ = "tagged"
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    made: Mapped[datetime] = mapped_column(default=func.clock_timestamp())
    embedding: VectorMapped[Array | None] = vector_column(8)


class Measured(DocumentMixin, HostBase):
    __tablename__ = "measured"
    content: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = column_property(func.length(content))
    embedding: VectorMapped[Array | None] = vector_column(8)


@pytest.fixture
def host(engine: Engine) -> Iterator[Session]:
    """A session on a database with the host's tables."""
    HostBase.metadata.create_all(engine)
    with session_factory(engine)() as session:
        yield session


def test_a_hosts_columns_and_defaults_are_written_by_every_method(host: Session) -> None:
    each = writer(host, model=Article)
    token, day = uuid4(), datetime(2026, 1, 31, 12, tzinfo=UTC)
    fields = {"author": "me", "rating": 4.5, "price": Decimal("9.90"), "day": day, "token": token, "flag": False}
    added = each.add(Article(key="a", content="x", embedding=unit(0, 8), **fields))
    each.upsert([Draft("b", "x", embedding=unit(1, 8), fields=fields), Draft("c", "x")])
    each.bulk_load([{"key": "d", "content": "x", "embedding": unit(2, 8), **fields}, {"key": "e", "content": "x"}])
    each.sync_source("s", [Draft("f", "x", {}, unit(3, 8), fields=fields)])
    assert added.slug
    for key in "abdf":
        row = stored(host, key, Article)
        assert {name: getattr(row, name) for name in fields} == fields, key
    for key in "ce":
        row = stored(host, key, Article)
        assert (row.author, row.rating, row.flag, row.embedding) == (None, 1.5, True, None)
        assert len(row.slug) == 36


def test_an_upsert_keeps_a_hosts_attributes_that_are_not_given(host: Session) -> None:
    each = writer(host, model=Article)
    each.upsert([Draft("k", "x", fields={"author": "me", "rating": 3.0, "flag": False, "slug": "s"})])
    assert each.upsert([Draft("k", "x")]) == UpsertReport(unchanged=1)
    assert each.upsert([Draft("k", "x", fields={"author": "me"})]) == UpsertReport(unchanged=1)
    mixed = [Draft("a", "x"), Draft("b", "x", fields={"flag": True}), Draft("k", "x", fields={"author": None})]
    assert each.upsert(mixed) == UpsertReport(inserted=2, updated=1)
    row = stored(host, "k", Article)
    assert (row.author, row.rating, row.flag, row.slug) == (None, 3.0, False, "s")


def test_what_the_server_refuses_of_a_host_is_a_document_error(host: Session) -> None:
    each = writer(host, model=Article)
    each.add(Article(content="x", slug="taken"))
    for fields, words in (
        ({"author": "longer than ten"}, "too long"),
        ({"slug": "taken"}, "slug"),
        ({"token": "no uuid"}, "."),
        ({"rating": None}, "null value"),
    ):
        for write in WRITES["add_many"], WRITES["upsert"], WRITES["bulk_load"]:
            with pytest.raises(DocumentError, match=words):
                write(each, [Draft("k", "x", fields=fields)])
    assert each.upsert([Draft("k", "x")]) == UpsertReport(inserted=1)


def test_columns_that_fit_no_array_are_written_too(host: Session) -> None:
    each = writer(host, model=Tagged)
    each.upsert([Draft("a", "x", embedding=unit(0, 8), fields={"tags": ["t", "u"]}), Draft("b", "x")])
    assert each.upsert([Draft("a", "x", fields={"tags": ["t"]}), Draft("b", "y")]) == UpsertReport(updated=2)
    assert each.bulk_load([Draft("c", "x", embedding=unit(1, 8), fields={"tags": ["v"]})]) == 1
    each.add({"key": "d", "content": "x", "tags": ["w"]})
    tags = {key: stored(host, key, Tagged).tags for key in "abcd"}
    assert tags == {"a": ["t"], "b": None, "c": ["v"], "d": ["w"]}
    assert stored(host, "a", Tagged).made is not None


@pytest.mark.parametrize("name", [name for name in WRITES if name != "sync_source"])
def test_none_of_an_instance_is_not_given_where_a_host_has_a_default(host: Session, name: str) -> None:
    each = writer(host, model=Article)
    WRITES[name](each, [Article(key="k", content="x", rating=None, slug=None, author=None)])
    row = stored(host, "k", Article)
    assert (row.rating, len(row.slug), row.author) == (1.5, 36, None)


def test_a_property_that_is_an_expression_is_read_and_never_written(host: Session) -> None:
    each = writer(host, model=Measured)
    vector = unit(0, 8)
    assert each.add(Measured(content="four", embedding=vector)).size == 4
    assert each.add({"key": "a", "content": "one"}).size == 3
    assert each.upsert([Draft("a", "three"), Measured(key="b", content="x", size=9)]) == UpsertReport(1, 1)
    assert each.bulk_load([Draft("c", "x" * 7), Measured(key="d", content="x" * 8)]) == 2
    assert each.sync_source("s", [Draft("e", "x" * 9, embedding=vector)]) == SyncReport(added=1)
    assert {key: stored(host, key, Measured).size for key in "abcde"} == {"a": 5, "b": 1, "c": 7, "d": 8, "e": 9}
    with pytest.raises(DocumentError, match="'size' is no attribute"):
        each.add({"content": "x", "size": 1})


@pytest.mark.parametrize("fields", [{}, {"author": "me"}, {"author": "you"}])
def test_a_source_keeps_the_embedding_of_content_that_did_not_change(host: Session, fields: dict[str, Any]) -> None:
    each = writer(host, model=Article)
    each.sync_source("s", [Draft("k", "x", {}, unit(1, 8), fields={"author": "me"})])
    again = each.sync_source("s", [Draft("k", "x", {}, unit(2, 8), fields=fields)])
    assert again == (SyncReport(updated=1) if fields == {"author": "you"} else SyncReport(unchanged=1))
    assert np.array_equal(stored(host, "k", Article).embedding, unit(1, 8))
    each.sync_source("s", [Draft("k", "y", {}, unit(3, 8), fields=fields)])
    assert np.array_equal(stored(host, "k", Article).embedding, unit(3, 8))


# A database for each class, an extension off the search_path, and the async session


@pytest.mark.parametrize("name", WRITES)
def test_a_session_with_a_database_for_each_class_writes_to_the_right_one(
    engine: Engine, make_database: Callable[..., URL], template: str, name: str
) -> None:
    other = create_engine(make_database(template))
    with Session(engine, binds={Document: other, Collection: other}) as session, session.begin():
        WRITES[name](writer(session), [draft("a"), draft("b")])
    for each, found in ((engine, 0), (other, 2)):
        with session_factory(each)() as session:
            assert count(session) == found
    with Session(binds={Document: other, Collection: other}) as session:
        WRITES[name](writer(session), [draft("c")])
    other.dispose()


def test_everything_is_written_where_the_extension_is_off_the_path(empty_url: URL) -> None:
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA extensions"))
        connection.execute(text("CREATE EXTENSION vector SCHEMA extensions"))
    engine.dispose()
    upgrade(engine)
    with session_factory(engine).begin() as session:
        each = writer(session)
        each.add(draft("a"))
        assert each.upsert([draft("a"), draft("b", axis=2)]) == UpsertReport(inserted=1, unchanged=1)
        assert each.upsert([draft("a", axis=5)]) == UpsertReport(updated=1)
        assert each.bulk_load([draft("c")], index="keep") == 1
        assert each.sync_source("s", [draft("d")]) == SyncReport(added=1)
    with session_factory(engine).begin() as session:
        writer(session).delete(everything=True)
        assert writer(session).bulk_load([draft("c")]) == 1
        assert np.array_equal(stored(session, "c").embedding, unit(0))
        index = session.scalar(text("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_documents_embedding'"))
        assert "extensions.vector_cosine_ops" in index
    engine.dispose()


def test_an_engine_that_does_not_know_the_types_writes_too(url: URL) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    with session_factory(engine).begin() as session:
        each = writer(session)
        each.add(draft("a"))
        assert each.upsert([draft("a"), draft("b")]) == UpsertReport(inserted=1, unchanged=1)
        assert each.bulk_load([draft("c")]) == 1
        assert np.array_equal(stored(session, "b").embedding, unit(0))
    engine.dispose()


def test_an_async_session_writes_the_same(url: URL) -> None:
    def work(session: Session) -> list[Any]:
        each = writer(session)
        added = each.add_many([draft("a"), draft("b", axis=1)])
        ready = [each.id > 0 and each.created_at is not None and each.source is None for each in added]
        with pytest.raises(DocumentError, match="stored already"):
            each.add(draft("a"))
        return [
            ready,
            each.upsert([draft("a"), draft("b", axis=2), draft("c")]),
            each.bulk_load(draft(f"k{i}") for i in range(50)),
            each.sync_source("s", [draft("d")]),
            each.update_meta({"key": "a"}, {"n": 1}),
            each.delete({"meta.n": 1}),
        ]

    async def main() -> list[Any]:
        engine = create_async_engine(url.set(drivername=PSYCOPG))
        async with async_session_factory(engine).begin() as session:
            done = await session.run_sync(work)
        await engine.dispose()
        return done

    assert asyncio.run(main()) == [[True, True], UpsertReport(1, 1, 1), 50, SyncReport(added=1), 1, 1]


# The page


def test_the_page_runs_from_top_to_bottom(session: Session) -> None:
    page = Path(__file__).parents[2] / "docs" / "writing.md"
    names: dict[str, Any] = {"repository": writer(session, "wiki"), "vectors": random_vectors(20)}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, page.name, "exec", dont_inherit=True), names)  # noqa: S102 -- our own text
    assert names["count"] == 20
