"""What an answer consists of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pgcorpus.services.retrieval import Retrieved

# The grounding instruction asks for these words, so that a model's own refusal can be told from an answer.
UNKNOWN = "I don't know: the documents do not say."


class Kind(StrEnum):
    """Where the text of an answer comes from."""

    GENERATED = "generated"  # written by the chat model
    EXTRACTIVE = "extractive"  # sentences of the documents, word for word
    UNKNOWN = "unknown"  # no answer: nothing near was found, or the model said so


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that an answer rests on.

    Attributes:
        number: As it stands in the text, ``[1]``.
        hit: The passage as it was retrieved.
        quote: Of an extractive answer, a sentence of the document, word for word; else None.
    """

    number: int
    hit: Retrieved
    quote: str | None = None

    @property
    def document(self) -> Any:
        """The document that is cited."""
        return self.hit.document

    @property
    def source(self) -> str:
        """Its source; its key if it has none."""
        return source_of(self.hit)

    @property
    def heading(self) -> str | None:
        """The heading it stands under, from ``meta.heading``, else ``meta.title``."""
        return heading_of(self.hit)


@dataclass(frozen=True, slots=True)
class ChatUsage:
    """What a chat model says it was sent and has written, in its tokens."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent.

    Attributes:
        embed: On embedding the question.
        retrieve: In the database.
        generate: On waiting for the chat model; of an extractive answer, on choosing sentences.
        total: On all of it.
    """

    embed: float = 0.0
    retrieve: float = 0.0
    generate: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and what it rests on.

    Attributes:
        text: The answer, with citations such as ``[1]``.
        kind: Where it comes from.
        citations: The passages it cites, by number; of an extractive answer one for each quote, in its order.
        unknown_citations: Numbers in the text that belong to no passage: a model may invent them.
        hits: All that was retrieved, the best first.
        passages: Those that the model was shown; number 1 is the first.
        model: The chat model; None where none was asked.
        usage: The chat model's tokens, if it tells; embedding is apart.
        note: What a reader should know of the answer: that it was cut short, for example.
        timings: Seconds spent.
    """

    text: str
    kind: Kind
    citations: tuple[Citation, ...] = ()
    unknown_citations: tuple[int, ...] = ()
    hits: tuple[Retrieved, ...] = ()
    passages: tuple[Retrieved, ...] = ()
    model: str | None = None
    usage: ChatUsage | None = None
    note: str | None = None
    timings: Timings = Timings()


def source_of(hit: Retrieved) -> str:
    """Return a document's source, or its key."""
    return str(hit.document.source or hit.document.key)


def heading_of(hit: Retrieved) -> str | None:
    """Return the heading a passage stands under, if its metadata names one."""
    heading = hit.document.meta.get("heading") or hit.document.meta.get("title")
    return str(heading) if heading else None
