"""Answers told as events, and questions that could not be answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pgcorpus.events import AnswerEvent, emit, is_heard
from pgcorpus.services.answering.answers import Answer


@dataclass(frozen=True, slots=True)
class Teller:
    """Tells of the answers from a collection.

    Attributes:
        collection: Its name.
        tenant: Whose it is.
    """

    collection: str
    tenant: str

    def told(self, answer: Answer) -> Answer:
        """Tell of an answer, and return it."""
        if is_heard(AnswerEvent):
            emit(self._event(answer))
        return answer

    @contextmanager
    def failures_told(self, started: float) -> Iterator[None]:
        """Tell of what fails inside.

        Args:
            started: When the question was asked, in seconds of :func:`time.perf_counter`.
        """
        try:
            yield
        except Exception as exc:
            if is_heard(AnswerEvent):
                seconds = time.perf_counter() - started
                emit(AnswerEvent(self.collection, self.tenant, seconds=seconds, error=type(exc).__name__))
            raise

    def _event(self, answer: Answer) -> AnswerEvent:
        return AnswerEvent(
            collection=self.collection,
            tenant=self.tenant,
            kind=answer.kind.value,
            model=answer.model,
            hits=len(answer.hits),
            passages=len(answer.passages),
            citations=len(answer.citations),
            unknown_citations=len(answer.unknown_citations),
            prompt_tokens=answer.usage.prompt_tokens if answer.usage else None,
            completion_tokens=answer.usage.completion_tokens if answer.usage else None,
            seconds=answer.timings.total,
            embed_seconds=answer.timings.embed,
            retrieve_seconds=answer.timings.retrieve,
            generate_seconds=answer.timings.generate,
        )
