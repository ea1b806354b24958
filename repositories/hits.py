"""What a search returns."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from pgcorpus.indexing import IndexForm
from pgcorpus.models import Metric
from pgcorpus.vectors import Array

D = TypeVar("D")


class DocumentView(NamedTuple):
    """A document as a search reads it: not tied to the session.

    Attributes:
        embedding: Shape (dimensions,), where it was asked for.
    """

    collection_id: int
    id: int
    key: str
    content: str
    source: str | None
    position: int | None
    meta: dict[str, Any]
    embedding: Array | None = None

    def __eq__(self, other: object) -> bool:
        """Compare everything but the embedding, which is an array."""
        return isinstance(other, DocumentView) and self[:-1] == other[:-1]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.collection_id, self.id))


VIEW_COLUMNS = DocumentView._fields[:-1]


class Hit(NamedTuple, Generic[D]):
    """One answer of a search.

    Attributes:
        document: A :class:`DocumentView`; with ``columns``, or of a model that is no document, a named tuple; with
            ``entities``, the mapped object.
        distance: In the search's metric; smaller is nearer.
        score: The same as a score; larger is better (for cosine 1 - distance).
        before: With ``context``, the passages before it in its source.
        after: With ``context``, the passages after it.
    """

    document: D
    distance: float
    score: float
    before: tuple[DocumentView, ...] = ()
    after: tuple[DocumentView, ...] = ()


class Hits(list[Hit[D]]):
    """The answers of a search, nearest first, and how they were found.

    Attributes:
        metric: The metric of the distances.
        exact: Whether every matching row was compared: asked for, or needed to complete the answer.
        complete: Whether the first statement found enough; where not, an exact scan completed the answer.
        indexed: Whether there is an index that serves the metric; without one a search is a full scan.
        form: What that index keeps of an embedding; None without one, and where it was not asked.
        ef_search: The candidates that HNSW kept.
    """

    def __init__(
        self,
        hits: Iterable[Hit[D]],
        metric: Metric,
        *,
        exact: bool,
        indexed: bool,
        complete: bool = True,
        form: IndexForm | None = None,
        ef_search: int | None = None,
    ) -> None:
        super().__init__(hits)
        self.metric = metric
        self.exact = exact
        self.complete = complete
        self.indexed = indexed
        self.form = form
        self.ef_search = ef_search


@dataclass(frozen=True, slots=True)
class TextHit:
    """One answer of a full-text search.

    Attributes:
        document: The passage.
        score: ``ts_rank`` divided by 1 + the logarithm of the length; larger is better.
        snippet: The best fragments with the query's words highlighted.
    """

    document: DocumentView
    score: float
    snippet: str | None


@dataclass(frozen=True, slots=True)
class HybridHit:
    """One answer of a hybrid search.

    Attributes:
        document: The passage.
        score: The fused score; larger is better.
        distance: To the vector; None if the vector's side did not find it.
        vector_score: The distance as a score, larger is better; None likewise.
        vector_rank: 1 for the nearest; None likewise.
        text_score: ``ts_rank``; None if the text's side did not find it.
        text_rank: 1 for the best; None likewise.
    """

    document: DocumentView
    score: float
    distance: float | None
    vector_score: float | None
    vector_rank: int | None
    text_score: float | None
    text_rank: int | None


@dataclass(frozen=True, slots=True)
class Page(Generic[D]):
    """Some rows in the order of their keys.

    Attributes:
        items: The rows.
        next: What to give as ``after`` for the next page; None on the last one.
    """

    items: tuple[D, ...]
    next: Any | None


@dataclass(frozen=True, slots=True)
class Facet:
    """A value of a field and how many rows have it.

    Attributes:
        value: The value; None where the field is missing.
        count: Number of rows.
    """

    value: Any
    count: int


@dataclass(frozen=True, slots=True)
class SampledKey:
    """A key of the metadata, as a sample of the documents shows it.

    Attributes:
        key: The key; of the first level.
        count: How many documents of the sample have it.
        distinct: How many different values it has among them.
    """

    key: str
    count: int
    distinct: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What a collection amounts to.

    Attributes:
        documents: How many there are.
        embedded: How many of them have an embedding.
        sources: How many sources they are from.
        content_bytes: The size of their contents together, before compression.
    """

    documents: int
    embedded: int
    sources: int
    content_bytes: int


@lru_cache(maxsize=512)
def row_maker(names: tuple[str, ...]) -> Callable[..., Any]:
    """Return what makes a row's values into a document: a view if they are a view's, else a named tuple."""
    if names[: len(VIEW_COLUMNS)] == VIEW_COLUMNS and names[len(VIEW_COLUMNS) :] in ((), ("embedding",)):
        return DocumentView
    made: Callable[..., Any] = namedtuple("Columns", names, rename=True)  # type: ignore[misc]
    return made
