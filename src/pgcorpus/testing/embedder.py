"""Vectors of words, without a model: the same on every machine and in every run."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence

import numpy as np

from pgcorpus.errors import ConfigError
from pgcorpus.services.embedding import check_embeddings, check_texts
from pgcorpus.services.embedding.base import Vectors

_WORD = re.compile(r"\w+")


class HashEmbedder:
    """Embeds a text as the bag of its words: texts that share words are near each other.

    Each word adds 1 or -1 at a place that its hash names (Weinberger et al., "Feature Hashing for Large Scale
    Multitask Learning", 2009); vectors have length 1. It knows no meaning: "car" and "automobile" are strangers.

    Args:
        dimensions: The length of a vector. The fewer, the more words share a place.
        model: The identity stored with a collection; ``testing-hash-DIMENSIONS`` unless given.

    Attributes:
        texts: Every text that was embedded, in order, so that a test can say what was not embedded again.

    Raises:
        ConfigError: ``dimensions`` is below 1.
    """

    def __init__(self, dimensions: int = 64, model: str | None = None) -> None:
        if dimensions < 1:
            raise ConfigError("dimensions must be at least 1")
        self.dimensions = dimensions
        self.model = model or f"testing-hash-{dimensions}"
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector of length 1 for each text, in order.

        Args:
            texts: Any number of texts, none of them empty.

        Returns:
            Shape ``(len(texts), dimensions)``.

        Raises:
            EmbeddingError: A text is empty or no text.
        """
        check_texts(texts)
        self.texts.extend(texts)
        rows = [self._vector(text) for text in texts]
        return check_embeddings(rows, len(texts), self.dimensions)

    def _vector(self, text: str) -> Vectors:
        vector = np.zeros(self.dimensions, np.float32)
        for word in _WORD.findall(text.casefold()):
            place, sign = _hashed(word)
            vector[place % self.dimensions] += sign
        if not vector.any():
            # No words, or words that cancel each other out.
            vector[_hashed(text)[0] % self.dimensions] = 1
        return vector / np.float32(np.linalg.norm(vector))


@functools.lru_cache(maxsize=65_536)
def _hashed(word: str) -> tuple[int, int]:
    number = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
    return number >> 1, 1 if number & 1 else -1
