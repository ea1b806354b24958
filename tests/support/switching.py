"""Collections of an old model, and what they have to hold, for the tests of a switch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sqlalchemy import Engine, select, text

from pgcorpus.database import session_factory
from pgcorpus.models import Collection, Document
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.repositories.switching.standing import State
from pgcorpus.services.embedding import Embedder, pad
from pgcorpus.services.switching import ModelSwitch
from pgcorpus.vectors import Array
from tests.support.embedder import CountingEmbedder

DIMENSIONS = {"old": 8, "new": 12}
KEPT = [f"kept {number}" for number in range(60)]


def embedder_of(model: str, **options: Any) -> CountingEmbedder:
    return CountingEmbedder(model, DIMENSIONS[model], **options)


def vector_of(content: str, model: str) -> Array:
    row: Array = pad(embedder_of(model).embed([content]))[0]
    return row


def draft(key: str, content: str, model: str) -> Draft:
    return Draft(key, content, {"from": key}, vector_of(content, model))


def make_wiki(engine: Engine) -> None:
    """Store a collection of the old model."""
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, "wiki", embedding_model="old")
        repository.bulk_load([draft(name, name, "old") for name in KEPT], index="keep")


def contents(engine: Engine) -> dict[str, str]:
    with session_factory(engine)() as session:
        return {each.key: each.content for each in DocumentRepository(session, "wiki").list(limit=10_000).items}


def assert_embedded_by(engine: Engine, embedder: Embedder, name: str = "wiki", model: Any = Document) -> None:
    """Each embedding is what the model gives for the content."""
    with session_factory(engine)() as session:
        repository = DocumentRepository(session, name, embedding_model=embedder.model, model=model, column="embedding")
        found = repository.list(limit=10_000, include_embedding=True, columns=("content",)).items
        embedded = [each for each in found if each.embedding is not None]
        dimensions = model.__table__.c.embedding.type.dim
        wanted = pad(embedder.embed([each.content for each in embedded]), dimensions)
        assert np.array_equal(np.stack([each.embedding for each in embedded]), wanted)


OLD, NEW = "old", "new"


def old_embedder() -> CountingEmbedder:
    return CountingEmbedder(OLD, 8)


def new_embedder() -> CountingEmbedder:
    return CountingEmbedder(NEW, 12)


def drafts(names: Iterable[str], embedder: Embedder, dimensions: int = 1536) -> list[Draft]:
    contents = [f"what {name} is" for name in names]
    rows = pad(embedder.embed(contents), dimensions)
    return [
        Draft(name, content, {"name": name}, row, source="book", position=number)
        for number, (name, content, row) in enumerate(zip(names, contents, rows, strict=True))
    ]


def fill(engine: Engine, count: int = 150) -> list[str]:
    """Store documents of the old model, some of them changed, some without an embedding; return their names."""
    names = [f"n{number}" for number in range(count)]
    with session_factory(engine)() as session:
        repository = DocumentRepository(session, "wiki", embedding_model=OLD)
        repository.bulk_load(drafts(names, old_embedder()), index="keep")
        repository.add(Draft("bare", "not embedded"))
        session.commit()
        repository.update_meta({"key": {"$in": ["n1", "n2"]}}, {"checked": True})
        session.commit()
    return names


def rows(engine: Engine, name: str = "wiki", model: Any = Document) -> list[tuple[Any, ...]]:
    """All of a collection's rows, without the collection's id and the embedding."""
    columns = [column for column in model.__table__.c if column.name not in ("collection_id", "embedding", "tsv")]
    with session_factory(engine)() as session:
        collection = session.scalars(select(Collection.id).where(Collection.name == name)).one()
        statement = select(*columns).where(model.collection_id == collection).order_by(model.id)
        return [tuple(row) for row in session.execute(statement)]


def names_behind(engine: Engine) -> list[tuple[str, State, int]]:
    return [(each.name, each.state, each.documents) for each in ModelSwitch(engine, None, "wiki").status().shadows]


def is_waiting(engine: Engine) -> bool:
    with engine.connect() as connection:
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode LIKE '%Exclusive%'")
        return bool(connection.scalar(waiting))
