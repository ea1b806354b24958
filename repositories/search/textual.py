"""Full-text and hybrid search from request to hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, cast

from sqlalchemy.orm import Session

from pgcorpus.errors import SearchError
from pgcorpus.models import Metric
from pgcorpus.repositories.filters import Where, compile_filter
from pgcorpus.repositories.hits import VIEW_COLUMNS, DocumentView, Hits, HybridHit, TextHit
from pgcorpus.repositories.search.fulltext import configuration, hybrid_search, snippets, text_search
from pgcorpus.repositories.search.nearest import QUERY, Shape
from pgcorpus.repositories.search.requests import (
    LARGEST,
    LARGEST_ID,
    MIN_CANDIDATES,
    Request,
    check_number,
    check_range,
    check_text,
)
from pgcorpus.repositories.search.running import Line, fetch
from pgcorpus.repositories.search.searcher import Scoped, flushed_line, is_prepared, report_if_slow, searching
from pgcorpus.repositories.search.settings import SearchSettings, search_settings
from pgcorpus.repositories.search.slow import timeouts_told
from pgcorpus.repositories.target import SCOPE, Target
from pgcorpus.vectors import Array

# Measured on real questions: never worse than the vectors alone, and .02 to .04 nDCG better (docs/benchmarks.md).
DEFAULT_WEIGHTS = (2.0, 1.0)
DEFAULT_RRF_K = 10.0

MAX_CANDIDATES = 10_000
MAX_QUERY = 100_000  # characters
_WIDTH = len(VIEW_COLUMNS)


@dataclass(frozen=True, slots=True)
class Fusion:
    """How a hybrid search weighs its two sides.

    Attributes:
        weights: Of the vector's side and of the text's.
        rrf_k: The constant of reciprocal rank fusion: the larger, the less the first ranks count.
        candidates: Rows taken from each side; None for four times those wanted, at least 40.

    Raises:
        SearchError: A weight is negative or both are zero, or a number is out of range.
    """

    weights: tuple[float, float] = DEFAULT_WEIGHTS
    rrf_k: float = DEFAULT_RRF_K
    candidates: int | None = None

    def __post_init__(self) -> None:
        if len(self.weights) != 2:
            raise SearchError("weights are two numbers, for the vector and for the text")
        for weight in self.weights:
            check_number("a weight", weight, 0.0, LARGEST)
        if sum(self.weights) == 0:
            raise SearchError("one of the weights must be more than 0")
        check_number("rrf_k", self.rrf_k, 0.0, LARGEST)
        check_range("candidates", self.candidates, 1, MAX_CANDIDATES)

    @property
    def parameters(self) -> Mapping[str, float]:
        """The statement's parameters."""
        return {
            "pgcorpus_vector_weight": float(self.weights[0]),
            "pgcorpus_text_weight": float(self.weights[1]),
            "pgcorpus_rrf_k": float(self.rrf_k),
        }

    def rows(self, wanted: int) -> int:
        """Return how many rows to take from each side."""
        return self.candidates or max(MIN_CANDIDATES, 4 * wanted)


class TextSearcher:
    """Runs full-text and hybrid searches of documents in one session.

    Args:
        session: The repository's session.
        target: A document's class.
    """

    def __init__(self, session: Session, target: Target) -> None:
        self._session = session
        self._target = target

    def search_text(
        self,
        query: str,
        where: Where | None,
        request: Request,
        scoped: Scoped,
        language: str | None,
        highlight: tuple[str, str] | None,
    ) -> Sequence[TextHit]:
        """Return the best matches of a web-search query."""
        condition = compile_filter(where, self._target.model)
        parameters = {**scoped.parameters, **_words(query, language or scoped.language)}
        if highlight is not None:
            parameters["pgcorpus_headline"] = _headline(highlight)
        arguments = (self._target, request.k, request.offset, highlight is not None)
        line = flushed_line(self._session, self._target)
        settings = SearchSettings(request.chosen_ef_search, None, request.timeout, is_prepared(line))
        with timeouts_told(collection_id=scoped.parameters.get(SCOPE)), search_settings(line.connection, settings):
            begun = perf_counter()
            rows = fetch(line, text_search, arguments, parameters, condition, prepare=False)
            report_if_slow(line, begun, text_search, (*arguments, condition), parameters, where)
        return [TextHit(DocumentView(*row[:_WIDTH]), row[-2], row[-1]) for row in rows]

    def search_hybrid(
        self,
        query: str,
        vector: Array,
        where: Where | None,
        request: Request,
        scoped: Scoped,
        fusion: Fusion,
        language: str | None,
    ) -> Sequence[HybridHit]:
        """Return the best of both searches."""
        candidates = fusion.rows(request.wanted)
        words = _words(query, language or scoped.language)
        parameters = {**scoped.parameters, **fusion.parameters, **words, QUERY: vector}
        condition = compile_filter(where, self._target.model)
        wide = _wide(request, candidates)
        with searching(self._session, self._target, wide, scoped, is_filtered=True) as (line, plan):
            metric = plan.shape.metric
            shape = replace(plan.shape, columns=(), limit=request.k, offset=request.offset)
            begun = perf_counter()
            rows = _fused(line, shape, candidates, parameters, condition)
            complete = shape.exact or fusion.weights[0] == 0 or bool(rows and rows[0][-1] >= candidates)
            if not complete:
                # The index gave up early: only an exact scan knows that there is nothing nearer.
                rows = _fused(line, replace(shape, exact=True), candidates, parameters, condition)
            report_if_slow(line, begun, hybrid_search, (shape, candidates, condition), parameters, where, plan)
        hits = (_hybrid_hit(row, metric) for row in rows)
        found: Any = [hit for hit in hits if hit.score > 0]  # a side without weight has none
        # What tells of a search reads of its hits how they were found.
        answer = Hits(found, metric, exact=shape.exact or not complete, complete=complete, **plan.told())
        return cast(Sequence[HybridHit], answer)

    def snippets(self, text: str, ids: Sequence[int], scoped: Scoped, highlight: tuple[str, str]) -> dict[int, str]:
        """Return fragments of documents by their ids."""
        for each in ids:
            check_range("a document's id", each, 1, LARGEST_ID)
        words = _words(text, scoped.language)
        parameters = {
            **scoped.parameters,
            **words,
            "pgcorpus_headline": _headline(highlight),
            "pgcorpus_ids": list(ids),
        }
        rows: Any = self._session.execute(snippets(self._target), parameters).all()
        return dict(rows)


def _fused(line: Line, shape: Shape, candidates: int, parameters: Mapping[str, Any], condition: Any) -> Sequence[Any]:
    return fetch(line, hybrid_search, (shape, candidates), parameters, condition, prepare=False)


def _wide(request: Request, rows: int) -> Request:
    """A request whose index scan keeps as many candidates as its side of the fusion returns."""
    return request if request.ef_search else replace(request, k=rows, offset=0)


def _hybrid_hit(row: Sequence[Any], metric: Metric) -> HybridHit:
    score, distance, vector_rank, text_score, text_rank = row[_WIDTH:-1]
    vector_score = None if distance is None else metric.score(distance)
    document = DocumentView(*row[:_WIDTH])
    return HybridHit(document, score, distance, vector_score, vector_rank, text_score, text_rank)


def _words(query: str, language: str) -> dict[str, Any]:
    return {"pgcorpus_text": _checked(query), "pgcorpus_language": configuration(language)}


def _checked(query: str) -> str:
    check_text("the query", query)
    if len(query) > MAX_QUERY:
        raise SearchError(f"the query is longer than {MAX_QUERY:,} characters")
    return query


def _headline(highlight: Any) -> str:
    """Return ts_headline's options (PostgreSQL documentation, "Highlighting Results")."""
    if len(highlight) != 2 or set("".join(highlight)) & set('"\\\0'):
        raise SearchError("highlight is the text before and after a word, without quotes and backslashes")
    start, stop = highlight
    return f'StartSel="{start}", StopSel="{stop}", MaxFragments=2, MaxWords=30, MinWords=10, FragmentDelimiter=" … "'
