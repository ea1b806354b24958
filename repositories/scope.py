"""Which collection of which tenant a repository works in, and with which embedding model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from pgcorpus.errors import CollectionNotFoundError, EmbeddingModelMismatchError
from pgcorpus.models import DIMENSIONS, Collection, Document, Metric
from pgcorpus.models.collection import DEFAULT_LANGUAGE, DEFAULT_TENANT


class Reference(NamedTuple):
    """What a search needs to know of a collection."""

    id: int
    embedding_model: str | None
    distance: str
    language: str


C = TypeVar("C", Collection, Reference)


@dataclass(frozen=True, slots=True)
class Scope:
    """What every statement of a repository is limited to.

    Attributes:
        collection: The collection's name.
        tenant: Whose it is.
        embedding_model: The model of the vectors given; None leaves it unchecked.
        model: The mapped document class.
        metric: The metric of a collection that is made here.
        language: The full-text language of a collection that is made here.
    """

    collection: str = "default"
    tenant: str = DEFAULT_TENANT
    embedding_model: str | None = None
    model: type[Any] = Document
    metric: Metric = Metric.COSINE
    language: str = DEFAULT_LANGUAGE

    @property
    def dimensions(self) -> int:
        """The length of the model's vectors."""
        dimensions: int = self.model.__table__.c.embedding.type.dim or DIMENSIONS
        return dimensions

    def accepts(self, found: Collection | Reference) -> bool:
        """Return whether a collection's vectors can be compared with those given here."""
        return not self.embedding_model or found.embedding_model in (None, self.embedding_model)

    def checked(self, found: C | None) -> C:
        """Return the collection if it can be used with this scope's embedding model.

        Raises:
            CollectionNotFoundError: There is none.
            EmbeddingModelMismatchError: It was embedded with another model.
        """
        if found is None:
            raise CollectionNotFoundError(
                f"there is no collection {self.collection!r}: make it with `pgcorpus ingest PATH --collection "
                f"{self.collection}`, or list what there is with `pgcorpus collections`"
            )
        if not self.accepts(found):
            raise EmbeddingModelMismatchError(
                f"the collection {self.collection!r} was embedded with {found.embedding_model}, not "
                f"{self.embedding_model}: vectors of two models cannot be compared. Choose that embedder "
                f"(--embedder), or use another collection"
            )
        return found
