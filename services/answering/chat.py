"""What a chat model is, and the rules for what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pgcorpus.errors import AnswerError
from pgcorpus.services.answering.answers import ChatUsage
from pgcorpus.services.answering.prompting import Message


@dataclass(frozen=True, slots=True)
class Reply:
    """All that a chat model said.

    Attributes:
        text: What it wrote.
        usage: Its tokens, if it tells.
        finish_reason: ``stop``, ``length`` or ``content_filter`` (OpenAI reference, "The chat completion object").
    """

    text: str
    usage: ChatUsage | None = None
    finish_reason: str | None = "stop"


# A stream is pieces of text, and at its end the whole as a reply.
Piece: TypeAlias = str | Reply


class Chat(Protocol):
    """A chat model."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    def complete(self, messages: Sequence[Message]) -> Reply:
        """Return what the model answers.

        Raises:
            AnswerError: It failed, or its answer cannot be used.
        """
        ...

    def stream(self, messages: Sequence[Message]) -> Iterator[Piece]:
        """Yield the answer's text as it comes, and at last the reply; a generator is closed early by ``close()``.

        Raises:
            AnswerError: It failed, or its answer broke off or cannot be used.
        """
        ...


class AsyncChat(Protocol):
    """A chat model that is awaited."""

    @property
    def model(self) -> str:
        """Its name."""
        ...

    async def complete(self, messages: Sequence[Message]) -> Reply:
        """Return what the model answers; see :class:`Chat`."""
        ...

    def stream(self, messages: Sequence[Message]) -> AsyncIterator[Piece]:
        """Yield the answer's text as it comes, and at last the reply; see :class:`Chat`."""
        ...


CUT_SHORT = "the answer was cut short: it reached the model's limit of tokens (max_tokens)"


def check_reply(reply: Reply, model: str) -> str | None:
    """Return what a reader should know of a reply, or None.

    Raises:
        AnswerError: It cannot be shown as an answer.
    """
    if reply.finish_reason == "content_filter":
        raise AnswerError(f"{model}: the answer was withheld by the provider's content filter: ask in other words")
    if not reply.text.strip():
        advice = "raise max_tokens" if reply.finish_reason == "length" else "ask again"
        raise AnswerError(f"{model}: the answer is empty ({reply.finish_reason}): {advice}")
    return CUT_SHORT if reply.finish_reason == "length" else None
