"""A nearest-neighbour search from request to hits: settings, statement, completion, order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

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
from pgcorpus.repositories.search.requests import Request
from pgcorpus.repositories.search.running import Line, fetch, open_line
from pgcorpus.repositories.search.settings import SearchSettings, are_carried, search_settings
from pgcorpus.repositories.target import Target
from pgcorpus.vectors import Array

_logger = logging.getLogger("pgcorpus")


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
        shape = shape_of(self._target, request, scoped.metric)
        condition = self.condition(where, *extra)
        parameters = {**scoped.parameters, nearest.QUERY: vector}
        with searching(self._session, self._target, request, is_filtered=condition is not None) as line:
            rows = _fetch(line, shape, parameters, condition)
            rows, exact = _completed(line, rows, shape, parameters, condition)
            hits = _hits(rows, shape, request, vector)
            if request.context:
                hits = with_context(line, self._target, hits, request.context, scoped.parameters)
        return Hits(hits, shape.metric, exact=exact, indexed=warn_if_unindexed(self._target, shape.metric))

    def search_each(
        self, vectors: Sequence[Array], where: Where | None, request: Request, scoped: Scoped
    ) -> list[Hits[Any]]:
        """Return the nearest rows to each vector, in one round trip where no answer needs completing."""
        shape = shape_of(self._target, request, scoped.metric)
        condition = self.condition(where)
        numbered = {f"{nearest.QUERY}_{i}": vector for i, vector in enumerate(vectors)}
        arguments = (shape, len(vectors))
        answers: list[Hits[Any]] = []
        indexed = warn_if_unindexed(self._target, shape.metric)
        with searching(self._session, self._target, request, is_filtered=condition is not None) as line:
            found: list[list[Any]] = [[] for _ in vectors]
            parameters = {**scoped.parameters, **numbered}
            prepare = condition is None
            for row in fetch(line, nearest.nearest_to_each, arguments, parameters, condition, prepare=prepare):
                found[row[0]].append(row[1:])
            for vector, some in zip(vectors, found, strict=True):
                one = {**scoped.parameters, nearest.QUERY: vector}
                rows, exact = _completed(line, some, shape, one, condition)
                hits = _hits(rows, shape, request, vector)
                answers.append(Hits(hits, shape.metric, exact=exact, indexed=indexed))
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
        shape = shape_of(self._target, request, scoped.metric)
        condition = self.condition(where, *extra)
        parameters = {**scoped.parameters, nearest.QUERY: vector}
        custom_plan = condition is not None
        with (
            searching(self._session, self._target, request, is_filtered=custom_plan, by_session=True) as line,
            self._session.no_autoflush,
        ):
            rows = self._entity_rows(shape, parameters, condition)
            exact = shape.exact
            if len(rows) < shape.limit and not exact:
                exact = True
                rows = self._entity_rows(replace(shape, exact=True), parameters, condition)
            score = shape.metric.score
            hits = _near_enough([Hit(entity, far, score(far)) for entity, far in rows], request.min_score)
            if request.context:
                hits = with_context(line, self._target, hits, request.context, scoped.parameters)
        return Hits(hits, shape.metric, exact=exact, indexed=warn_if_unindexed(self._target, shape.metric))

    def _entity_rows(
        self, shape: Shape, parameters: Mapping[str, Any], condition: ColumnElement[bool] | None
    ) -> Sequence[Any]:
        statement = _entity_statement(shape) if condition is None else nearest.nearest_entities(shape, condition)
        return self._session.execute(statement, parameters).all()


@lru_cache(maxsize=512)
def shape_of(target: Target, request: Request, metric: Metric) -> Shape:
    """Return the shape of a request's statement.

    Args:
        target: What is searched.
        request: What is asked for.
        metric: The metric unless the request names one.

    Raises:
        SearchError: A column is unknown.
    """
    columns = target.light_columns if request.columns is None else target.checked_columns(request.columns)
    names = tuple(name for name in columns if name != target.column)
    diverse = request.diversify is not None
    return Shape(
        target=target,
        columns=names,
        metric=request.metric or metric,
        limit=request.candidates // 2 if diverse else request.k,
        offset=0 if diverse else request.offset,
        candidates=request.candidates,
        exact=request.exact,
        embedding=request.include_embedding or diverse or len(names) < len(columns),
        group_by=request.group_by,
    )


def _fetch(line: Line, shape: Shape, parameters: Mapping[str, Any], condition: Any) -> Sequence[Any]:
    return fetch(line, nearest.nearest, (shape,), parameters, condition, prepare=condition is None)


def _completed(
    line: Line, rows: Sequence[Any], shape: Shape, parameters: Mapping[str, Any], condition: Any
) -> tuple[Sequence[Any], bool]:
    """Return the rows, those of an exact scan if they are too few, and whether they are exact.

    An iterative scan stops at ``hnsw.max_scan_tuples``: only the exact scan knows that there are no more.
    """
    if shape.exact or len(rows) >= shape.limit:
        return rows, shape.exact
    return _fetch(line, replace(shape, exact=True), parameters, condition), True


def _hits(rows: Sequence[Any], shape: Shape, request: Request, vector: Array) -> list[Hit[Any]]:
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
    session: Session, target: Target, request: Request, *, is_filtered: bool, by_session: bool = False
) -> Iterator[Line]:
    """Give a search its settings, after what the session has pending: a search sees it, and must not undo it.

    Args:
        session: The repository's.
        target: What is searched.
        request: What is asked for.
        is_filtered: Whether a plan made for other values may be bad for these.
        by_session: Whether the statement goes through the session, whose driver may prepare it.
    """
    if session.autoflush:
        session.flush()
    line = open_line(session, target.model)
    prepares = (by_session or line.cursor is None) and line.connection.dialect.driver != "psycopg2"
    settings = settings_of(target, request, custom_plan=is_filtered and prepares)
    if are_carried(line.connection, settings):  # asked here too: a context manager less for most searches
        yield line
        return
    with search_settings(line.connection, settings):
        yield line


@lru_cache(maxsize=512)
def settings_of(target: Target, request: Request, *, custom_plan: bool = False) -> SearchSettings:
    """Return the server's settings for a request."""
    probes = request.probes or target.probes()
    return SearchSettings(request.chosen_ef_search, probes, request.timeout, custom_plan)


@lru_cache(maxsize=128)
def warn_if_unindexed(target: Target, metric: Metric) -> bool:
    """Return whether an index is declared for the metric, and log once that each search is a full scan if not."""
    indexed = metric in target.indexed_metrics()
    if not indexed:
        table = target.model.__table__.fullname
        _logger.warning("no index of %s.%s serves the metric %s: searches scan it all", table, target.column, metric)
    return indexed


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
