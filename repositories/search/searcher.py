"""A nearest-neighbour search from request to hits: settings, statement, completion, order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, and_
from sqlalchemy.orm import Session

from pgcorpus.errors import SearchError
from pgcorpus.models import Metric
from pgcorpus.repositories.filters import Where, compile_filter
from pgcorpus.repositories.hits import Hit, Hits, row_maker
from pgcorpus.repositories.search import nearest
from pgcorpus.repositories.search.context import with_context
from pgcorpus.repositories.search.diversity import most_diverse
from pgcorpus.repositories.search.nearest import Shape
from pgcorpus.repositories.search.planning import Plan, plan_search, planned_anew
from pgcorpus.repositories.search.requests import Request
from pgcorpus.repositories.search.running import Line, fetch, open_line
from pgcorpus.repositories.search.settings import are_carried, search_settings
from pgcorpus.repositories.search.slow import is_slow, report, timeouts_told
from pgcorpus.repositories.target import SCOPE, Target
from pgcorpus.vectors import Array


@dataclass(frozen=True, slots=True)
class Scoped:
    """What a repository knows when a search begins.

    Attributes:
        parameters: Values of the scope's bound parameters.
        metric: The metric unless the request names one.
        language: The full-text language unless the request names one.
    """

    parameters: Mapping[str, Any]
    metric: Metric
    language: str


class Searcher:
    """Runs searches of one target in one session.

    Args:
        session: The repository's session.
        target: What is searched.
    """

    def __init__(self, session: Session, target: Target) -> None:
        self._session = session
        self._target = target

    def search(
        self, vector: Array, where: Where | None, request: Request, scoped: Scoped, *extra: ColumnElement[bool]
    ) -> Hits[Any]:
        """Return the nearest rows.

        Args:
            vector: Shape (dimensions,), checked.
            where: A filter.
            request: What else is asked for.
            scoped: The scope's parameters and metric.
            *extra: Conditions beside the filter.
        """
        condition = self.condition(where, *extra)
        parameters = {**scoped.parameters, nearest.QUERY: vector}
        with searching(self._session, self._target, request, scoped, is_filtered=condition is not None) as (line, plan):
            begun = perf_counter()
            found = _found(line, plan, parameters, condition)
            report_if_slow(line, begun, nearest.nearest, (plan.shape, condition), parameters, where, plan)
            hits = _hits(found.rows, plan, vector)
            if request.context:
                hits = with_context(line, self._target, hits, request.context, scoped.parameters)
        return Hits(hits, plan.shape.metric, **found.told(plan))

    def search_each(
        self, vectors: Sequence[Array], where: Where | None, request: Request, scoped: Scoped
    ) -> list[Hits[Any]]:
        """Return the nearest rows to each vector, in one round trip where no answer needs completing."""
        condition = self.condition(where)
        numbered = {f"{nearest.QUERY}_{i}": vector for i, vector in enumerate(vectors)}
        answers: list[Hits[Any]] = []
        prepare = condition is None
        with searching(self._session, self._target, request, scoped, is_filtered=not prepare) as (line, plan):
            arguments = (plan.shape, len(vectors))
            rows: list[list[Any]] = [[] for _ in vectors]
            parameters = {**scoped.parameters, **numbered}
            begun = perf_counter()
            for row in fetch(line, nearest.nearest_to_each, arguments, parameters, condition, prepare=prepare):
                rows[row[0]].append(row[1:])
            report_if_slow(line, begun, nearest.nearest_to_each, (*arguments, condition), parameters, where, plan)
            for vector, some in zip(vectors, rows, strict=True):
                one = {**scoped.parameters, nearest.QUERY: vector}
                found = _completed(line, some, plan.shape, one, condition)
                answers.append(Hits(_hits(found.rows, plan, vector), plan.shape.metric, **found.told(plan)))
        return answers

    def condition(self, where: Where | None, *extra: ColumnElement[bool]) -> ColumnElement[bool] | None:
        """Return a filter and further conditions as one.

        Raises:
            FilterError: The filter cannot be understood.
        """
        compiled = compile_filter(where, self._target.model)
        if not extra:
            return compiled
        return and_(*extra) if compiled is None else and_(compiled, *extra)

    def entities(
        self, vector: Array, where: Where | None, request: Request, scoped: Scoped, *extra: ColumnElement[bool]
    ) -> Hits[Any]:
        """Return the nearest rows as mapped objects of the session."""
        condition = self.condition(where, *extra)
        parameters = {**scoped.parameters, nearest.QUERY: vector}
        filtered = condition is not None
        with (
            searching(self._session, self._target, request, scoped, is_filtered=filtered, by_session=True) as (
                line,
                plan,
            ),
            self._session.no_autoflush,
        ):
            begun = perf_counter()
            found = self._found_entities(plan, parameters, condition)
            report_if_slow(line, begun, nearest.nearest_entities, (plan.shape, condition), parameters, where, plan)
            score = plan.shape.metric.score
            hits = _near_enough([Hit(entity, far, score(far)) for entity, far in found.rows], request.min_score)
            if request.context:
                hits = with_context(line, self._target, hits, request.context, scoped.parameters)
        return Hits(hits, plan.shape.metric, **found.told(plan))

    def _found_entities(
        self, plan: Plan, parameters: Mapping[str, Any], condition: ColumnElement[bool] | None
    ) -> _Found:
        shape = plan.shape
        rows = self._entity_rows(shape, parameters, condition)
        if shape.exact or len(rows) >= shape.limit:
            return _Found(rows, exact=shape.exact)
        return _Found(self._entity_rows(replace(shape, exact=True), parameters, condition), exact=True, complete=False)

    def _entity_rows(
        self, shape: Shape, parameters: Mapping[str, Any], condition: ColumnElement[bool] | None
    ) -> Sequence[Any]:
        statement = _entity_statement(shape) if condition is None else nearest.nearest_entities(shape, condition)
        return self._session.execute(statement, parameters).all()


class _Found(NamedTuple):
    """Rows, whether they are exact, and whether the first statement gave enough of them."""

    rows: Sequence[Any]
    exact: bool
    complete: bool = True

    def told(self, plan: Plan) -> dict[str, Any]:
        """Return what the hits tell of how they were found."""
        return {**plan.told(), "exact": self.exact, "complete": self.complete}


def _found(line: Line, plan: Plan, parameters: Mapping[str, Any], condition: ColumnElement[bool] | None) -> _Found:
    return _completed(line, _fetch(line, plan.shape, parameters, condition), plan.shape, parameters, condition)


def _fetch(line: Line, shape: Shape, parameters: Mapping[str, Any], condition: Any) -> Sequence[Any]:
    return fetch(line, nearest.nearest, (shape,), parameters, condition, prepare=condition is None)


def _completed(line: Line, rows: Sequence[Any], shape: Shape, parameters: Mapping[str, Any], condition: Any) -> _Found:
    """Return the rows, those of an exact scan if they are too few.

    An iterative scan stops at ``hnsw.max_scan_tuples``: only the exact scan knows that there are no more.
    """
    if shape.exact or len(rows) >= shape.limit:
        return _Found(rows, exact=shape.exact)
    return _Found(_fetch(line, replace(shape, exact=True), parameters, condition), exact=True, complete=False)


def _hits(rows: Sequence[Any], plan: Plan, vector: Array) -> list[Hit[Any]]:
    shape, request = plan.shape, plan.request
    if request.diversify is not None:
        near = [row for row in rows if _is_near(row[-1], shape.metric, request.min_score)]
        rows = _diversified(near, vector, request)
    hide = request.diversify is not None and not request.include_embedding
    names = shape.columns if hide else shape.names
    make, score, width = row_maker(names), shape.metric.score, len(names)
    hits = [Hit(make(*row[:width]), row[-1], score(row[-1])) for row in rows]
    return _near_enough(hits, request.min_score)


@contextmanager
def searching(
    session: Session,
    target: Target,
    request: Request,
    scoped: Scoped,
    *,
    is_filtered: bool,
    by_session: bool = False,
) -> Iterator[tuple[Line, Plan]]:
    """Plan a search and give it its settings.

    Args:
        session: The repository's.
        target: What is searched.
        request: What is asked for.
        scoped: The scope's parameters and metric.
        is_filtered: Whether a plan made for other values may be bad for these.
        by_session: Whether the statement goes through the session, whose driver may prepare it.
    """
    line = flushed_line(session, target)
    collection_id = scoped.parameters.get(SCOPE)
    plan = plan_search(line.connection, target, request, scoped.metric, collection_id, filtered=is_filtered)
    prepares = is_filtered and is_prepared(line, by_session=by_session)
    settings = planned_anew(plan.settings) if prepares else plan.settings
    if are_carried(line.connection, settings):  # asked here too: a context manager less for most searches
        yield line, plan
        return
    with timeouts_told(collection_id=collection_id, **_told(plan)), search_settings(line.connection, settings):
        yield line, plan


def _told(plan: Plan | None) -> dict[str, Any]:
    return {} if plan is None else {"k": plan.request.k, **plan.told()}


def report_if_slow(
    line: Line,
    begun: float,
    build: Callable[..., Any],
    arguments: tuple[Any, ...],
    parameters: Mapping[str, Any],
    where: Where | None,
    plan: Plan | None = None,
) -> None:
    """Log a search that took long, with its plan; inside its own settings.

    Args:
        line: The search's.
        begun: When, by ``perf_counter``.
        build: Makes the statement; called only where the search was slow.
        arguments: For that.
        parameters: Of the statement.
        where: The filter.
        plan: How the vectors were searched, if they were.
    """
    seconds = perf_counter() - begun
    if is_slow(seconds):
        told = {"collection_id": parameters.get(SCOPE), **_told(plan), "where": where}
        report(line.connection, build(*arguments), parameters, seconds, **told)


def flushed_line(session: Session, target: Target) -> Line:
    """Return what a search runs on, after what the session has pending: a search sees it, and must not undo it."""
    if session.autoflush:
        session.flush()
    return open_line(session, target.model)


def is_prepared(line: Line, *, by_session: bool = False) -> bool:
    """Return whether the driver may prepare a statement for values other than the next."""
    return (by_session or line.cursor is None) and line.connection.dialect.driver != "psycopg2"


@lru_cache(maxsize=128)
def _entity_statement(shape: Shape) -> Any:
    return nearest.nearest_entities(shape)


def _diversified(rows: Sequence[Any], vector: Array, request: Request) -> Sequence[Any]:
    """Return rows in the order of their choice; the embedding stands before the distance."""
    if not rows:
        return rows
    embeddings = np.stack([row[-2] for row in rows])
    chosen = most_diverse(vector, embeddings, request.wanted, request.diversify or 0.0)
    return [rows[i] for i in chosen[request.offset :]]


def _is_near(distance: float, metric: Metric, min_score: float | None) -> bool:
    return min_score is None or metric.score(distance) >= min_score


def _near_enough(hits: list[Hit[Any]], min_score: float | None) -> list[Hit[Any]]:
    return hits if min_score is None else [hit for hit in hits if hit.score >= min_score]


def only_plain(request: Request, method: str, *options: str) -> None:
    """Refuse options that a method has no use for.

    Raises:
        SearchError: One of them is given.
    """
    for option in options:
        if getattr(request, option):
            raise SearchError(f"{method} takes no {option}")
