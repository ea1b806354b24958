"""A question is answered where the nearest passage is near enough for the embedder that was used."""

from __future__ import annotations

import numpy as np
import pytest

from pgcorpus.models import Metric
from pgcorpus.services.answering.thresholds import default_min_score, is_near_enough
from pgcorpus.services.retrieval import Retrieval
from tests.support.embedder import CountingEmbedder
from tests.support.passages import hit


def found(*scores: float | None, model: str = "some-model", metric: Metric = Metric.COSINE) -> Retrieval:
    hits = [hit(f"text {score}", score) for score in scores]
    return Retrieval(hits, metric, CountingEmbedder(model), np.ones(8, np.float32), {"embed": 0.0, "search": 0.0})


@pytest.mark.parametrize(
    ("retrieval", "min_score", "answered"),
    [
        (found(), None, False),
        (found(), -1, False),
        (found(0.21), None, True),
        (found(0.19), None, False),
        (found(0.19), 0.1, True),
        (found(0.1, 0.3), None, True),
        (found(0.26, model="wordllama-l2-supercat-256"), None, True),
        (found(0.24, model="wordllama-l2-supercat-256"), None, False),
        (found(0.6, model="text-embedding-ada-002"), None, False),
        (found(None, 0.1), None, False),
        (found(None, 0.3), None, True),
        (found(None, None), None, True),
        (found(0.01, metric=Metric.L2), None, True),
        (found(0.01, metric=Metric.L2), 0.02, False),
    ],
)
def test_the_best_known_score_decides_and_where_none_is_known_the_words_do(
    retrieval: Retrieval, min_score: float | None, answered: bool
) -> None:
    assert is_near_enough(retrieval, min_score) is answered


def test_an_embedder_that_is_not_known_has_a_threshold_too() -> None:
    assert default_min_score("somebody's") == default_min_score("text-embedding-3-small") == 0.2
