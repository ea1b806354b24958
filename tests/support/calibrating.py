"""A collection whose index finds hardly more than half at a low setting, and the questions that nobody has seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from pgcorpus.database import create_engine, session_factory
from pgcorpus.repositories import DocumentRepository
from pgcorpus.vectors import Array
from tests.support.vectors import hard_vectors

DOCUMENTS = 2_000
NAME = "wiki"


@lru_cache(maxsize=1)
def documents() -> Array:
    return hard_vectors(DOCUMENTS)


@lru_cache(maxsize=1)
def held_out() -> Array:
    """Vectors of the same kind as the documents, which are none of them."""
    return hard_vectors(200, seed=9)


def fill(url: URL) -> None:
    """Store the documents behind an index of few links, which the planner always takes.

    Of so few documents it would rather sort them all.
    """
    engine = create_engine(url)
    with session_factory(engine).begin() as session:
        drafts: list[dict[str, Any]] = [
            {
                "content": str(i),
                "embedding": v,
                "source": f"s{i % 2}",
                "meta": {"kind": i % 100, "year": i % 10, "id": i},
            }
            for i, v in enumerate(documents())
        ]
        DocumentRepository(session, NAME).bulk_load(drafts, index="defer")
        session.execute(
            text(
                "CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops) "
                "WITH (m = 6, ef_construction = 32)"
            )
        )
        session.execute(text(f"ALTER DATABASE {url.database} SET enable_sort = off"))
    engine.dispose()


def recall(engine: Engine, questions: Array, **options: Any) -> float:
    """Return the recall@10 of searches, beside what NumPy says."""
    nearest = np.argsort(-(questions @ documents().T), axis=1)[:, :10]
    shares = []
    with session_factory(engine)() as session:
        repository = DocumentRepository(session, NAME)
        for question, truth in zip(questions, nearest, strict=True):
            hits = repository.search(question, 10, columns=("content",), **options)
            shares.append(len({int(hit.document.content) for hit in hits} & set(truth.tolist())) / 10)
    return float(np.mean(shares))


@contextmanager
def engine_of(url: URL, options: str = "") -> Iterator[Engine]:
    engine = create_engine(url, connect_args={"options": options})
    yield engine
    engine.dispose()
