"""A switch that cannot be is refused, if possible before anything is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, text

from pgcorpus.database import create_engine, session_factory
from pgcorpus.errors import (
    CollectionNotFoundError,
    EmbeddingError,
    EmbeddingModelMismatchError,
    SwitchError,
)
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.services.embedding import pad
from pgcorpus.services.embedding.base import Vectors
from pgcorpus.services.switching import ModelSwitch
from tests.support.embedder import CountingEmbedder
from tests.support.switching import (
    NEW,
    OLD,
    fill,
    names_behind,
    new_embedder,
    old_embedder,
)


def test_a_second_switch_at_once_is_refused(engine: Engine) -> None:
    fill(engine, 5)

    def again(_: Any) -> None:
        with pytest.raises(SwitchError, match="another switch of 'wiki' is running"):
            ModelSwitch(engine, new_embedder(), "wiki").run()
        refused.append(True)

    refused: list[bool] = []
    ModelSwitch(engine, CountingEmbedder(NEW, 12, before=again), "wiki").run(sample=0)
    assert refused == [True]


def test_vectors_that_are_too_long_are_refused_before_anything_is_paid(engine: Engine) -> None:
    fill(engine, 5)
    embedder = CountingEmbedder(NEW, 3072)
    with pytest.raises(EmbeddingError, match="dimensions=1536"):
        ModelSwitch(engine, embedder, "wiki").run()
    assert (embedder.texts, names_behind(engine)) == ([], [])


def test_what_cannot_be_switched_is_said(engine: Engine) -> None:
    fill(engine, 5)
    with pytest.raises(CollectionNotFoundError):
        ModelSwitch(engine, new_embedder(), "nowhere").run()
    with pytest.raises(SwitchError, match="embedded with old already: nothing was done"):
        ModelSwitch(engine, old_embedder(), "wiki").run()
    with pytest.raises(SwitchError, match="no collection of the model third"):
        ModelSwitch(engine, new_embedder(), "wiki").rollback(CountingEmbedder("third"))
    with pytest.raises(SwitchError, match="nothing is retired"):
        ModelSwitch(engine, new_embedder(), "wiki").finish()
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "wiki@new").add(Draft("x", "x"))
    with pytest.raises(SwitchError, match="'wiki@new' is in the way"):
        ModelSwitch(engine, new_embedder(), "wiki").run()
    assert names_behind(engine) == []


def test_an_embedder_that_answers_too_few_or_useless_vectors_is_refused(engine: Engine) -> None:
    fill(engine, 5)

    class Short(CountingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            return super().embed(texts)[1:]

    class Zero(CountingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            return super().embed(texts) * 0

    for embedder, fault in ((Short(NEW), "4 vectors for 5 texts"), (Zero(NEW), "is zero")):
        with pytest.raises(EmbeddingError, match=fault):
            ModelSwitch(engine, embedder, "wiki").run()


def test_a_table_that_refers_to_documents_is_not_left_behind(engine: Engine) -> None:
    fill(engine, 5)
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE bookmarks (c bigint, d bigint,"
                " FOREIGN KEY (c, d) REFERENCES pgcorpus.documents (collection_id, id))"
            )
        )
    with pytest.raises(SwitchError, match="bookmarks"):
        ModelSwitch(engine, new_embedder(), "wiki").run()


def test_who_still_has_the_old_embedder_is_told(engine: Engine) -> None:
    fill(engine, 5)
    with session_factory(engine)() as session:
        repository = DocumentRepository(session, "wiki", embedding_model=OLD)
        vector = pad(old_embedder().embed(["what n1 is"]))[0]
        assert repository.search(vector, 1)[0].document.key == "n1"
        session.commit()
        ModelSwitch(engine, new_embedder(), "wiki").run(sample=0)
        for use in (
            lambda: repository.search(vector),
            lambda: repository.upsert([Draft("n1", "x", embedding=vector)]),
            lambda: repository.update_meta(None, {"x": 1}),
            lambda: repository.delete({"key": "n1"}),
        ):
            with pytest.raises(EmbeddingModelMismatchError):
                use()


def test_what_cannot_be_is_said_before_anything_is_paid(engine: Engine) -> None:
    fill(engine, 5)
    role = f"reader_{engine.url.database}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role}"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA pgcorpus TO {role}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA pgcorpus TO {role}"))
        connection.execute(text(f"GRANT INSERT ON pgcorpus.collections TO {role}"))
    reader = create_engine(engine.url, connect_args={"options": f"-c role={role}"})
    embedder = new_embedder()
    switch = ModelSwitch(engine, embedder, "wiki")
    with pytest.raises(SwitchError, match=r'it lacks DELETE on "pgcorpus"."collections", .*, UPDATE on "pg'):
        ModelSwitch(reader, embedder, "wiki").run()
    with pytest.raises(SwitchError, match="give a sample, or queries"):
        switch.run(sample=0, min_recall=0.9)
    with pytest.raises(SwitchError, match="both models"):
        switch.run(queries=["one"])
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE pgcorpus.documents ADD COLUMN reviewed_by text"))
    with pytest.raises(SwitchError, match=r"would not be copied: reviewed_by\. Declare a class"):
        switch.run()
    assert (embedder.texts, names_behind(engine)) == ([], [])
    reader.dispose()
    with engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))
