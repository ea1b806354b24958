"""Whether the server would go by the index: its plan of the very statement that a search sends, and what keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from pgcorpus.errors import SearchTimeoutError
from pgcorpus.models import Document, Metric
from pgcorpus.repositories.indexes import forget_indexes
from pgcorpus.repositories.search import nearest
from pgcorpus.repositories.search.explanation import expected
from pgcorpus.repositories.search.planning import Plan, plan_search, planned_anew
from pgcorpus.repositories.search.requests import Request
from pgcorpus.repositories.search.settings import search_settings
from pgcorpus.repositories.target import SCOPE, SEEN, make_target
from pgcorpus.repositories.transactions import execute_batch
from pgcorpus.services.doctor.facts import Facts, LargeCollection, Planned

_K = 10
# Seconds: to plan a search takes a millisecond, unless somebody has locked the table since it was looked at.
_PATIENCE = 5.0

_CURRENT = text("SELECT current_setting(:name)")

# Settings that keep the planner from an index, each with PostgreSQL's default; of the last, which was made for disks
# that turn, with what is usual for others.
CAUSES = (
    ("enable_indexscan", "on"),
    ("cpu_operator_cost", "0.0025"),
    ("cpu_index_tuple_cost", "0.005"),
    ("cpu_tuple_cost", "0.01"),
    ("seq_page_cost", "1"),
    ("random_page_cost", "1.1"),
)


def read_plan(connection: Connection, facts: Facts) -> Planned | None:
    """Return how the server would answer a search of the largest collection that an index serves; it is not run.

    Args:
        connection: In a transaction, or in AUTOCOMMIT.
        facts: With the large collections and the indexes.
    """
    collection = next((each for each in facts.large if _is_served(facts, each)), None)
    if collection is None:
        return None
    forget_indexes(connection)  # they may have been seen half a minute ago
    target = make_target(Document, scoped=True)
    request = Request(_K, timeout=_PATIENCE)
    metric = Metric(collection.metric)
    search = plan_search(connection, target, request, metric, collection.collection_id, filtered=False)
    try:
        # Undone at its end, for it has a timeout.
        with search_settings(connection, planned_anew(search.settings)):
            return _planned(connection, search, collection)
    except SearchTimeoutError:
        return None


def _is_served(facts: Facts, collection: LargeCollection) -> bool:
    metric = Metric(collection.metric)
    return any(index.serves("embedding", metric, collection.collection_id) for index in facts.vector_indexes)


def _planned(connection: Connection, search: Plan, collection: LargeCollection) -> Planned:
    statement = nearest.nearest(search.shape)
    query = np.ones(search.shape.target.dimensions or 1, dtype=np.float32)
    parameters = {SCOPE: collection.collection_id, SEEN: "", nearest.QUERY: query}
    index, cost = expected(connection, statement, parameters)
    if index is not None:
        return Planned(collection, index, cost)
    return Planned(collection, None, cost, _cause(connection, statement, parameters))


def _cause(connection: Connection, statement: Any, parameters: dict[str, Any]) -> tuple[str, str, str] | None:
    """Return the one setting that keeps the planner from the index; None where it is none of those known."""
    for name, value in CAUSES:
        current = str(connection.scalar(_CURRENT, {"name": name}))
        if current == value:
            continue
        with _set(connection, name, value):
            index, _ = expected(connection, statement, parameters)
        if index is not None:
            return name, current, value
    return None


@contextmanager
def _set(connection: Connection, name: str, value: str) -> Iterator[None]:
    """Have a setting of ``CAUSES`` for a while; what fails meanwhile is undone by who began the search."""
    execute_batch(connection, ["SAVEPOINT pgcorpus_cause", f"SET LOCAL {name} = {value}"])
    yield
    execute_batch(connection, ["ROLLBACK TO SAVEPOINT pgcorpus_cause", "RELEASE SAVEPOINT pgcorpus_cause"])
