"""How near a passage must be, for the question to be worth a model's answer."""

from __future__ import annotations

from pgcorpus.models import Metric
from pgcorpus.services.retrieval import Retrieval

DEFAULT_MIN_SCORE = 0.2

# Cosine similarities of two models have no scale in common.
_MIN_SCORES = {
    "wordllama": 0.25,
    "text-embedding-ada-002": 0.72,
}


def default_min_score(model: str) -> float:
    """Return the cosine similarity under which nothing that was found is about the question.

    Args:
        model: The identity of an embedder.
    """
    return next((score for prefix, score in _MIN_SCORES.items() if model.startswith(prefix)), DEFAULT_MIN_SCORE)


def is_near_enough(retrieval: Retrieval, min_score: float | None) -> bool:
    """Say whether anything was found that may hold an answer.

    What a hybrid search finds by its words alone has no known similarity, but is no nearer than what the vectors'
    side found: so the best known one decides, and where none is known, the words do.

    Args:
        retrieval: What was found.
        min_score: The least score of the best; None for the embedder's default where the metric is cosine.
    """
    if min_score is None and retrieval.metric is Metric.COSINE:
        min_score = default_min_score(retrieval.embedder.model)
    known = [hit.score for hit in retrieval if hit.score is not None]
    return bool(retrieval) and (min_score is None or not known or max(known) >= min_score)
