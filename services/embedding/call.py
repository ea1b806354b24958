"""The texts of one call, each of them once, and their vectors at all places where they stand: pure functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np

from pgcorpus.errors import EmbeddingError, TextTooLongError
from pgcorpus.models import content_hash
from pgcorpus.services.embedding.base import EmbeddedBatch, check_texts
from pgcorpus.services.embedding.batches import consecutive
from pgcorpus.vectors import Array

_NUMBER = re.compile(r"texts\[(\d+)\]")


class Call:
    """What ``embed`` was given.

    Args:
        texts: Any number of texts.

    Attributes:
        places: Where each text stands, by its hash.

    Raises:
        EmbeddingError: A text is none that can be embedded.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        check_texts(texts)
        self._texts = texts
        self.places: dict[bytes, list[int]] = {}
        for position, text in enumerate(texts):
            self.places.setdefault(content_hash(text), []).append(position)

    def without(self, known: Collection[bytes]) -> list[bytes]:
        """Return the hashes of the other texts."""
        return [key for key in self.places if key not in known]

    def texts_of(self, hashes: Sequence[bytes]) -> list[str]:
        """Return one text for each hash."""
        return [self._texts[self.places[key][0]] for key in hashes]

    def count(self, hashes: Collection[bytes]) -> int:
        """Return how many of the texts have these hashes."""
        return sum(len(self.places[key]) for key in hashes)

    def spread(self, vectors: Mapping[bytes, Array]) -> Iterator[EmbeddedBatch]:
        """Yield vectors, given by hash, for all places that have them."""
        places = sorted((place, key) for key in vectors for place in self.places[key])
        for run in consecutive([place for place, _ in places]):
            yield EmbeddedBatch(places[run.start][0], np.stack([vectors[key] for _, key in places[run]]))

    def numbered(self, hashes: Sequence[bytes]) -> AbstractContextManager[None]:
        """Have errors about ``texts_of(hashes)`` number the texts of the call."""
        return numbered([self.places[key][0] for key in hashes])


@contextmanager
def numbered(positions: Sequence[int]) -> Iterator[None]:
    """Let an error that numbers a part of the texts number all of them.

    Args:
        positions: Where those of the part stand.
    """
    try:
        yield
    except EmbeddingError as exc:
        exc.args = (_NUMBER.sub(lambda found: f"texts[{_at(positions, int(found[1]))}]", str(exc)),)
        if isinstance(exc, TextTooLongError):
            exc.position = _at(positions, exc.position)
        raise


def _at(positions: Sequence[int], index: int) -> int:
    return positions[index] if index < len(positions) else index
