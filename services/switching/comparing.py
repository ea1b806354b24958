"""Two models compared on the same questions: what the index finds, how fast, and how alike the answers are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Engine

from pgcorpus.database import session_factory
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.switching.sampling import sampled_vectors
from pgcorpus.services.switching.reports import Progress, Stage
from pgcorpus.vectors import Array

K = 10
# Equal distances, computed in another order, differ by this much.
_EQUAL = 1e-5


class Question(NamedTuple):
    """A query as each of the models sees it.

    Attributes:
        old: Its vector by the old model.
        new: Its vector by the new model.
        id: Of a document that asks for others like itself; not an answer.
    """

    old: Array
    new: Array
    id: int | None = None


class Side(NamedTuple):
    """A collection that is asked: its name, its model, and which vector of a question is its own."""

    name: str
    embedding_model: str | None
    vector: Callable[[Question], Array]


@dataclass(frozen=True, slots=True)
class Measured:
    """How one collection answered.

    Attributes:
        recall: The share of the ten nearest that the index found, 0 to 1.
        p50: The median of a search's time, in milliseconds.
        p95: The time that 95 % of the searches took at most.
    """

    recall: float
    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the old and the new model answered the same questions.

    Attributes:
        questions: How many were asked.
        old: The old model.
        new: The new model.
        overlap: The share of the ten answers that they have in common, 0 to 1.
    """

    questions: int
    old: Measured
    new: Measured
    overlap: float


class _Answer(NamedTuple):
    ids: frozenset[int]
    recall: float
    milliseconds: float


class Comparer:
    """Asks two collections the same questions.

    Args:
        engine: The database.
        tenant: Whose collections.
        model: The mapped document class.
        notify: Told of every question.
    """

    def __init__(self, engine: Engine, tenant: str, model: type[Any], notify: Callable[[Progress], object]) -> None:
        self._engine = engine
        self._tenant = tenant
        self._model = model
        self._notify = notify

    def sample(self, old_id: int, new_id: int, size: int) -> list[Question]:
        """Return documents as questions, by the vectors that are stored of them: nothing is embedded."""
        with self._engine.connect() as connection:
            return [Question(*row) for row in sampled_vectors(connection, self._model, old_id, new_id, size)]

    def compare(self, old: Side, new: Side, questions: Sequence[Question]) -> Comparison:
        """Return how the collections answer, asked in turns; at least one question."""
        found: dict[str, list[_Answer]] = {old.name: [], new.name: []}
        for side in (old, new):
            self._ask(side, questions[0])  # who comes first would pay for connecting and planning
        for number, question in enumerate(questions):
            for side in (old, new) if number % 2 else (new, old):
                found[side.name].append(self._ask(side, question))
            self._notify(Progress(Stage.COMPARING, number + 1, len(questions)))
        olds, news = found[old.name], found[new.name]
        shares = [_overlap(*pair) for pair in zip(olds, news, strict=True)]
        return Comparison(len(questions), _measured(olds), _measured(news), float(np.mean(shares)))

    def _ask(self, side: Side, question: Question) -> _Answer:
        with session_factory(self._engine)() as session:
            repository = DocumentRepository(
                session,
                side.name,
                self._tenant,
                embedding_model=side.embedding_model,
                model=self._model,
                column="embedding",
            )
            search = partial(repository.search, side.vector(question), K + 1, columns=("id",))
            started = time.perf_counter()
            hits = search()
            elapsed = (time.perf_counter() - started) * 1000
            exact = search(exact=True)
        near = [hit for hit in hits if hit.document.id != question.id][:K]
        nearest = [hit.distance for hit in exact if hit.document.id != question.id][:K]
        return _Answer(frozenset(hit.document.id for hit in near), _recall(near, nearest), elapsed)


def _recall(near: Sequence[Any], nearest: Sequence[float]) -> float:
    """By distance: of equally distant documents any will do."""
    if not nearest:
        return 1.0
    within = nearest[-1] + _EQUAL * (1 + abs(nearest[-1]))
    found = sum(1 for hit in near if hit.distance <= within)
    return found / len(nearest)


def _overlap(one: _Answer, other: _Answer) -> float:
    most = max(len(one.ids), len(other.ids))
    return len(one.ids & other.ids) / most if most else 1.0


def _measured(answers: Sequence[_Answer]) -> Measured:
    times = [answer.milliseconds for answer in answers]
    p50, p95 = np.percentile(times, [50, 95])
    return Measured(float(np.mean([answer.recall for answer in answers])), float(p50), float(p95))
