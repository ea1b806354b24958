"""From a question to the documents that answer it: look, embed, search, and follow a switch of the model."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from sqlalchemy.orm import Session

from pgcorpus.errors import ConfigError, EmbeddingModelMismatchError, SearchError
from pgcorpus.models import Document, Metric
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories import DocumentRepository, DocumentView, Hit, HybridHit, Where, compile_filter
from pgcorpus.repositories.collections import Collections
from pgcorpus.repositories.scope import Reference, Scope
from pgcorpus.repositories.search.requests import SearchOptions, make_request
from pgcorpus.repositories.search.textual import MAX_QUERY, Fusion
from pgcorpus.repositories.target import make_target
from pgcorpus.repositories.values import text_problem
from pgcorpus.repositories.writing.drafts import check_name
from pgcorpus.services.embedding import AsyncEmbedder, Embedder, pad
from pgcorpus.services.embedding.base import Vectors, check_embeddings
from pgcorpus.services.embedding.telling import embed_call
from pgcorpus.services.steps import AsyncBind, AsyncExecutor, Bind, Executor, InDatabase, Steps

_FUSION_OPTIONS = ("weights", "rrf_k", "candidates")
_HYBRID_OPTIONS = ("metric", "offset", "ef_search", "exact", "timeout", "recall")

B = TypeVar("B")
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Retrieved:
    """A document that was found.

    Attributes:
        document: As the repository's search returns it.
        score: The similarity to the question in the search's metric, larger is better (for cosine 1 - distance); None
            where a hybrid search found the document by its words only.
        distance: The same as a distance; None likewise.
        fused: Of a hybrid search, the score that decides the order; else None.
        before: With ``context``, the passages before it in its source.
        after: With ``context``, the passages after it.
    """

    document: Any
    score: float | None
    distance: float | None
    fused: float | None = None
    before: tuple[DocumentView, ...] = ()
    after: tuple[DocumentView, ...] = ()


class Retrieval(list[Retrieved]):
    """What was found, the best first, and how.

    Attributes:
        metric: Of the distances and scores.
        embedder: The one of those given that the collection's model asked for.
        vector: The question as it embedded it, shape (its dimensions,).
        seconds: Time spent: ``embed`` the question, and ``search`` in the database.
    """

    def __init__(
        self, hits: Iterable[Retrieved], metric: Metric, embedder: Any, vector: Vectors, seconds: Mapping[str, float]
    ) -> None:
        super().__init__(hits)
        self.metric = metric
        self.embedder = embedder
        self.vector = vector
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Query:
    """A question with all that its search takes, checked before anything is paid for.

    Raises:
        FilterError: The filter cannot be understood.
        SearchError: The question is empty or cannot be sent, or a number is out of range.
        TypeError: There is no option of that name.
    """

    question: str
    k: int
    where: Where | None
    hybrid: bool
    options: Mapping[str, Any]
    model: type[Any] = Document

    def __post_init__(self) -> None:
        check_question(self.question)
        compile_filter(self.where, self.model)
        if self.hybrid:
            _check_hybrid(self.k, self.options)
        else:
            make_request(self.k, SearchOptions(**self.options))  # type: ignore[typeddict-item]


def check_question(question: Any) -> None:
    """Pass if it is a text that can be embedded and searched for.

    Raises:
        SearchError: It is not.
    """
    if not isinstance(question, str):
        raise SearchError(f"a question is text, not {type(question).__name__}")
    if not question.strip():
        raise SearchError("the question is empty")
    if problem := text_problem(question):
        raise SearchError(f"the question {problem}")
    if len(question) > MAX_QUERY:
        raise SearchError(f"the question is longer than {MAX_QUERY:,} characters")


def _check_hybrid(k: int, options: Mapping[str, Any]) -> None:
    known = (*_FUSION_OPTIONS, *_HYBRID_OPTIONS, "language")
    if unknown := sorted(options.keys() - set(known)):
        raise TypeError(f"a hybrid search has no option {', '.join(unknown)}; it has {', '.join(known)}")
    Fusion(**{name: options[name] for name in _FUSION_OPTIONS if name in options})
    chosen: Any = {name: options[name] for name in _HYBRID_OPTIONS if name in options}
    make_request(k, chosen)


class _Retrieving(Generic[B, E]):
    """What the sync and the async retriever share; the arguments are those of :class:`Retriever`."""

    _executors: ClassVar[Any]
    _is_async: ClassVar[bool] = False

    def __init__(
        self,
        bind: B,
        embedder: E | Sequence[E],
        collection: str = "default",
        tenant: str = DEFAULT_TENANT,
        *,
        hybrid: bool = False,
        model: type[Any] = Document,
        column: str | None = None,
    ) -> None:
        check_name(collection, "the collection's name")
        check_name(tenant, "the tenant's name")
        self._executor = self._executors(bind)
        self._embedders: tuple[Any, ...] = tuple(embedder) if isinstance(embedder, Sequence) else (embedder,)
        self._check_embedders()
        self._collection, self._tenant, self._hybrid = collection, tenant, hybrid
        self._target = make_target(model, column, scoped=True)

    def _check_embedders(self) -> None:
        if not self._embedders:
            raise ConfigError("give at least one embedder")
        for each in self._embedders:
            if inspect.iscoroutinefunction(each.embed) and not self._is_async:
                raise ConfigError(f"{type(each).__name__} is async: use AsyncRetriever")

    def steps(
        self,
        question: str,
        k: int = 5,
        *,
        where: Where | None = None,
        hybrid: bool | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Steps[Retrieval]:
        """Tell how a question is answered, for an executor."""
        hybrid = self._hybrid if hybrid is None else hybrid
        query = Query(question, k, where, hybrid, options or {}, self._target.model)
        seconds = {"embed": 0.0, "search": 0.0}
        embedded = yield from self._embedded(query, seconds)
        try:
            return (yield from self._searched(query, *embedded, seconds))
        except EmbeddingModelMismatchError:
            # The model was switched while the question was embedded.
            embedded = yield from self._embedded(query, seconds)
            return (yield from self._searched(query, *embedded, seconds))

    def _embedded(self, query: Query, seconds: dict[str, float]) -> Steps[tuple[Reference, Any, Vectors]]:
        started = time.perf_counter()
        seen = yield InDatabase(self._look)
        looked = time.perf_counter()
        embedder = fitting(self._embedders, seen.embedding_model, self._collection)
        answer = yield embed_call(embedder, [query.question])
        seconds["search"] += looked - started
        seconds["embed"] += time.perf_counter() - looked
        (vector,) = check_embeddings(answer, 1, np.size(answer[:1]))
        return seen, embedder, vector

    def _searched(
        self, query: Query, seen: Reference, embedder: Any, vector: Vectors, seconds: dict[str, float]
    ) -> Steps[Retrieval]:
        started = time.perf_counter()
        padded = pad(vector, self._target.dimensions or len(vector))
        hits = yield InDatabase(lambda session: self._search(session, query, embedder.model, padded))
        seconds["search"] += time.perf_counter() - started
        metric = Metric(query.options.get("metric") or seen.distance)
        return Retrieval(map(_retrieved, hits), metric, embedder, vector, seconds)

    def _look(self, session: Session) -> Reference:
        """Ask the server which model the collection has: a wrong name costs no embedding."""
        scope = Scope(self._collection, self._tenant, model=self._target.model)
        return Collections(session, scope).reference(fresh=True)

    def _search(self, session: Session, query: Query, model: str, vector: Vectors) -> Sequence[Hit[Any] | HybridHit]:
        target = self._target
        repository = DocumentRepository(
            session, self._collection, self._tenant, embedding_model=model, model=target.model, column=target.column
        )
        if query.hybrid:
            return repository.search_hybrid(query.question, vector, query.k, where=query.where, **query.options)
        return repository.search(vector, query.k, where=query.where, **query.options)


class Retriever(_Retrieving[Bind, Embedder]):
    """Finds the documents that a question is about.

    Args:
        bind: An engine: each read has a short session in AUTOCOMMIT, and none is held while a model answers. Or the
            host's own session, or a scoped session: its transaction is used, and nothing committed.
        embedder: One, or several of which the one with the collection's model is used: with the old and the new one an
            app goes on while the collection's model is switched.
        collection: The collection's name.
        tenant: Whose collection.
        hybrid: Whether to search by words as well, unless a call says otherwise.
        model: The mapped document class.
        column: The attribute of its vector column; not needed where there is one only.

    Raises:
        ConfigError: There is no embedder, or it or the bind belongs to the other of the two.
    """

    _executors = Executor

    def retrieve(
        self, question: str, k: int = 5, *, where: Where | None = None, hybrid: bool | None = None, **options: Any
    ) -> Retrieval:
        """Return the documents nearest to a question, the best first.

        What is wrong with the arguments, and a missing collection, are told before the question is embedded.

        Args:
            question: In words.
            k: Hits wanted.
            where: A filter; see :mod:`pgcorpus.repositories.filters`.
            hybrid: Whether to search by words as well.
            **options: Of :meth:`DocumentRepository.search <pgcorpus.repositories.DocumentRepository.search>`, or of
                ``search_hybrid``.

        Raises:
            CollectionNotFoundError: There is no such collection.
            EmbeddingModelMismatchError: It was embedded with the model of no embedder given.
            EmbeddingError: The embedder failed.
            FilterError: The filter cannot be understood.
            SearchError: The question is empty, or a number is out of range.
            SearchTimeoutError: The timeout is over.
        """
        result: Retrieval = self._executor.run(self.steps(question, k, where=where, hybrid=hybrid, options=options))
        return result


class AsyncRetriever(_Retrieving[AsyncBind, AsyncEmbedder | Embedder]):
    """Finds the documents that a question is about; see :class:`Retriever`.

    A sync embedder is called in a thread.
    """

    _executors = AsyncExecutor
    _is_async = True

    async def retrieve(
        self, question: str, k: int = 5, *, where: Where | None = None, hybrid: bool | None = None, **options: Any
    ) -> Retrieval:
        """Return the documents nearest to a question, the best first; see :meth:`Retriever.retrieve`."""
        steps = self.steps(question, k, where=where, hybrid=hybrid, options=options)
        result: Retrieval = await self._executor.run(steps)
        return result


def fitting(embedders: Sequence[Any], model: str | None, collection: str) -> Any:
    """Return the embedder of a collection's model; the first where it has none yet.

    Raises:
        EmbeddingModelMismatchError: There is none.
    """
    for embedder in embedders:
        if model in (None, embedder.model):
            return embedder
    given = " or ".join(embedder.model for embedder in embedders)
    raise EmbeddingModelMismatchError(
        f"the collection {collection!r} was embedded with {model}, not {given}: vectors of two models cannot be "
        f"compared. Choose that embedder (--embedder), or use another collection"
    )


def _retrieved(hit: Hit[Any] | HybridHit) -> Retrieved:
    if isinstance(hit, HybridHit):
        return Retrieved(hit.document, hit.vector_score, hit.distance, hit.score)
    return Retrieved(hit.document, hit.score, hit.distance, None, hit.before, hit.after)
