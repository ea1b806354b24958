"""A collection's model is switched: nothing of the documents changes but the embeddings, and there is a way back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Mapped, declarative_base, mapped_column
from sqlalchemy.schema import DropIndex

from pgcorpus import vectors
from pgcorpus.database import create_engine, session_factory
from pgcorpus.errors import (
    EmbeddingError,
    SwitchError,
)
from pgcorpus.models import Document, DocumentMixin, VectorMapped, vector_column
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.repositories.switching.standing import State
from pgcorpus.repositories.writing.indexes import is_missing, vector_indexes
from pgcorpus.services.embedding import pad
from pgcorpus.services.switching import ModelSwitch, Progress, Stage
from tests.support.embedder import CountingEmbedder
from tests.support.switching import (
    NEW,
    OLD,
    assert_embedded_by,
    drafts,
    fill,
    names_behind,
    new_embedder,
    old_embedder,
    rows,
)

# The whole of it


def test_a_switch_changes_the_embeddings_and_nothing_else(engine: Engine) -> None:
    names = fill(engine)
    before = rows(engine)
    embedder, seen = new_embedder(), list[Progress]()
    report = ModelSwitch(engine, embedder, "wiki", progress=seen.append).run()

    assert rows(engine) == before
    assert_embedded_by(engine, new_embedder())
    assert sorted(embedder.texts) == sorted(f"what {name} is" for name in names)  # each once
    assert (report.old_model, report.new_model, report.filled.copied) == (OLD, NEW, len(names) + 1)
    assert report.comparison is not None
    assert (report.comparison.old.recall, report.comparison.new.recall) == (1.0, 1.0)
    assert report.flipped is not None
    assert (report.flipped.late.total, report.flipped.late.pending) == (0, 0)
    assert {each.stage for each in seen} >= {Stage.FILLING, Stage.CATCHING_UP, Stage.COMPARING, Stage.FLIPPING}
    assert names_behind(engine) == [("wiki@old", State.RETIRED, len(names) + 1)]
    with session_factory(engine)() as session:
        repository = DocumentRepository(session, "wiki", embedding_model=NEW)
        for name in names[::10]:
            vector = pad(embedder.embed([f"what {name} is"]))[0]
            assert repository.search(vector, 1)[0].document.key == name
        assert [each.name for each in repository.collections()] == ["wiki"]


def test_a_rollback_embeds_only_what_was_written_since_and_a_finish_deletes_the_other(engine: Engine) -> None:
    fill(engine)
    switch = ModelSwitch(engine, new_embedder(), "wiki")
    switch.run(sample=0)
    with session_factory(engine)() as session:
        repository = DocumentRepository(session, "wiki", embedding_model=NEW)
        repository.upsert(drafts(["n3", "later"], new_embedder()))
        repository.update_meta({"key": "n4"}, {"seen": 1})
        repository.delete({"key": "n5"})
        session.commit()
    before = rows(engine)
    embedder = old_embedder()
    report = switch.rollback(embedder)

    assert rows(engine) == before
    assert_embedded_by(engine, old_embedder())
    assert sorted(embedder.texts) == ["what later is", "what n3 is", "what n4 is"]
    assert (report.old_model, report.new_model) == (NEW, OLD)
    assert names_behind(engine) == [("wiki@new", State.RETIRED, len(before))]

    ModelSwitch(engine, old_embedder(), "wiki").finish()
    assert names_behind(engine) == []
    assert rows(engine) == before
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM pgcorpus.documents")) == len(before)


def test_after_two_switches_both_retired_collections_stand_behind_the_new_one(engine: Engine) -> None:
    fill(engine, 30)
    ModelSwitch(engine, new_embedder(), "wiki").run(sample=0)
    third = CountingEmbedder("third", 16)
    ModelSwitch(engine, third, "wiki").run(sample=0)
    assert [name for name, _, _ in names_behind(engine)] == ["wiki@old", "wiki@new"]
    ModelSwitch(engine, third, "wiki").rollback(old_embedder())
    assert_embedded_by(engine, old_embedder())
    assert [name for name, _, _ in names_behind(engine)] == ["wiki@new", "wiki@third"]
    ModelSwitch(engine, old_embedder(), "wiki").finish()
    assert names_behind(engine) == []
    assert_embedded_by(engine, old_embedder())


def test_what_is_written_between_the_passes_is_caught_up_with(engine: Engine) -> None:
    names = fill(engine)

    def write(asked: Any) -> None:
        """Change what is copied already, and what is not yet, when half of it is embedded."""
        if not embedder.texts:
            with session_factory(engine)() as session:
                repository = DocumentRepository(session, "wiki", embedding_model=OLD)
                repository.upsert([Draft("n0", "other", embedding=pad(old_embedder().embed(["other"]))[0])])
                repository.delete({"key": {"$in": ["n7", "n149"]}})
                repository.upsert(drafts(["n7", "fresh"], old_embedder()))  # the same key, another id
                session.commit()

    embedder = CountingEmbedder(NEW, 12, before=write)
    ModelSwitch(engine, embedder, "wiki").run(sample=0)
    assert_embedded_by(engine, new_embedder())
    with session_factory(engine)() as session:
        found = {each.key: each.content for each in DocumentRepository(session, "wiki").list(limit=1_000).items}
    assert set(found) == {*names, "bare", "fresh"} - {"n149"}
    assert found["n0"] == "other"


def test_keys_that_change_places_meanwhile_arrive_as_they_are(engine: Engine) -> None:
    fill(engine, 20)
    switch = ModelSwitch(engine, new_embedder(), "wiki")
    switch.run(flip=False, sample=0)
    with engine.begin() as connection:
        for key, other in (("n3", "x"), ("n4", "n3"), ("x", "n4")):
            connection.execute(
                update(Document.__table__)
                .where(Document.key == key, Document.content.like("what%"), Document.version == 1)
                .values(key=other, version=1 if other == "x" else 2)
            )
    before = rows(engine)
    switch.flip()
    assert rows(engine) == before
    assert_embedded_by(engine, new_embedder())


def test_steps_can_be_taken_one_by_one_and_given_up(engine: Engine) -> None:
    fill(engine, 40)
    switch = ModelSwitch(engine, new_embedder(), "wiki")
    assert switch.backfill().copied == 41
    assert switch.backfill().copied == 0
    assert switch.compare(sample=5).overlap <= 1
    assert names_behind(engine) == [("wiki@new", State.FILLING, 41)]
    assert switch.abort() == 41
    assert names_behind(engine) == []
    assert_embedded_by(engine, old_embedder())
    with pytest.raises(SwitchError, match="nothing was done"):
        switch.abort()
    with pytest.raises(SwitchError, match="no collection of the model new"):
        switch.flip()


def test_a_missing_index_is_built(engine: Engine) -> None:
    fill(engine, 20)
    with engine.begin() as connection:
        connection.execute(DropIndex(vector_indexes(Document)[0]))
    assert is_missing(engine, Document)
    ModelSwitch(engine, new_embedder(), "wiki").run(sample=0)
    assert not is_missing(engine, Document)


def test_a_collection_whose_model_nobody_named_has_a_way_back(engine: Engine) -> None:
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "wiki").upsert(drafts(["one", "two"], old_embedder()))
    switch = ModelSwitch(engine, new_embedder(), "wiki")
    switch.run(sample=0)
    with pytest.raises(SwitchError, match="no collection of the model old"):
        ModelSwitch(engine, old_embedder(), "wiki").flip()
    assert switch.rollback(old_embedder()).filled.copied == 0
    assert_embedded_by(engine, old_embedder())


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_name_as_long_as_can_be_is_shortened_while_it_stands_behind(engine: Engine, letter: str) -> None:
    name = letter * (2_000 // len(letter.encode()))
    with session_factory(engine).begin() as session:
        DocumentRepository(session, name, embedding_model=OLD).upsert(drafts(["one", "two"], old_embedder()))
    switch = ModelSwitch(engine, new_embedder(), name)
    assert switch.run(sample=2).comparison is not None
    assert [each.state for each in switch.status().shadows] == [State.RETIRED]
    switch.rollback(old_embedder())
    assert_embedded_by(engine, old_embedder(), name)


def test_the_planner_knows_the_new_collection_before_it_takes_the_place(engine: Engine) -> None:
    fill(engine)
    ModelSwitch(engine, new_embedder(), "wiki").backfill()
    known = text("SELECT most_common_vals::text FROM pg_stats WHERE tablename = 'documents' AND attname = :name")
    with session_factory(engine)() as session:
        ids = session.scalars(text("SELECT id FROM pgcorpus.collections")).all()
        assert set(str(session.scalars(known, {"name": "collection_id"}).one()).strip("{}").split(",")) == {
            str(each) for each in ids
        }


@pytest.mark.parametrize("options", [{"isolation_level": "AUTOCOMMIT"}, {"isolation_level": "REPEATABLE READ"}])
def test_any_engine_will_do(engine: Engine, url: Any, options: dict[str, Any]) -> None:
    fill(engine, 20)
    other = create_engine(url, **options)
    ModelSwitch(other, new_embedder(), "wiki").run(sample=5)
    other.dispose()
    assert_embedded_by(engine, new_embedder())


# Comparing


def test_queries_are_asked_of_both_models(engine: Engine) -> None:
    fill(engine, 60)
    switch = ModelSwitch(engine, new_embedder(), "wiki")
    switch.backfill()
    found = switch.compare(queries=["one", "two"], old_embedder=old_embedder())
    assert (found.questions, found.old.recall, found.new.recall) == (2, 1.0, 1.0)
    assert 0 <= found.overlap < 1
    assert 0 < found.new.p50 <= found.new.p95
    with pytest.raises(SwitchError, match="both models"):
        switch.compare(queries=["one"])
    with pytest.raises(SwitchError, match="both models"):
        switch.compare(queries=["one"], old_embedder=new_embedder())


def test_a_recall_under_the_limit_leaves_the_collection_as_it_is(engine: Engine) -> None:
    fill(engine, 40)
    before = rows(engine)
    switch = ModelSwitch(engine, new_embedder(), "wiki")
    with pytest.raises(SwitchError, match=r"recall .* under 1\.1"):
        switch.run(min_recall=1.1)
    assert names_behind(engine) == [("wiki@new", State.FILLING, 41)]
    assert rows(engine) == before
    assert_embedded_by(engine, old_embedder())
    assert switch.run(min_recall=0.9).filled.copied == 0


# A model of one's own

Base: Any = declarative_base()


class Article(DocumentMixin, Base):
    """With a shorter vector and more columns, another vector among them."""

    __tablename__ = "articles"

    embedding: VectorMapped[vectors.Array | None] = vector_column(24)
    portrait: VectorMapped[vectors.Array | None] = vector_column(3)
    author: Mapped[str] = mapped_column(default="nobody")


def test_a_model_of_ones_own_is_switched_with_all_its_columns(engine: Engine) -> None:
    Article.__table__.create(engine)
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, "wiki", embedding_model=OLD, model=Article, column="embedding")
        given = drafts([f"n{i}" for i in range(30)], old_embedder(), 24)
        repository.upsert([Draft(d.key, d.content, d.meta, d.embedding, fields={"author": d.key}) for d in given])
    before = rows(engine, model=Article)
    with pytest.raises(EmbeddingError, match="dimensions=24"):
        ModelSwitch(engine, CountingEmbedder("long", 25), "wiki", model=Article).run()
    report = ModelSwitch(engine, new_embedder(), "wiki", model=Article).run(min_recall=0.9)
    assert report.filled.copied == 30
    assert rows(engine, model=Article) == before
    assert_embedded_by(engine, new_embedder(), model=Article)
    with session_factory(engine)() as session:
        assert all(each.author == each.key for each in session.scalars(select(Article)))


def test_a_collection_of_two_models_is_refused(engine: Engine) -> None:
    fill(engine, 5)
    Article.__table__.create(engine)
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "wiki", model=Article, column="embedding").add(Draft("x", "x"))
    for model in (Article, Document):
        with pytest.raises(SwitchError, match="documents" if model is Article else "articles"):
            ModelSwitch(engine, new_embedder(), "wiki", model=model).run()


# The page


def test_the_functions_of_the_page_do_what_it_says(engine: Engine) -> None:
    fill(engine, 30)
    names: dict[str, Any] = {}
    page = (Path(__file__).parents[2] / "docs/switching.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "switching.md", "exec", dont_inherit=True), names)  # noqa: S102 -- our own text
    embedders = [old_embedder(), new_embedder()]
    retriever = names["make_retriever"](engine, *embedders)
    names["switch"](engine, *reversed(embedders))
    for number in range(2):
        with session_factory(engine).begin() as session:
            assert names["store"](session, embedders, f"later {number}", "stored").inserted == 1
            names["rename"](session, f"later {number}", "renamed")
            document = DocumentRepository(session, "wiki").get_by_key(f"later {number}")
            assert document is not None
            assert document.meta == {"name": "renamed"}
        assert retriever.retrieve("what n3 is", 1)[0].document.key == "n3"
        if number == 0:
            switch = ModelSwitch(engine, new_embedder(), "wiki")
            there = switch.status().embedding_model == NEW
            switch.rollback(old_embedder()) if there else switch.run(sample=0)
