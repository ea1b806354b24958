"""A source from its first passage to its last, and one document with all that is stored of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgcorpus.errors import CollectionNotFoundError, SearchError
from pgcorpus.integrations.explorer.asking import MAX_NAME, number, place
from pgcorpus.integrations.explorer.http import PageResponse
from pgcorpus.integrations.explorer.view import View
from pgcorpus.repositories import DocumentRepository, DocumentView
from pgcorpus.repositories.values import text_problem

PASSAGES = 20
_BEFORE = 5


def source_page(view: View) -> PageResponse:
    """Show the passages of a source in reading order."""
    source = _source(view)
    at = number(view.given.get("at"), "the document's number")
    with view.reading() as session:
        collection, repository = view.opened(session)
        passages = _passages(view, repository, source, at)
        if not passages:
            raise CollectionNotFoundError("there is no passage of that source here")
        first, last = passages[0], passages[-1]
        before, after = _around(repository, source, first, last)
    values: dict[str, Any] = {"source": source, "passages": passages, "at": at, "collection": collection}
    return view.render("source.html", earlier=before and _place(first), later=after and _place(last), **values)


def _passages(view: View, repository: DocumentRepository, source: str, at: int | None) -> Sequence[DocumentView]:
    """Return a page of passages: those before a place, or those behind one."""
    if (before := place(view.given.get("before"))) is not None:
        return repository.passages(source, limit=PASSAGES, before=before).items
    after = place(view.given.get("after"))
    if after is None and at is not None:
        after = _shortly_before(repository, source, at)
    return repository.passages(source, limit=PASSAGES, after=after).items


def _around(
    repository: DocumentRepository, source: str, first: Any, last: Any
) -> tuple[DocumentView | None, DocumentView | None]:
    """Return the passage before the first and the one behind the last."""
    before = repository.passages(source, limit=1, before=_key(first)).items
    after = repository.passages(source, limit=1, after=_key(last)).items
    return next(iter(before), None), next(iter(after), None)


def _shortly_before(repository: DocumentRepository, source: str, at: int) -> tuple[int | None, int] | None:
    """Return the place behind which a page begins that shows a document with some passages before it."""
    document = repository.get(at) if at else None
    if document is None or document.source != source:
        return None
    page = repository.passages(source, limit=_BEFORE + 1, before=_key(document))
    return _key(page.items[0]) if len(page.items) > _BEFORE else None


def document_page(view: View) -> PageResponse:
    """Show one document."""
    wanted = number(view.given.get("id"), "the document's number")
    with view.reading() as session:
        collection, repository = view.opened(session)
        document = view.document(repository, wanted)
        before = after = None
        if document.source is not None:
            before, after = _around(repository, document.source, document, document)
        values: dict[str, Any] = {"document": document, "before": before, "after": after, "collection": collection}
        return view.render("document.html", **values)


def _source(view: View) -> str:
    source = view.given.get("source", "")
    if not source or len(source) > MAX_NAME or text_problem(source):
        raise SearchError(f"source is the name of one, of at most {MAX_NAME:,} characters")
    return source


def _key(document: Any) -> tuple[int | None, int]:
    return document.position, document.id


def _place(document: DocumentView) -> str:
    return f"{'' if document.position is None else document.position}.{document.id}"
