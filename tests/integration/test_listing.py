"""Reading without a vector: pages, facets, exports, counts, in the one filter language."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from pgcorpus.errors import CollectionNotFoundError, FilterError, SearchError
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository, DocumentView, Facet, Figures, SampledKey, VectorRepository
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


def test_passages_come_in_reading_order_whatever_the_order_of_writing(session: Session) -> None:
    repository = DocumentRepository(session, "read")
    repository.add_many(
        [
            Document(content=name, source="book", position=position)
            for name, position in [("c", 3), ("last", None), ("a", 1), ("b2", 2), ("b1", 2), ("later", None)]
        ]
        + [Document(content="of another", source="other", position=1)]
    )
    first = repository.passages("book", limit=4)
    assert [view.content for view in first.items] == ["a", "b2", "b1", "c"]
    second = repository.passages("book", limit=4, after=json.loads(json.dumps(first.next)))
    assert ([view.content for view in second.items], second.next) == (["last", "later"], None)
    back = repository.passages("book", limit=3, before=(None, second.items[1].id))
    assert [view.content for view in back.items] == ["b1", "c", "last"]
    earlier = repository.passages("book", limit=3, before=back.next)
    assert ([view.content for view in earlier.items], earlier.next) == (["a", "b2"], None)
    assert repository.passages("no such book").items == ()
    for source, options in (
        *[("book", {"limit": 0}), ("a\0", {}), ("\ud800", {}), (None, {})],
        *[("book", {"after": each}) for each in ((1,), 5, "ab", ("x", 1), (None, None), (2**31, 1), (1, 2**63))],
    ):
        with pytest.raises(SearchError):
            repository.passages(source, **options)  # type: ignore[arg-type]


def test_the_keys_of_a_sample_are_counted_with_their_values(repository: DocumentRepository) -> None:
    assert repository.fields() == [SampledKey("n", 24, 24), SampledKey("tags", 24, 3)]
    assert sum(seen.count for seen in repository.fields(sample=5)) <= 10
    assert len(repository.fields(limit=1)) == 1
    for options in ({"sample": 0}, {"sample": 100_001}, {"limit": 0}):
        with pytest.raises(SearchError):
            repository.fields(**options)


def test_figures_tell_what_waits_for_its_embedding(repository: DocumentRepository, session: Session) -> None:
    size = sum(len(f"text {i}") for i in range(25))
    assert repository.figures() == Figures(documents=25, embedded=24, sources=2, content_bytes=size)
    DocumentRepository(session, "none").ensure_collection()
    assert DocumentRepository(session, "none").figures() == Figures(0, 0, 0, 0)


def test_snippets_highlight_any_word_in_every_form_of_it(session: Session) -> None:
    repository = DocumentRepository(session, "words")
    added = repository.add_many(
        [Document(content="He was running late"), Document(content="An apple"), Document(content="x")]
    )
    ids = [document.id for document in added]
    snippets = repository.snippets("who runs for apples", ids[:2], highlight=("[", "]"))
    assert snippets == {ids[0]: "[running] late", ids[1]: "[apple]"}
    assert DocumentRepository(session, "words").snippets("x", []) == {}
    for wrong in (0, 2**63, "a", True):
        with pytest.raises(SearchError, match="document's id"):
            repository.snippets("apple", [wrong])  # type: ignore[list-item]
