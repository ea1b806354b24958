"""The questions to measure with: those of a file, as texts, vectors, or both with filters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pgcorpus import vectors
from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.models import Document
from pgcorpus.repositories.filters import compile_filter
from pgcorpus.services.embedding import Embedder, pad
from pgcorpus.services.embedding.base import check_embeddings
from pgcorpus.vectors import Array

_KNOWN = frozenset(("query", "where"))


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What somebody asks.

    Attributes:
        text: To be embedded; empty where there is a vector.
        vector: Shape (dimensions,), or shorter, to be padded.
        where: A filter of its own, as JSON has it.
    """

    text: str = ""
    vector: Array | None = None
    where: Mapping[str, Any] | None = None


class Query(NamedTuple):
    """A question that can be searched with.

    Attributes:
        vector: Shape (dimensions,) of the column.
        where: A filter.
    """

    vector: Array
    where: Mapping[str, Any] | None = None


def read_questions(path: Path, model: type[Any] = Document) -> list[Question]:
    """Return the questions of a file, one a line; empty lines mean nothing.

    A line is a text, or JSON: an array of numbers, or ``{"query": TEXT OR ARRAY, "where": FILTER}``.

    Args:
        path: The file, in UTF-8.
        model: The mapped class that filters are about.

    Raises:
        SourceError: A line cannot be understood, which the message names; or there is none.
    """
    questions = []
    for number, line in enumerate(_lines(path), 1):
        try:
            if stripped := line.strip():
                questions.append(_question(stripped, model))
        except (ValueError, RecursionError) as exc:
            raise SourceError(f"{path}, line {number}: {exc}") from exc
    if not questions:
        raise SourceError(f"{path}: no question in it; write one a line")
    return questions


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as exc:
        raise SourceError(f"{path}: not UTF-8 at byte {exc.start}") from exc


def _question(line: str, model: type[Any]) -> Question:
    if line[0] not in '{["':
        return Question(text=line)
    try:
        value = json.loads(line)
    except ValueError as exc:
        if line[0] == '"':
            return Question(text=line)  # a question that begins with a quotation
        raise ValueError(f"not JSON ({exc})") from None
    return _from_object(value, model) if isinstance(value, dict) else _asked(value)


def _from_object(value: Mapping[str, Any], model: type[Any]) -> Question:
    if unknown := sorted(value.keys() - _KNOWN):
        raise ValueError(f"unknown {', '.join(map(repr, unknown))}: an object has query and where")
    if "query" not in value:
        raise ValueError("an object needs a query: a text, or an array of numbers")
    asked, where = _asked(value["query"]), value.get("where")
    if where is not None:
        compile_filter(where, model)
    return Question(asked.text, asked.vector, where)


def _asked(value: Any) -> Question:
    if isinstance(value, str) and value.strip():
        return Question(text=value)
    if isinstance(value, list):
        return Question(vector=vectors.as_searchable(value))
    raise ValueError("a query is a text, or an array of numbers")


def as_queries(questions: Sequence[Question], dimensions: int, embedder: Embedder | None = None) -> list[Query]:
    """Return questions as vectors of the column's length, in their order.

    Args:
        questions: Of a file.
        dimensions: The column's.
        embedder: Of the collection's model; for texts.

    Raises:
        ConfigError: There are texts, and no embedder.
        EmbeddingError: A text cannot be embedded, or a vector does not fit the column.
    """
    texts = list(dict.fromkeys(question.text for question in questions if question.vector is None))
    embedded = _embedded(texts, dimensions, embedder)
    return [
        Query(embedded[question.text] if question.vector is None else pad(question.vector, dimensions), question.where)
        for question in questions
    ]


def _embedded(texts: Sequence[str], dimensions: int, embedder: Embedder | None) -> dict[str, Array]:
    if not texts:
        return {}
    if embedder is None:
        raise ConfigError("the questions are texts: name the embedder of the collection's model (--embedder)")
    made = check_embeddings(embedder.embed(texts), len(texts), embedder.dimensions)
    return dict(zip(texts, pad(made, dimensions), strict=True))
