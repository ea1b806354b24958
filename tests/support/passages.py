"""Retrieved documents, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

from pgcorpus.repositories import DocumentView
from pgcorpus.services.answering.passages import ShownPassage
from pgcorpus.services.retrieval import Retrieved

_ids = count(1)


def hit(content: str, score: float | None = 0.5, *, source: str | None = "guide.md", **meta: Any) -> Retrieved:
    """Return a document as a search finds it."""
    number = next(_ids)
    document = DocumentView(1, number, f"key-{number}", content, source, 0, meta)
    return Retrieved(document, score, None if score is None else 1 - score)


def shown(*contents: str) -> list[ShownPassage]:
    """Return passages of these contents, numbered from 1."""
    return [ShownPassage(number, hit(content), content) for number, content in enumerate(contents, 1)]


def contents(passages: Iterable[ShownPassage]) -> list[str]:
    return [passage.text for passage in passages]
