"""The embeddings of documents that are to be copied, in the length of the table's column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pgcorpus.errors import SwitchError
from pgcorpus.repositories.switching.moving import Change
from pgcorpus.services.embedding import Embedder, pad
from pgcorpus.services.embedding.base import check_embeddings
from pgcorpus.vectors import Array


class Contents:
    """Embeds contents, and keeps those that a flip will ask for.

    Args:
        embedder: Of the model switched to; None where nothing is to be embedded.
        dimensions: The column's.
    """

    def __init__(self, embedder: Embedder | None, dimensions: int) -> None:
        self._embedder = embedder
        self._dimensions = dimensions
        self._kept: dict[str, Array] = {}

    def for_model(self, model: str | None) -> Contents:
        """Return these, if their embedder is of that model; else such as embed nothing."""
        fits = self._embedder is not None and model in (None, self._embedder.model)
        return self if fits else Contents(None, self._dimensions)

    def check(self) -> None:
        """Pass if the embedder's vectors fit the column; nothing is embedded.

        Raises:
            EmbeddingError: They are longer than the column.
        """
        pad(np.empty((0, self._given().dimensions), np.float32), self._dimensions)

    def of(self, changes: Sequence[Change]) -> list[Array | None]:
        """Return the embedding of each document that had one.

        Raises:
            EmbeddingError: A text cannot be embedded, or a vector cannot be searched.
        """
        found = self.embed(change.content for change in changes if change.embedded)
        return [found[change.content] if change.embedded else None for change in changes]

    def embed(self, contents: Iterable[str]) -> dict[str, Array]:
        """Return embeddings by content; the same content is embedded once."""
        wanted = list(dict.fromkeys(contents))
        unknown = [content for content in wanted if content not in self._kept]
        if not unknown:
            return {content: self._kept[content] for content in wanted}
        embedder = self._given()
        made = pad(check_embeddings(embedder.embed(unknown), len(unknown), embedder.dimensions), self._dimensions)
        return self._kept | dict(zip(unknown, made, strict=True))

    def unknown(self, changes: Sequence[Change]) -> list[str]:
        """Return the contents whose embedding is not kept."""
        return [change.content for change in changes if change.embedded and change.content not in self._kept]

    def keep(self, contents: Sequence[str]) -> None:
        """Embed contents and keep the embeddings."""
        self._kept = self.embed([*self._kept, *contents])

    def forget(self) -> None:
        """Keep nothing any more."""
        self._kept = {}

    def _given(self) -> Embedder:
        if self._embedder is None:
            raise SwitchError(
                "late writes have to be embedded with the collection's present model: give its embedder, too"
            )
        return self._embedder
