"""What is settled before a search is sent: the index it goes by, and its settings."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection

from pgcorpus.errors import SearchError
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Metric
from pgcorpus.repositories.indexes import Serving, serving
from pgcorpus.repositories.search.nearest import Shape
from pgcorpus.repositories.search.recall import Setting, setting_for
from pgcorpus.repositories.search.requests import Request
from pgcorpus.repositories.search.settings import SearchSettings
from pgcorpus.repositories.target import Target
from pgcorpus.tuning import SCANS

_logger = logging.getLogger("pgcorpus")


class Plan(NamedTuple):
    """A search with nothing left to be decided.

    Attributes:
        request: What is asked for, with the setting chosen for a recall.
        serving: The index there is for it.
        shape: Of the statement.
        settings: The server's.
    """

    request: Request
    serving: Serving
    shape: Shape
    settings: SearchSettings

    @property
    def indexed(self) -> bool:
        """Whether an index serves the metric."""
        return self.serving.form is not None

    @property
    def form(self) -> IndexForm | None:
        """Of the index that is asked."""
        return None if self.request.exact else self.serving.form

    def told(self) -> dict[str, Any]:
        """Return what hits tell of how they were found."""
        asks_hnsw = self.form is not None and self.serving.lists is None
        ef_search = self.request.chosen_ef_search if asks_hnsw else None
        return {"indexed": self.indexed, "form": self.form, "ef_search": ef_search}


def plan_search(
    connection: Connection,
    target: Target,
    request: Request,
    metric: Metric,
    collection_id: int | None,
    *,
    filtered: bool,
) -> Plan:
    """Return what a search goes by, as this process last saw the database.

    Args:
        connection: The search's.
        target: What is searched.
        request: What is asked for.
        metric: The metric unless the request names one.
        collection_id: The collection searched; None for a whole table.
        filtered: Whether there is a filter.

    Raises:
        SearchError: There is no index of the form asked for.
    """
    chosen = request.metric or metric
    table = _table_of_vectors(target)
    found = serving(connection, table, target.column_name, target.dimensions, chosen, collection_id, request.form)
    if found.form is None:
        _without_index(target, chosen, request, found)
    if request.recall is None:
        return _planned(target, request, chosen, found)
    setting = setting_for(
        connection, target.table, collection_id, request.recall, request.wanted, found, filtered=filtered
    )
    return _planned(target, request, chosen, found, setting)


@lru_cache(maxsize=256)
def _table_of_vectors(target: Target) -> Any:
    """The table that the vectors and their index are in: of an inheriting class it may be its parent's."""
    return target.vector.property.columns[0].table


@lru_cache(maxsize=512)
def _planned(target: Target, request: Request, metric: Metric, found: Serving, setting: Setting | None = None) -> Plan:
    """Each search of a program is planned once for each index it may meet."""
    given = {} if setting is None else {**setting._asdict(), "recall": None}
    exact = request.exact or given.get("exact", False)
    settled = replace(request, **{**given, "metric": metric, "form": None if exact else found.form})
    return Plan(settled, found, shape_of(target, settled), settings_of(settled, found.lists))


def _without_index(target: Target, metric: Metric, request: Request, found: Serving) -> None:
    if request.form is not None:
        raise SearchError(
            f"no valid index of the form {request.form} serves {metric} on {_name(target)}: build it with `pgcorpus "
            f"index build --form {request.form}`, or leave form out"
        )
    if not (request.exact or found.elsewhere):
        _warn_once(target, metric)


@lru_cache(maxsize=128)
def _warn_once(target: Target, metric: Metric) -> None:
    _logger.warning(
        "no index of %s.%s serves the metric %s: searches scan it all", _name(target), target.column, metric
    )


def _name(target: Target) -> str:
    return str(getattr(target.table, "fullname", target.model.__name__))


def shape_of(target: Target, request: Request) -> Shape:
    """Return the shape of a request's statement.

    Args:
        target: What is searched.
        request: What is asked for, with its metric and form settled.

    Raises:
        SearchError: A column is unknown.
    """
    columns = target.light_columns if request.columns is None else target.checked_columns(request.columns)
    names = tuple(name for name in columns if name != target.column)
    diverse = request.diversify is not None
    return Shape(
        target=target,
        columns=names,
        metric=request.metric or Metric.COSINE,
        limit=request.diverse_among if diverse else request.k,
        offset=0 if diverse else request.offset,
        candidates=request.candidates,
        exact=request.exact,
        embedding=request.include_embedding or diverse or len(names) < len(columns),
        group_by=request.group_by,
        form=request.form or IndexForm.VECTOR,
    )


def settings_of(request: Request, lists: int | None) -> SearchSettings:
    """Return the server's settings for a request.

    Args:
        request: What is asked for.
        lists: Of an IVFFlat index: its root is where to begin with the probes (pgvector README, "IVFFlat").
    """
    probes = request.probes or (None if lists is None else max(1, round(lists**0.5)))
    scan = SCANS[0] if request.scan is None else request.scan
    return SearchSettings(request.chosen_ef_search, probes, request.timeout, scan=scan)


@lru_cache(maxsize=512)
def planned_anew(settings: SearchSettings) -> SearchSettings:
    """Return settings with which the server plans a prepared statement for its values."""
    return replace(settings, custom_plan=True)
