"""The search page, and "more like this"."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.orm import Session

from pgcorpus.errors import EmbeddingModelMismatchError, PgCorpusError, SearchError
from pgcorpus.integrations.explorer.asking import number
from pgcorpus.integrations.explorer.embedding import Embedded, embedded
from pgcorpus.integrations.explorer.http import PageResponse, status_of
from pgcorpus.integrations.explorer.marking import Piece, beginning, marked_snippets
from pgcorpus.integrations.explorer.narrowing import Facets, facets
from pgcorpus.integrations.explorer.reading import at_most
from pgcorpus.integrations.explorer.view import View
from pgcorpus.models import Collection
from pgcorpus.repositories import DocumentRepository, DocumentView, Hit, HybridHit, TextHit

LISTED = 20
COUNT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """A document that was found, for the page.

    Attributes:
        rank: 1 for the first.
        document: The passage.
        snippet: Its best fragments.
        score: Similarity to the question; None where only words found it.
        distance: The same as a distance.
        fused: Of a hybrid search, what decides the order.
        vector_rank: Of a hybrid search, its rank by meaning.
        text_rank: Likewise by words.
        word_score: Of a search by words, what decides the order.
    """

    rank: int
    document: DocumentView
    snippet: Sequence[Piece] = ()
    score: float | None = None
    distance: float | None = None
    fused: float | None = None
    vector_rank: int | None = None
    text_rank: int | None = None
    word_score: float | None = None


@dataclass(slots=True)
class Found:
    """What a search came to.

    Attributes:
        results: The best first.
        mode: How it was searched, which may not be how it was asked for.
        notes: What a reader should know of that.
        how: Whether the nearest were looked up in an index or compared one by one; None for words.
        total: Documents that the filter leaves; None if they are too many to count in time.
        next: Of a list, where the next page begins.
        embed_ms: Time to embed the question; None if it was not.
        search_ms: Time in the database.
    """

    results: list[Result]
    mode: str
    notes: list[str] = field(default_factory=list)
    how: str | None = None
    total: int | None = None
    next: int | None = None
    embed_ms: float | None = None
    search_ms: float | None = None


def search_page(view: View) -> PageResponse:
    """Answer a question, or list documents where there is none."""
    with view.reading() as session:
        collections = view.collections(session)
    collection = view.chosen(collections)
    if collection is None:
        return view.render("nothing.html")
    view.ask = replace(view.ask, collection=collection.name)
    values: dict[str, Any] = {"collections": collections, "collection": collection}
    if view.ask.problems:
        return _search(view, 400, values, problem="The search was not run: see what is said at its fields.")
    try:
        found, around = _answered(view, collection)
    except PgCorpusError as exc:
        return _search(view, status_of(exc), values, problem=str(exc))
    return _search(view, 200, values, found=found, facets=around)


def _search(view: View, status: int, values: dict[str, Any], **more: Any) -> PageResponse:
    return view.render("search.html", status, **{"found": None, "facets": None, "problem": None} | values | more)


def _answered(view: View, collection: Collection) -> tuple[Found, Facets]:
    ask, where = view.ask, view.ask.filter()
    asked = Embedded() if not ask.question or ask.mode == "words" else embedded(view.site, ask.question, collection)
    with view.reading() as session:
        repository = view.repository(session, collection)
        found = _listed(view, repository, where) if not ask.question else _found(view, session, collection, asked)
        if not ask.question:
            found.total = _counted(session, repository, where)
        return found, facets(session, repository, ask, where)


def _listed(view: View, repository: DocumentRepository, where: Any) -> Found:
    after = number(view.given.get("after"), "the place in the list")
    # One more than is shown: whether there is another page.
    found = repository.list(where, limit=LISTED + 1, after=after).items
    results = [Result(i, each, beginning(each.content)) for i, each in enumerate(found[:LISTED], 1)]
    return Found(results, "list", next=found[LISTED - 1].id if len(found) > LISTED else None)


def _counted(session: Session, repository: DocumentRepository, where: Any) -> int | None:
    try:
        with at_most(session, COUNT_SECONDS):
            return repository.count(where)
    except PgCorpusError:
        return None


def _found(view: View, session: Session, collection: Collection, asked: Embedded) -> Found:
    notes = [asked.note] if asked.note else []
    started = time.perf_counter()
    try:
        found = _by(view, session, collection, asked)
    except EmbeddingModelMismatchError:
        # The model was switched since the page began.
        notes.append("The collection's embedding model was just switched: these are results by words.")
        found = _by(view, session, collection, Embedded())
    found.search_ms = (time.perf_counter() - started) * 1000
    found.notes, found.embed_ms = notes, asked.milliseconds
    documents = [each.document for each in found.results]
    snippets = marked_snippets(session, view.repository(session, collection), view.ask.question, documents)
    found.results = [replace(each, snippet=snippets[each.document.id]) for each in found.results]
    return found


def _by(view: View, session: Session, collection: Collection, asked: Embedded) -> Found:
    ask, where = view.ask, view.ask.filter()
    repository = view.repository(session, collection, asked.model)
    if asked.vector is None:
        texts = repository.search_text(ask.question, ask.hits, where=where, highlight=None)
        return Found([_of_text(i, each) for i, each in enumerate(texts, 1)], "words")
    if ask.mode == "hybrid":
        both = repository.search_hybrid(ask.question, asked.vector, ask.hits, where=where)
        return Found([_of_both(i, each) for i, each in enumerate(both, 1)], "hybrid")
    return _nearest(repository.search(asked.vector, ask.hits, where=where))


def _nearest(hits: Any) -> Found:
    if hits.exact:
        how = "exact: every document that the filter leaves was compared"
    elif hits.indexed:
        how = f"approximate: a vector index serves {hits.metric}"
    else:
        how = f"exact: no index serves {hits.metric}, every document was compared"
    return Found([_of_hit(i, each) for i, each in enumerate(hits, 1)], "meaning", how=how)


def _of_hit(rank: int, hit: Hit[DocumentView]) -> Result:
    return Result(rank, hit.document, score=hit.score, distance=hit.distance)


def _of_text(rank: int, hit: TextHit) -> Result:
    return Result(rank, hit.document, word_score=hit.score)


def _of_both(rank: int, hit: HybridHit) -> Result:
    return Result(
        rank,
        hit.document,
        score=hit.vector_score,
        distance=hit.distance,
        fused=hit.score,
        vector_rank=hit.vector_rank,
        text_rank=hit.text_rank,
    )


def like_page(view: View) -> PageResponse:
    """Show the documents nearest to one."""
    wanted = number(view.given.get("id"), "the document's number")
    if view.ask.problems:
        raise SearchError("; ".join(view.ask.problems.values()))
    with view.reading() as session:
        collection, repository = view.opened(session)
        document = view.document(repository, wanted)
        started = time.perf_counter()
        found = _nearest(repository.search_like(document.id, view.ask.hits, where=view.ask.filter()))
        found.search_ms = (time.perf_counter() - started) * 1000
        found.results = [replace(each, snippet=beginning(each.document.content)) for each in found.results]
        return view.render("like.html", document=document, found=found, collection=collection)
