"""Embeddings of the OpenAI API, of Azure and of the servers that speak its protocol.

What to send and what an answer means is decided in ``run.py``, without I/O; here it is sent, by threads or by tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from itertools import chain
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import TYPE_CHECKING, Generic, NamedTuple, Self, TypeVar

from pgcorpus.errors import ConfigError
from pgcorpus.services.embedding.base import EmbeddedBatch, Vectors, in_order
from pgcorpus.services.embedding.endpoint import Endpoint, Job, Usage
from pgcorpus.services.embedding.limits import (
    MAX_INPUTS,
    MAX_TOKENS,
    NATIVE_DIMENSIONS,
    Limits,
    longest_input,
    shortened,
)
from pgcorpus.services.embedding.run import UNSENT, Run
from pgcorpus.services.embedding.telling import embedding
from pgcorpus.services.embedding.wire import EncodingFormat
from pgcorpus.services.openai_api import (
    PerLoop,
    PerProcess,
    address_of,
    client_options,
    make_async_client,
    make_client,
)

if TYPE_CHECKING:
    # Importing openai takes about a second: it waits for the first request.
    from openai import AsyncOpenAI, OpenAI

__all__ = ["NATIVE_DIMENSIONS", "AsyncOpenAIEmbedder", "OpenAIEmbedder", "Usage"]

C = TypeVar("C", "OpenAI", "AsyncOpenAI")


class _Embedder(Generic[C]):
    """The arguments and the state of both embedders."""

    _asynchronous: bool

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        client: C | None = None,
        dimensions: int | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        max_inputs: int = MAX_INPUTS,
        max_tokens: int = MAX_TOKENS,
        max_input_tokens: int | None = None,
        count_tokens: Callable[[str], int] | None = None,
        truncate: bool = False,
        encoding_format: EncodingFormat = "base64",
        concurrency: int = 4,
        rounds: int = 2,
    ) -> None:
        if min(concurrency, rounds) < 1:
            raise ConfigError("concurrency and rounds must be at least 1")
        self._options = client_options(client, base_url, api_key, timeout, max_retries, asynchronous=self._asynchronous)
        input_tokens = longest_input(model) if max_input_tokens is None else max_input_tokens
        self._limits = Limits(max_inputs, max_tokens, input_tokens, count_tokens, truncate)
        asked = shortened(model, dimensions)
        self._endpoint = Endpoint(model, asked, dimensions or NATIVE_DIMENSIONS.get(model), encoding_format)
        self.concurrency, self._rounds = concurrency, rounds
        self._given: C | None = client
        self.batch_size = max_inputs
        self.model = model if asked is None else f"{model}@{asked}"
        self._prepare()

    def _prepare(self) -> None:
        """Make what only one of the two has."""
        raise NotImplementedError

    @property
    def usage(self) -> Usage:
        """What this embedder has embedded so far, over all its calls."""
        return self._endpoint.usage

    def _run(self, texts: Sequence[str]) -> Run:
        batches = self._limits.plan(texts)
        return Run(self._endpoint, self._limits, batches, concurrency=self.concurrency, rounds=self._rounds)


class _Connection(NamedTuple):
    """What belongs to one process."""

    client: OpenAI
    slots: BoundedSemaphore


class OpenAIEmbedder(_Embedder["OpenAI"]):
    """Embeds with the OpenAI client, which retries by itself and honours ``Retry-After``.

    Several threads may use one embedder, and a child process after a fork. Close it, or use it as a context manager.

    Args:
        model: The model's name; on Azure the deployment's.
        client: An ``openai.OpenAI`` or ``AzureOpenAI`` with its own key, address, timeout and retries.
        dimensions: Ask for shorter vectors (text-embedding-3 only). ``text-embedding-3-large`` needs 1536 to
            fit the shipped column; ``model`` then reads ``text-embedding-3-large@1536``.
        base_url: Another server, else ``OPENAI_BASE_URL``, else OpenAI.
        api_key: Else ``OPENAI_API_KEY``.
        timeout: Seconds for one attempt; 60 unless given.
        max_retries: Attempts after the first; 2 unless given.
        max_inputs: Texts in a request; some servers take fewer than OpenAI's 2,048.
        max_tokens: Tokens in a request, by ``count_tokens``.
        max_input_tokens: Tokens in a text; the model's own where it is known, else 8,192.
        count_tokens: The exact tokens of a text, such as ``lambda text: len(encoding.encode_ordinary(text))`` with
            an encoding of tiktoken; what is too long is then known before anything is sent. The default counts
            UTF-8 bytes: no token is shorter than a byte, so a request never has too many, though in English only
            a quarter of the limit.
        truncate: Embed the beginning of a text that is too long, with a warning in the log, instead of raising
            TextTooLongError. Without ``count_tokens`` the beginning has as many bytes as a text may have tokens.
        encoding_format: ``float`` for a server that does not know ``base64``; one that says so is asked again for
            numbers, and from then on.
        concurrency: Requests at once, over all calls of this embedder.
        rounds: How often a request is sent that the client has given up because of a timeout, a lost connection,
            429 or 5xx: the others are finished first, and where any of them succeeded it is sent once more.

    Raises:
        ConfigError: There is no key, or an argument cannot be used.
    """

    _asynchronous = False

    def _prepare(self) -> None:
        self._connections = PerProcess(self._connect, self._disconnect)

    @property
    def dimensions(self) -> int:
        """The length of a vector; for a model that is not in OpenAI's list, learned from its first answer.

        Asked before that answer, it embeds one word to find out.
        """
        return self._endpoint.dimensions or self.embed(["dimensions"]).shape[1]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order, in as few requests as the limits allow.

        Args:
            texts: Any number of texts, none of them empty.

        Returns:
            Shape ``(len(texts), dimensions)``.

        Raises:
            TextTooLongError: A text has more tokens than the model takes.
            EmbeddingError: A text cannot be sent, the server fails, or its answer cannot be used.
        """
        with embedding(self.model, len(texts)):
            return in_order(self.embed_batches(texts), len(texts), self._endpoint.dimensions or 0)

    def embed_batches(self, texts: Sequence[str]) -> Iterator[EmbeddedBatch]:
        """Yield the vectors of each request as it is answered, in any order; together they hold every text once.

        Args:
            texts: Any number of texts, none of them empty.

        Raises:
            EmbeddingError: As :meth:`embed`, after what was answered was yielded. A failure that cannot pass keeps
                what is not sent yet from being sent.
        """
        return self._batches(self._run(texts))

    def close(self) -> None:
        """Close the connections of a client made here; an injected one is left alone."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _batches(self, run: Run) -> Iterator[EmbeddedBatch]:
        outcomes: SimpleQueue[tuple[Job, object]] = SimpleQueue()
        try:
            while True:
                for job in run.ready():
                    self._start(run, job, outcomes)
                if not run.in_flight:
                    break
                yield from run.settle(*outcomes.get())
        finally:
            run.abandon()
        run.finish()

    def _start(self, run: Run, job: Job, outcomes: SimpleQueue[tuple[Job, object]]) -> None:
        def work() -> None:
            outcomes.put((job, self._outcome(run, job)))

        if run.one_at_a_time:
            work()
        else:
            # Daemons: a program that is interrupted does not wait for their answers.
            Thread(target=work, name="pgcorpus-embedding", daemon=True).start()

    def _outcome(self, run: Run, job: Job) -> object:
        try:
            connection = self._connections.get()
            with connection.slots:
                return UNSENT if run.stopped else connection.client.embeddings.create(**run.arguments(job))
        except Exception as exc:  # noqa: BLE001 -- the run tells what can be repaired and raises the others
            return exc

    def _connect(self) -> _Connection:
        client = self._given or make_client(self._options)
        self._endpoint.address = address_of(client)
        return _Connection(client, BoundedSemaphore(self.concurrency))

    def _disconnect(self, connection: _Connection) -> None:
        if self._given is None:
            connection.client.close()


class _AsyncConnection(NamedTuple):
    """What belongs to one event loop."""

    client: AsyncOpenAI
    slots: asyncio.Semaphore


class AsyncOpenAIEmbedder(_Embedder["AsyncOpenAI"]):
    """The async twin of :class:`OpenAIEmbedder`, with the same arguments; ``client`` is an ``openai.AsyncOpenAI``.

    An embedder may be used in several event loops, one after another or at once: each gets connections of its own,
    and a bound of its own. Close it in the loop that used it, or use it as a context manager.
    """

    _asynchronous = True

    def _prepare(self) -> None:
        self._connections = PerLoop(self._connect, self._disconnect)

    @property
    def dimensions(self) -> int:
        """The length of a vector; for a model that is not in OpenAI's list, learned from its first answer.

        Raises:
            ConfigError: There was no answer yet.
        """
        if self._endpoint.dimensions is None:
            raise ConfigError(f"the length of {self.model} is not known before its first answer: embed a text first")
        return self._endpoint.dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order: see :meth:`OpenAIEmbedder.embed`."""
        with embedding(self.model, len(texts)):
            async with aclosing(self._batches(self._run(texts))) as batches:
                parts = [batch async for batch in batches]
        return in_order(parts, len(texts), self._endpoint.dimensions or 0)

    def embed_batches(self, texts: Sequence[str]) -> AsyncIterator[EmbeddedBatch]:
        """Yield the vectors of each request as it is answered: see :meth:`OpenAIEmbedder.embed_batches`.

        Args:
            texts: Any number of texts, none of them empty.
        """
        return self._batches(self._run(texts))

    async def close(self) -> None:
        """Close the connections of this event loop; those of an injected client are left alone."""
        await self._connections.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def _batches(self, run: Run) -> AsyncGenerator[EmbeddedBatch, None]:
        tasks: set[asyncio.Task[tuple[Job, object]]] = set()
        try:
            while True:
                tasks |= {asyncio.create_task(self._outcome(run, job)) for job in run.ready()}
                if not tasks:
                    break
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for batch in chain.from_iterable(run.settle(*task.result()) for task in done):
                    yield batch
        finally:
            run.abandon()
            await _cancelled(tasks)
        run.finish()

    async def _outcome(self, run: Run, job: Job) -> tuple[Job, object]:
        try:
            connection = await self._connections.get()
            async with connection.slots:
                if run.stopped:
                    return job, UNSENT
                return job, await connection.client.embeddings.create(**run.arguments(job))
        except Exception as exc:  # noqa: BLE001 -- the run tells what can be repaired and raises the others
            return job, exc

    def _connect(self) -> _AsyncConnection:
        client = self._given or make_async_client(self._options)
        self._endpoint.address = address_of(client)
        return _AsyncConnection(client, asyncio.Semaphore(self.concurrency))

    async def _disconnect(self, connection: _AsyncConnection) -> None:
        if self._given is None:
            await connection.client.close()


async def _cancelled(tasks: set[asyncio.Task[tuple[Job, object]]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
