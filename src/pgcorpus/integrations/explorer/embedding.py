"""A question as a vector, or the reason why there is none: the page then searches by words."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pgcorpus.errors import ConfigError, EmbeddingError
from pgcorpus.integrations.explorer.view import Site
from pgcorpus.models import Collection
from pgcorpus.services.embedding import pad
from pgcorpus.services.embedding.base import Vectors, check_embeddings

_INSTEAD = "These are results by words."


@dataclass(frozen=True, slots=True)
class Embedded:
    """An embedded question.

    Attributes:
        vector: Shape (dimensions of the column,); None if there is none.
        model: The model that made it.
        note: Why there is none.
        milliseconds: Time it took.
    """

    vector: Vectors | None = None
    model: str | None = None
    note: str | None = None
    milliseconds: float | None = None


def embedded(site: Site, question: str, collection: Collection) -> Embedded:
    """Return a question as the collection's model embeds it."""
    if collection.embedding_model is None:
        return Embedded(note=f"The collection has no embeddings yet. {_INSTEAD}")
    fitting = [each for each in site.embedders if each.model == collection.embedding_model]
    if not fitting:
        return Embedded(note=f"No embedder here is {collection.embedding_model}, the collection's. {_INSTEAD}")
    started = time.perf_counter()
    try:
        vector = _vector(fitting[0], question)
    except (EmbeddingError, ConfigError) as exc:
        return Embedded(note=f"The question could not be embedded: {exc}. {_INSTEAD}")
    return Embedded(vector, collection.embedding_model, None, (time.perf_counter() - started) * 1000)


def _vector(embedder: Any, question: str) -> Vectors:
    answer = embedder.embed([question])
    (vector,) = check_embeddings(answer, 1, np.size(answer[:1]))
    padded: Vectors = pad(vector)
    return padded
