"""A search told to who listens: what was asked, and how it was answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Literal, TypeVar

from pgcorpus.events import SearchEvent, emit, is_heard
from pgcorpus.repositories.hits import Hits
from pgcorpus.repositories.search.requests import Request

T = TypeVar("T", bound=Sequence[Any])

Kind = Literal["vector", "hybrid", "text", "many"]
# The collection's name and the tenant's; None of rows that are in none.
Names = tuple[str | None, str | None]


def told_search(kind: Kind, names: Names, request: Request, filtered: bool, run: Callable[[], T]) -> T:
    """Run a search, and tell of it if anybody listens.

    Args:
        kind: What is searched by.
        names: Of the collection and its tenant.
        request: What is asked for.
        filtered: Whether there is a filter.
        run: The search.
    """
    if not is_heard(SearchEvent):
        return run()
    begun = perf_counter()
    try:
        answer = run()
    except Exception as exc:
        emit(_event(kind, names, request, filtered, perf_counter() - begun, (), type(exc).__name__))
        raise
    emit(_event(kind, names, request, filtered, perf_counter() - begun, answer, None))
    return answer


def _event(
    kind: Kind,
    names: Names,
    request: Request,
    filtered: bool,
    seconds: float,
    answer: Sequence[Any],
    error: str | None,
) -> SearchEvent:
    answers = list(answer) if kind == "many" else [answer]
    hits = [each for each in answers if isinstance(each, Hits)]
    first = hits[0] if hits else None
    return SearchEvent(
        kind=kind,
        collection=names[0],
        tenant=names[1],
        k=request.k,
        rows=sum(map(len, answers)),
        seconds=seconds,
        filtered=filtered,
        exact=any(each.exact for each in hits) or request.exact,
        complete=all(each.complete for each in hits),
        indexed=bool(hits) and all(each.indexed for each in hits),
        form=first.form if first else None,
        ef_search=first.ef_search if first else None,
        recall=request.recall,
        error=error,
    )
