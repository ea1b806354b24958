"""Queries made of a collection's documents, for where nobody has kept real questions.

A document itself is no query: the graph leads from it straight to its neighbours, so that an index finds them all (at
``ef_search`` 20 a recall of .997, where new vectors of the same kind had .82). So each is turned away from its
document, towards a random mixture of others, until it is as far from it as the document is from its tenth nearest.
Made so, they come within .02 of new vectors on hard data, and are the harder ones on real texts (docs/tuning.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pgcorpus.models import Metric
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.calibrating.asking import Asker
from pgcorpus.services.calibrating.questions import Query
from pgcorpus.vectors import Array

# The neighbour that is as far away as the query is to be.
NEIGHBOUR = 10
# Documents that are mixed.
_MIXED = 128

# Places looked at, for each document wanted: some lead to one document, some to one without an embedding.
_ATTEMPTS = 4
_AT_ONCE = 50


def sampled_queries(
    asker: Asker,
    model: type[Any],
    size: int,
    seed: int,
    told: Callable[[int], object] = lambda _: None,
) -> list[Query]:
    """Return queries that are like a collection's documents, the same for the same seed and documents.

    Args:
        asker: Of the collection.
        model: The mapped document class.
        size: How many; fewer come of a small collection.
        seed: Of the random numbers.
        told: Told how many there are.
    """
    random = np.random.default_rng(seed)
    documents = _picked(asker, model, size, random)
    metric = asker.in_session(lambda session: Metric(asker.open(session).collection().distance))
    queries = []
    for vector in documents:
        near = asker.read(partial(_neighbour, vector=vector))
        towards = _direction(documents, vector, random)
        queries.append(Query(turned_away(vector, near, towards, metric)))
        told(len(queries))
    return queries


def _picked(asker: Asker, model: type[Any], size: int, random: np.random.Generator) -> list[Array]:
    """Return vectors of random documents: ids are looked up in the primary key, and no table is sorted."""
    low, high = asker.in_session(lambda session: _bounds(session, asker.open(session), model))
    if low is None or high is None:
        return []
    if high - low < size:
        places = list(range(low, high + 1))
    else:
        places = [int(place) for place in random.integers(low, high + 1, _ATTEMPTS * size)]
    found: dict[int, Array] = {}
    for start in range(0, len(places), _AT_ONCE):
        some = places[start : start + _AT_ONCE]
        for place, vector in asker.read(partial(_look_up, places=some)):
            if len(found) < size:
                found.setdefault(place, vector)
        if len(found) >= size:
            break
    return list(found.values())


def _bounds(session: Session, repository: DocumentRepository, model: type[Any]) -> tuple[int | None, int | None]:
    ids = select(func.min(model.id), func.max(model.id)).where(model.collection_id == repository.collection().id)
    low, high = session.execute(ids).one()
    return low, high


def _look_up(repository: DocumentRepository, places: Sequence[int]) -> list[tuple[int, Array]]:
    """Return the id and vector of the first document at each place or behind it, where it has one."""
    found = []
    for place in places:
        page = repository.list(after=place - 1 or None, limit=1, columns=("id",), include_embedding=True)
        found += [
            (item.id, item.embedding) for item in page.items if item.embedding is not None and item.embedding.any()
        ]
    return found


def _neighbour(repository: DocumentRepository, vector: Array) -> Array:
    """Return the vector of the tenth nearest other document; the document itself comes first."""
    hits = repository.search(vector, NEIGHBOUR + 1, columns=("id",), include_embedding=True)
    found: Array = hits[-1].document.embedding if hits else vector
    return found


def _direction(documents: Sequence[Array], vector: Array, random: np.random.Generator) -> Array:
    """Return a mixture of documents around their mean: it points anywhere that documents are, and to none of them."""
    chosen = random.choice(len(documents), min(_MIXED, len(documents)), replace=False)
    mixed = np.stack([documents[each] for each in chosen])
    direction = random.standard_normal(len(mixed), dtype=np.float32) @ (mixed - mixed.mean(axis=0))
    across: Array = direction - vector * (direction @ vector) / (vector @ vector)
    return across


def turned_away(vector: Array, near: Array, towards: Array, metric: Metric) -> Array:
    """Return a vector as far from another as that is from its neighbour.

    Args:
        vector: Shape (dimensions,).
        near: The neighbour.
        towards: A direction at right angles to the vector; a zero one leaves it as it is.
        metric: By angle, or by length.
    """
    length, step = np.linalg.norm(vector), np.linalg.norm(towards)
    if step <= 1e-6 * length:
        return vector
    unit = towards / step
    if metric in (Metric.L2, Metric.L1):
        return np.asarray(vector + unit * np.linalg.norm(near - vector), np.float32)
    cosine = np.clip(vector @ near / (length * np.linalg.norm(near)), 0.0, 1.0)
    return np.asarray(cosine * vector + np.sqrt(1 - cosine**2) * length * unit, np.float32)
