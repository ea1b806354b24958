"""The sections, embedded and loaded."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from benchmarks.progress import Report
from benchmarks.retrieval.parsing import Section
from benchmarks.terms import COLLECTION
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.services.embedding import Embedder, pad
from pgcorpus.vectors import Array

TEXTS = 200


def embed(embedder: Embedder, texts: Sequence[str], report: Report, label: str) -> list[Array]:
    """Return one vector for each text, padded to the column's length."""
    vectors: list[Array] = []
    for start in report.track(range(0, len(texts), TEXTS), label):
        vectors += list(pad(embedder.embed(texts[start : start + TEXTS])))
    return vectors


def repository_of(session: Session, embedder: Embedder) -> DocumentRepository:
    """Return the repository of the sections."""
    return DocumentRepository(session, COLLECTION, embedding_model=embedder.model)


def load(session: Session, embedder: Embedder, sections: Sequence[Section], vectors: Sequence[Array]) -> None:
    """Write the sections and commit."""
    pairs = zip(sections, vectors, strict=True)
    repository_of(session, embedder).bulk_load(_draft(section, vector) for section, vector in pairs)
    session.commit()


def _draft(section: Section, vector: Array) -> Draft:
    return Draft(section.key, section.content, {"title": section.title}, vector, source=section.page)
