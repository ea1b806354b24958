"""Reading without a vector: pages, facets, exports, counts, in the one filter language."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from pgcorpus.errors import CollectionNotFoundError, FilterError, SearchError
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository, DocumentView, Facet, VectorRepository
from tests.support.vectors import random_vectors


@pytest.fixture
def repository(session: Session) -> DocumentRepository:
    repository = DocumentRepository(session, "listed")
    vectors = random_vectors(25)
    repository.add_many(
        [
            Document(
                key=f"k{i}",
                content=f"text {i}",
                source="ab"[i % 2] if i else None,
                position=i,
                meta={"n": i, "tags": ["x", "y"][: i % 3]} if i else {},
                embedding=vectors[i] if i != 3 else None,
            )
            for i in range(25)
        ]
    )
    DocumentRepository(session, "listed", "another").add(Document(content="not mine", source="a"))
    return repository


@pytest.mark.parametrize("options", [{}, {"entities": True}, {"columns": ["id", "content"]}])
@pytest.mark.parametrize("where", [None, {"source": "a"}, {"meta.n": {"$between": [5, 20]}}])
def test_pages_follow_each_other_and_end(repository: DocumentRepository, options: Any, where: Any) -> None:
    contents, after, pages = [], None, 0
    while True:
        page = repository.list(where, limit=7, after=after, **options)
        contents += [item.content for item in page.items]
        pages += 1
        if page.next is None:
            break
        after = json.loads(json.dumps(page.next))
    assert len(contents) == len(set(contents)) == repository.count(where)
    assert contents == sorted(contents, key=lambda content: int(content.split()[1]))
    assert pages == len(contents) // 7 + 1


def test_a_page_after_a_row_that_was_deleted_goes_on_behind_it(
    repository: DocumentRepository, session: Session
) -> None:
    page = repository.list(limit=5)
    session.delete(repository.get(page.next))
    session.flush()
    assert repository.list(limit=1, after=page.next).items[0].content == "text 5"


def test_a_listed_row_is_light_unless_more_is_wanted(repository: DocumentRepository) -> None:
    item = repository.list(limit=1).items[0]
    assert isinstance(item, DocumentView)
    assert item.embedding is None
    items = repository.list(limit=5, include_embedding=True).items
    assert np.array_equal(items[1].embedding, random_vectors(25)[1])
    assert items[3].embedding is None
    entity = repository.list(limit=1, entities=True, include_embedding=True).items[0]
    assert "embedding" in entity.__dict__


def test_an_impossible_page_is_refused(repository: DocumentRepository) -> None:
    for options in ({"limit": 0}, {"limit": 10_001}, {"columns": ["nope"]}):
        with pytest.raises(SearchError):
            repository.list(**options)  # type: ignore[arg-type]


def test_facets_count_values_and_the_elements_of_lists(repository: DocumentRepository) -> None:
    assert repository.facets("source") == [Facet("a", 12), Facet("b", 12), Facet(None, 1)]
    assert repository.facets("source", {"meta.n": 1}) == [Facet("b", 1)]
    assert repository.facets("meta.tags") == [Facet("x", 16), Facet("y", 8), Facet(None, 1)]
    assert len(repository.facets("meta.n", limit=3)) == 3
    with pytest.raises(FilterError, match="unknown field"):
        repository.facets("nope")
    with pytest.raises(SearchError):
        repository.facets("source", limit=0)


def test_an_export_holds_everything_and_comes_in_batches(repository: DocumentRepository) -> None:
    rows = list(repository.export(batch_size=4))
    assert [row["content"] for row in rows] == [f"text {i}" for i in range(25)]
    assert np.array_equal(rows[1]["embedding"], random_vectors(25)[1])
    assert rows[3]["embedding"] is None
    assert {"key", "content", "source", "position", "meta", "language", "embedding"} <= rows[0].keys()
    assert [row["content"] for row in repository.export({"meta.n": {"$lt": 3}})] == ["text 1", "text 2"]


def test_reading_keeps_to_the_tenant(repository: DocumentRepository, session: Session) -> None:
    assert repository.count({"content": "not mine"}) == 0
    other = DocumentRepository(session, "listed", "another")
    assert [item.content for item in other.list().items] == ["not mine"]
    assert [row["content"] for row in other.export()] == ["not mine"]
    assert other.facets("source") == [Facet("a", 1)]
    nobody = DocumentRepository(session, "listed", "nobody")
    for use in (nobody.list, nobody.count, lambda: list(nobody.export()), lambda: nobody.facets("source")):
        with pytest.raises(CollectionNotFoundError):
            use()  # type: ignore[operator]


def test_any_mapped_class_is_listed_by_its_own_key(repository: DocumentRepository, session: Session) -> None:
    everything = VectorRepository(session, Document)
    first = everything.list({"source": {"$in": ["a", "b"]}}, limit=2)
    assert isinstance(first.next, tuple)
    second = everything.list({"source": {"$in": ["a", "b"]}}, limit=2, after=first.next)
    assert [item.content for item in (*first.items, *second.items)] == ["text 1", "text 2", "text 3", "text 4"]
    with pytest.raises(SearchError, match="2 values"):
        everything.list(after=(1, 2, 3))
