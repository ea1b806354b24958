"""One call of an OpenAI embedder, without its I/O: what to send next, and what each outcome means.

An executor, sync or async, sends what :meth:`Run.ready` yields and hands what comes of it to :meth:`Run.settle`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from pgcorpus.errors import EmbeddingError, TextTooLongError
from pgcorpus.services.embedding.base import EmbeddedBatch, check_embeddings
from pgcorpus.services.embedding.batches import Batch, consecutive, cut_to_bytes, halves, select, utf8_bytes
from pgcorpus.services.embedding.endpoint import Endpoint, Job
from pgcorpus.services.embedding.limits import Limits, warn_of_cut
from pgcorpus.services.embedding.telling import count_answer
from pgcorpus.services.embedding.wire import (
    Fault,
    decode_response,
    fault_of,
    request_arguments,
    tokens_used,
)
from pgcorpus.services.openai_api import advice_on

# What an executor reports of a job that it did not send, because the run had stopped.
UNSENT = object()


class Run:
    """The requests of one call; used by one thread, but any may look at ``stopped``.

    Args:
        endpoint: What is shared with other calls.
        limits: What fits into a request.
        batches: What is to be embedded.
        concurrency: Requests in flight.
        rounds: How often a batch is sent that fails in a way that may pass, the client's retries aside.

    Attributes:
        in_flight: The jobs that were handed out and not settled.
        stopped: Whether what was handed out should not be sent any more.
    """

    def __init__(
        self, endpoint: Endpoint, limits: Limits, batches: Iterable[Batch], *, concurrency: int, rounds: int
    ) -> None:
        self._endpoint, self._limits = endpoint, limits
        self._concurrency, self._rounds_left = concurrency, rounds - 1
        self._queue = deque(Job(batch, endpoint.encoding) for batch in batches)
        self._missing = sum(len(job.batch.texts) for job in self._queue)
        self._late: list[tuple[Job, EmbeddingError]] = []
        self._error: EmbeddingError | None = None
        self._answers = self._failures_in_a_row = 0
        self.in_flight = 0
        self.stopped = False

    def ready(self) -> Iterator[Job]:
        """Yield what can be sent now; nothing, and nothing in flight, is the end."""
        if not self._queue and not self.in_flight:
            self._next_round()
        while self._queue and self.in_flight < self._concurrency:
            self.in_flight += 1
            yield self._queue.popleft()

    @property
    def one_at_a_time(self) -> bool:
        """Whether nothing else can be sent while the job that was handed out last is."""
        return self._concurrency == 1 or (self.in_flight == 1 and not self._queue)

    def arguments(self, job: Job) -> dict[str, Any]:
        """Return the arguments of ``client.embeddings.create`` for a job."""
        return request_arguments(self._endpoint.name, job.batch, self._endpoint.shortened, job.encoding)

    def settle(self, job: Job, outcome: object) -> list[EmbeddedBatch]:
        """Take what came of a job: return its vectors, and remember or repair its failure.

        Args:
            job: What was handed out.
            outcome: The client's answer, the exception it raised, or ``UNSENT``.
        """
        self.in_flight -= 1
        if outcome is UNSENT:
            return []
        if isinstance(outcome, Exception):
            self._failed(job, outcome)
            return []
        return self._answered(job, outcome)

    def abandon(self) -> None:
        """Send nothing more."""
        self.stopped = True
        self._queue.clear()

    def finish(self) -> None:
        """Raise what kept texts from getting their vectors, if anything did."""
        if self._error is not None:
            raise self._error
        if self._late:
            error = self._late[0][1]
            raise EmbeddingError(f"{error}; {self._missing:,} texts have no vector") from error.__cause__

    def _next_round(self) -> None:
        # Where nothing at all came through, the client's retries were enough of a trial.
        if self._rounds_left > 0 and self._answers and not self.stopped:
            self._rounds_left -= 1
            self._queue.extend(job for job, _ in self._late)
            self._late.clear()

    def _answered(self, job: Job, response: object) -> list[EmbeddedBatch]:
        tokens = tokens_used(response)
        self._endpoint.answered(job, tokens)
        count_answer(tokens)
        self._answers, self._failures_in_a_row = self._answers + 1, 0
        try:
            parts = self._checked(job.batch, decode_response(response, job.batch))
        except EmbeddingError as exc:
            self._stop(EmbeddingError(f"{self._where}: {exc}"))
            return []
        self._missing -= len(job.batch.texts)
        return parts

    def _checked(self, batch: Batch, rows: list[Any]) -> list[EmbeddedBatch]:
        dimensions = self._endpoint.dimensions or np.size(rows[0])
        parts = []
        for piece in consecutive(batch.positions):
            first = batch.positions[piece.start]
            vectors = check_embeddings(rows[piece], piece.stop - piece.start, dimensions, first=first)
            parts.append(EmbeddedBatch(first, vectors))
        self._endpoint.dimensions = dimensions
        return parts

    def _failed(self, job: Job, exc: Exception) -> None:
        import openai

        # A ValueError is an answer that is not JSON, an OverflowError a number in it that is no float; anything else is
        # no failure of the server.
        if not isinstance(exc, (openai.OpenAIError, ValueError, OverflowError)):
            raise exc
        fault = fault_of(exc)
        if fault is Fault.PASSING:
            self._put_off(job, exc)
        elif fault is Fault.REQUEST_TOO_LARGE and len(job.batch.texts) > 1:
            self._send_instead(job, halves(job.batch))
        elif fault in (Fault.TEXT_TOO_LONG, Fault.REQUEST_TOO_LARGE):
            self._too_long(job, exc)
        elif fault is Fault.UNEXPLAINED and self._base64_may_be_unknown(job):
            self._send_instead(replace(job, encoding="float"), [job.batch])
        else:
            self._stop(self._explained(exc, job.batch))

    def _put_off(self, job: Job, exc: Exception) -> None:
        self._late.append((job, self._explained(exc, job.batch)))
        self._failures_in_a_row += 1
        # Each of them was tried by the client's retries: the server is down, and the rest would fare no better.
        if self._failures_in_a_row >= 2 * self._concurrency:
            self.abandon()

    def _too_long(self, job: Job, exc: Exception) -> None:
        texts, positions = job.batch.texts, job.batch.positions
        suspects = self._limits.suspects(texts)
        if not suspects:
            self._stop(self._explained(exc, job.batch))
        elif not self._limits.truncate:
            self._stop(self._named(exc, select(job.batch, suspects)))
        elif len(texts) == 1:
            beginning = cut_to_bytes(texts[0], self._limits.max_input_tokens)
            warn_of_cut(positions[0], texts[0], beginning)
            self._send_instead(job, [Batch(positions, [beginning])])
        else:
            others = [index for index in range(len(texts)) if index not in set(suspects)]
            alone = [select(job.batch, [index]) for index in suspects]
            self._send_instead(job, [*alone, select(job.batch, others)] if others else alone)

    def _base64_may_be_unknown(self, job: Job) -> bool:
        return job.encoding == "base64" and not (self._endpoint.encoding_known and self._endpoint.encoding == "base64")

    def _send_instead(self, job: Job, batches: list[Batch]) -> None:
        if not self.stopped:
            self._queue.extendleft(replace(job, batch=batch) for batch in reversed(batches))

    def _stop(self, error: EmbeddingError) -> None:
        self._error = self._error or error
        self.abandon()

    @property
    def _where(self) -> str:
        return f"{self._endpoint.name} at {self._endpoint.address}"

    def _named(self, exc: Exception, suspects: Batch) -> TextTooLongError:
        sizes = [utf8_bytes(text) for text in suspects.texts]
        names = [f"texts[{position}]" for position in suspects.positions]
        more = f" or {len(names) - 5} others" if len(names) > 5 else ""
        error = TextTooLongError(
            f"{self._where}: {' or '.join(names[:5])}{more} has more than "
            f"{self._limits.max_input_tokens:,} tokens: split it, or give truncate=True ({advice_on(exc)})",
            suspects.positions[sizes.index(max(sizes))],
        )
        error.__cause__ = exc
        return error

    def _explained(self, exc: Exception, batch: Batch) -> EmbeddingError:
        advice = advice_on(exc)
        if getattr(exc, "status_code", None) in (400, 413, 422):
            # The server does not name the text that was too long.
            longest = max(range(len(batch.texts)), key=lambda index: len(batch.texts[index]))
            size = len(batch.texts[longest])
            advice += f"; the longest text is texts[{batch.positions[longest]}], {size:,} characters"
        error = EmbeddingError(f"{self._where}: {advice}")
        error.__cause__ = exc
        return error
