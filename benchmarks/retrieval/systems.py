"""The ways of searching that are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature

from benchmarks.retrieval.fusion import Ranked, Setting
from pgcorpus.repositories import DocumentRepository, HybridHit
from pgcorpus.vectors import Array

K = 10
# Of each side; what search_hybrid takes by default for 10 hits.
CANDIDATES = 40
_DEFAULTS = signature(DocumentRepository.search_hybrid).parameters
DEFAULT = Setting(_DEFAULTS["weights"].default, _DEFAULTS["rrf_k"].default)


@dataclass(frozen=True, slots=True)
class Question:
    """A query as text and as a vector."""

    text: str
    vector: Array


Search = Callable[[DocumentRepository, Question], Sequence[str]]


def _words(highlight: tuple[str, str] | None, repository: DocumentRepository, question: Question) -> list[str]:
    hits = repository.search_text(question.text, K, highlight=highlight)
    return [hit.document.key for hit in hits]


def _vector(repository: DocumentRepository, question: Question) -> list[str]:
    return [hit.document.key for hit in repository.search(question.vector, K)]


def _exact(repository: DocumentRepository, question: Question) -> list[str]:
    return [hit.document.key for hit in repository.search(question.vector, K, exact=True)]


def _any_word(repository: DocumentRepository, question: Question) -> list[str]:
    """What only the vectors found has a score of 0 then, and is no answer."""
    return _keys(hit for hit in _fused(Setting((0.0, 1.0), DEFAULT.rrf_k), repository, question) if hit.text_rank)


def _hybrid(setting: Setting, repository: DocumentRepository, question: Question) -> list[str]:
    return _keys(_fused(setting, repository, question))


def _fused(setting: Setting, repository: DocumentRepository, question: Question) -> Sequence[HybridHit]:
    return repository.search_hybrid(question.text, question.vector, K, weights=setting.weights, rrf_k=setting.rrf_k)


def _keys(hits: Iterable[HybridHit]) -> list[str]:
    return [hit.document.key for hit in hits]


WORDS = "words, all of them"
ANY_WORD = "words, any of them"
VECTOR = "vector"
HYBRID = f"hybrid {DEFAULT} (default)"

SYSTEMS: Mapping[str, Search] = {
    WORDS: partial(_words, None),
    "the same with snippets": partial(_words, ("**", "**")),
    ANY_WORD: _any_word,
    VECTOR: _vector,
    "the same without the index": _exact,
    HYBRID: partial(_hybrid, DEFAULT),
    "hybrid 1:1, k = 10": partial(_hybrid, Setting((1.0, 1.0), 10.0)),
    "hybrid 1:1, k = 60": partial(_hybrid, Setting((1.0, 1.0), 60.0)),
}


def candidates(repository: DocumentRepository, question: Question) -> list[Ranked]:
    """Return all that both sides of a hybrid search offer for ten hits, with their ranks; none is missed."""
    hits = repository.search_hybrid(question.text, question.vector, 2 * CANDIDATES, candidates=CANDIDATES, exact=True)
    return [Ranked(hit.document.id, hit.document.key, hit.vector_rank, hit.text_rank) for hit in hits]
