"""Searching by words, and by words and vectors at once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from pgcorpus.errors import CollectionNotFoundError, FilterError, SearchError, VectorError
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository
from tests.support.vectors import random_vectors, unit

TEXTS = {
    "vacuum": "VACUUM reclaims storage occupied by dead tuples. Run vacuum often.",
    "analyze": "ANALYZE collects statistics about the contents of tables.",
    "both": "Vacuum and analyze can be run together; autovacuum does it.",
    "bloat": "An index grows: bloat comes of dead rows that nothing reclaims.",
    "python": "Python is a programming language, running everywhere.",
}


@pytest.fixture
def repository(session: Session) -> DocumentRepository:
    repository = DocumentRepository(session, "texts")
    repository.add_many(
        [
            Document(key=key, content=content, meta={"n": n, "short": len(content) < 60}, embedding=unit(n))
            for n, (key, content) in enumerate(TEXTS.items())
        ]
    )
    return repository


def keys(hits: Any) -> list[str]:
    return [hit.document.key for hit in hits]


# Words


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("vacuum", {"vacuum", "both"}),
        ("vacuum analyze", {"both"}),
        ("vacuum or statistics", {"vacuum", "both", "analyze"}),
        ("vacuum -autovacuum", {"vacuum"}),
        ('"dead rows"', {"bloat"}),
        ("reclaiming", {"vacuum", "bloat"}),
        ("the", set()),
        ("", set()),
        ("'; DROP TABLE documents; --", set()),
    ],
)
def test_a_query_is_read_as_web_searches_are(repository: DocumentRepository, query: str, expected: set[str]) -> None:
    hits = repository.search_text(query)
    assert set(keys(hits)) == expected
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_words_found_are_highlighted(repository: DocumentRepository) -> None:
    snippet = repository.search_text('"dead rows"')[0].snippet
    assert snippet is not None
    assert "**dead** **rows**" in snippet
    marked = repository.search_text('"dead rows"', highlight=("<mark>", "</mark>"))[0].snippet
    assert marked is not None
    assert "<mark>dead</mark>" in marked
    assert repository.search_text("vacuum", highlight=None)[0].snippet is None
    with pytest.raises(SearchError, match="without quotes"):
        repository.search_text("vacuum", highlight=('<b class="x">', "</b>"))


def test_a_text_search_takes_a_filter_and_pages(repository: DocumentRepository) -> None:
    assert keys(repository.search_text("vacuum", where={"meta.n": {"$gt": 1}})) == ["both"]
    whole = keys(repository.search_text("vacuum or analyze"))
    assert keys(repository.search_text("vacuum or analyze", 1, offset=1)) == whole[1:2]
    with pytest.raises(FilterError):
        repository.search_text("vacuum", where={"nothing": 1})


def test_the_language_is_the_collections_unless_another_is_named(session: Session) -> None:
    german = DocumentRepository(session, "deutsch", language="german")
    german.add(Document(content="Die Häuser der Stadt", language="german", embedding=unit(0)))
    assert len(german.search_text("Haus")) == 1
    assert len(german.search_text("Häuser")) == 1
    assert len(german.search_text("Häuser", language="english")) == 0
    assert len(german.search_text("Stadt", language="klingon")) == 1, "an unknown language stems nothing"
    assert len(german.search_hybrid("Haus", unit(1))) == 1
    assert german.search_hybrid("Haus", unit(1))[0].text_rank == 1


@pytest.mark.parametrize("query", ["a\0b", "\ud800", "x" * 100_001])
def test_a_query_that_cannot_be_sent_is_refused(repository: DocumentRepository, query: str) -> None:
    with pytest.raises(SearchError, match="the query"):
        repository.search_text(query)
    with pytest.raises(SearchError, match="the query"):
        repository.search_hybrid(query, unit(0))


# Both


def test_the_fusion_is_its_definition(repository: DocumentRepository) -> None:
    vector = unit(0) + 0.5 * unit(4) + 0.1 * unit(1)
    hits = repository.search_hybrid("how does vacuum reclaim dead rows", vector, weights=(3, 2), rrf_k=7)
    by_vector = keys(repository.search(vector, 10))
    for hit in hits:
        assert hit.vector_rank == by_vector.index(hit.document.key) + 1
        expected = 3 / (7 + hit.vector_rank) + (2 / (7 + hit.text_rank) if hit.text_rank else 0)
        assert hit.score == pytest.approx(expected)
        assert hit.vector_score == pytest.approx(1 - (hit.distance or 0))
        assert (hit.text_score is None) == (hit.text_rank is None)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {hit.document.key for hit in hits if hit.text_rank} == {"vacuum", "both", "bloat"}


def test_the_text_side_takes_any_of_the_words(repository: DocumentRepository) -> None:
    """All of a question's words stand in no passage."""
    question = "where does the bloat of an index come from in winter"
    assert repository.search_text(question) == []
    ranks = {hit.document.key: hit.text_rank for hit in repository.search_hybrid(question, unit(700) + unit(2))}
    assert ranks["bloat"] == 1


def test_a_hybrid_search_is_one_statement(repository: DocumentRepository, session: Session) -> None:
    repository.search_hybrid("vacuum", unit(0), 3)
    sent: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", record := lambda *args: sent.append(args[2]))
    try:
        # No more candidates than any graph finds: where a scan of the index gives up early, an exact one follows.
        repository.search_hybrid("vacuum", unit(0), 1, where={"meta.n": {"$gte": 0}}, candidates=1)
    finally:
        event.remove(session.get_bind(), "before_cursor_execute", record)
    assert len(sent) == 1


def test_a_second_query_is_not_answered_with_the_firsts_words(repository: DocumentRepository) -> None:
    """A peer keeps the first query's text in a shared configuration for ever."""
    for word, key in (("programming", "python"), ("statistics", "analyze"), ("bloat", "bloat")):
        hits = repository.search_hybrid(word, unit(0), weights=(0, 1))
        assert hits[0].document.key == key
        assert hits[0].text_rank == 1, "ranks begin at 1"


def test_both_sides_are_filtered(repository: DocumentRepository) -> None:
    where = {"meta.n": {"$in": [1, 4]}}
    assert set(keys(repository.search_hybrid("vacuum", unit(0), where=where))) == {"analyze", "python"}


def test_a_hybrid_search_is_never_short(session: Session) -> None:
    from sqlalchemy import text

    repository = DocumentRepository(session)
    vectors = random_vectors(600)
    repository.add_many(
        [Document(content=f"word{i % 7}", meta={"tenth": i % 60 == 0}, embedding=v) for i, v in enumerate(vectors)]
    )
    session.execute(
        text(
            "SET LOCAL hnsw.max_scan_tuples = 1; SET LOCAL enable_seqscan = off; "
            "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
        )
    )
    hits = repository.search_hybrid("nothing", vectors[0], 10, where={"meta.tenth": True}, ef_search=1)
    assert len(hits) == 10
    whole = repository.search_hybrid("word1 word2", vectors[0], 20)
    pages = [repository.search_hybrid("word1 word2", vectors[0], 10, offset=n, candidates=80) for n in (0, 10)]
    assert keys(repository.search_hybrid("word1 word2", vectors[0], 20, candidates=80)) == keys(whole)
    assert [key for page in pages for key in keys(page)] == keys(whole)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": (1,)}, "two numbers"),
        ({"weights": (-1, 2)}, "a weight must be"),
        ({"weights": (0, 0)}, "more than 0"),
        ({"weights": (float("nan"), 1)}, "a weight must be"),
        ({"rrf_k": -1}, "rrf_k must be"),
        ({"candidates": 0}, "candidates must be"),
        ({"k": 0}, "k must be"),
    ],
)
def test_an_impossible_fusion_is_refused(repository: DocumentRepository, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SearchError, match=words):
        repository.search_hybrid("vacuum", unit(0), **options)
    with pytest.raises(VectorError):
        repository.search_hybrid("vacuum", [1.0])


def test_text_and_hybrid_keep_to_their_collection_and_tenant(session: Session) -> None:
    for tenant in ("a", "b"):
        DocumentRepository(session, "c", tenant).add(Document(content=f"secret of {tenant}", embedding=unit(0)))
    mine = DocumentRepository(session, "c", "a")
    assert [hit.document.content for hit in mine.search_text("secret")] == ["secret of a"]
    assert [hit.document.content for hit in mine.search_hybrid("secret", unit(0))] == ["secret of a"]
    with pytest.raises(CollectionNotFoundError):
        DocumentRepository(session, "c", "nobody").search_text("secret")
