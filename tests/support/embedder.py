"""An embedder for tests: the same text, the same vector; it counts what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pgcorpus.services.embedding.base import Vectors
from tests.support.openai_server import embedding_of


class CountingEmbedder:
    """Gives every text a random unit vector of its own, and remembers the texts.

    Args:
        model: Its identity.
        dimensions: Its native length.
        before: Called with the texts of each call, before they are answered.
    """

    def __init__(
        self, model: str = "counting", dimensions: int = 8, before: Callable[[Sequence[str]], None] | None = None
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self.batch_size = 16
        self.texts: list[str] = []
        self._before = before or (lambda _: None)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector for each text."""
        self._before(texts)
        self.texts += texts
        return np.stack([embedding_of(text, self.dimensions) for text in texts])
