"""Answers for a sync and for an async app; what they do is told in :mod:`pgcorpus.services.answering.pipeline`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from types import TracebackType
from typing import Self

from pgcorpus.repositories import Where
from pgcorpus.services.answering.answers import Answer
from pgcorpus.services.answering.chat import AsyncChat, Chat, Piece, Reply
from pgcorpus.services.answering.openai import AsyncOpenAIChat, OpenAIChat
from pgcorpus.services.answering.pipeline import Answering, History
from pgcorpus.services.answering.streams import AnswerStream, AsyncAnswerStream
from pgcorpus.services.embedding import AsyncEmbedder, Embedder
from pgcorpus.services.retrieval import AsyncRetriever, Retriever
from pgcorpus.services.steps import AsyncBind, AsyncExecutor, Bind, Executor


class Answerer(Answering[Bind, Embedder, Chat]):
    """Answers questions from the documents of a collection.

    Args:
        bind: An engine: no session and no transaction is held while a model answers. Or the host's own session, or a
            scoped session, which keeps what it has; nothing is committed.
        embedder: One, or several of which the one with the collection's model is used.
        collection: The collection's name.
        tenant: Whose collection.
        chat: The chat model. Without one :class:`OpenAIChat` where there is an OpenAI key, else answers are extractive.
        extractive: Quote sentences of the documents and ask no chat model.
        k: Passages to retrieve.
        hybrid: Whether to search by words as well.
        min_score: The score that the best passage must have, or the question is not answered; by default
            :func:`~pgcorpus.services.answering.default_min_score` of the embedder, where the metric is cosine.
        token_budget: Tokens of the passages that the model is shown, by ``count_tokens``.
        history_budget: Tokens of what was said before; the oldest is dropped.
        quotes: Sentences of an extractive answer.
        prompt: The instruction, in place of :data:`~pgcorpus.services.answering.GROUNDING`.
        count_tokens: The tokens of a text; the default is an estimate,
            :func:`~pgcorpus.services.answering.estimate_tokens`.
        rewrite: From the question and what was said before to what is searched for; by default the user's previous
            question and this one.
        model: The mapped document class.
        column: The attribute of its vector column; not needed where there is one only.

    Raises:
        ConfigError: An argument cannot be used.
    """

    _retrievers, _executors, _chats = Retriever, Executor, OpenAIChat

    def answer(
        self, question: str, k: int | None = None, *, where: Where | None = None, history: History | None = None
    ) -> Answer:
        """Return an answer with the passages it cites.

        Args:
            question: In words.
            k: Passages to retrieve; those of the answerer by default.
            where: A filter of the passages; see :mod:`pgcorpus.repositories.filters`.
            history: What was said before, the oldest first: ``{"role": "user" or "assistant", "content": text}``.

        Raises:
            AnswerError: The chat model failed, or its answer cannot be used.
            CollectionNotFoundError: There is no such collection.
            EmbeddingModelMismatchError: It was embedded with the model of no embedder given.
            EmbeddingError: The embedder failed.
            FilterError: The filter cannot be understood.
            SearchError: The question, ``k`` or the history cannot be used.
        """
        result: Answer = self._executor.run(self._answered(question, k, where, history))
        return result

    def stream(
        self, question: str, k: int | None = None, *, where: Where | None = None, history: History | None = None
    ) -> AnswerStream:
        """Return the answer's text as it is written; see :class:`AnswerStream`.

        Args:
            question: As in :meth:`answer`, and so the others.
            k: Passages to retrieve.
            where: A filter.
            history: What was said before.

        Raises:
            AnswerError: The chat model failed before its first word; and otherwise as :meth:`answer`.
        """
        prepared = self._executor.run(self._prepared(question, k, where, history))
        if isinstance(prepared, Answer):
            return AnswerStream(_pieces_of(prepared.text), lambda _: prepared)
        finish = partial(self._finished, prepared, time.perf_counter())
        return AnswerStream(self._chat.stream(prepared.messages), finish, self._watched(prepared))

    def close(self) -> None:
        """Close the connections of a chat model made here; one that was given is left alone."""
        if self._owns_chat:
            self._chat.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncAnswerer(Answering[AsyncBind, AsyncEmbedder | Embedder, AsyncChat]):
    """Answers questions from the documents of a collection without blocking; see :class:`Answerer`.

    A sync embedder or ``rewrite`` is called in a thread.
    """

    _retrievers, _executors, _chats, _is_async = AsyncRetriever, AsyncExecutor, AsyncOpenAIChat, True

    async def answer(
        self, question: str, k: int | None = None, *, where: Where | None = None, history: History | None = None
    ) -> Answer:
        """Return an answer with the passages it cites; see :meth:`Answerer.answer`."""
        result: Answer = await self._executor.run(self._answered(question, k, where, history))
        return result

    async def stream(
        self, question: str, k: int | None = None, *, where: Where | None = None, history: History | None = None
    ) -> AsyncAnswerStream:
        """Return the answer's text as it is written; see :class:`AnswerStream`."""
        prepared = await self._executor.run(self._prepared(question, k, where, history))
        if isinstance(prepared, Answer):
            return await AsyncAnswerStream.begun(_async_pieces_of(prepared.text), lambda _: prepared)
        finish = partial(self._finished, prepared, time.perf_counter())
        return await AsyncAnswerStream.begun(self._chat.stream(prepared.messages), finish, self._watched(prepared))

    async def close(self) -> None:
        """Close the connections of a chat model made here; one that was given is left alone."""
        if self._owns_chat:
            await self._chat.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


def _pieces_of(text: str) -> Iterator[Piece]:
    yield text
    yield Reply(text)


async def _async_pieces_of(text: str) -> AsyncIterator[Piece]:
    for piece in _pieces_of(text):
        yield piece
