"""An answer that is read while the model writes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self, TypeAlias

from pgcorpus.errors import AnswerError
from pgcorpus.services.answering.answers import Answer
from pgcorpus.services.answering.chat import Piece, Reply

Watched: TypeAlias = Callable[[], AbstractContextManager[None]]


class _Streamed:
    """What came of an answer so far.

    Args:
        finish: Makes the answer of the whole reply.
        watched: What pieces are read in.
    """

    def __init__(self, finish: Callable[[Reply], Answer], watched: Watched) -> None:
        self._finish = finish
        self._watched = watched
        self._answer: Answer | None = None
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        """What came so far; only :attr:`answer` says that it is all."""
        return "".join(self._texts)

    @property
    def answer(self) -> Answer:
        """The whole answer with its citations, once the stream has been read to its end.

        Raises:
            AnswerError: It has not, or it broke off.
        """
        if self._answer is None:
            raise AnswerError("the answer is not complete: read the stream to its end first")
        return self._answer

    def _take(self, piece: Piece | None) -> str:
        """Return the text of a piece; the last one has none."""
        if piece is None:
            raise AnswerError("the answer is not complete: its stream ended or was closed before")
        if isinstance(piece, Reply):
            self._answer = self._finish(piece)
            return ""
        self._texts.append(piece)
        return piece


class AnswerStream(_Streamed):
    """The pieces of an answer's text as they come; after the last, :attr:`answer` is the whole.

    What fails before the first piece fails where the stream is made. Use it in ``with``, or close it: leaving it early
    closes the connection to the model.
    """

    def __init__(
        self, pieces: Iterator[Piece], finish: Callable[[Reply], Answer], watched: Watched = nullcontext
    ) -> None:
        super().__init__(finish, watched)
        self._pieces = pieces
        with watched():
            self._first = next(pieces, None)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while self._answer is None:
            piece, self._first = self._first, None
            with self._watched():
                text = self._take(piece or next(self._pieces, None))
            if text:
                return text
        raise StopIteration

    def close(self) -> None:
        """Stop reading, and close the connection to the model."""
        close: Any = getattr(self._pieces, "close", None)
        if close:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncAnswerStream(_Streamed):
    """The pieces of an answer's text for ``async for``; see :class:`AnswerStream`."""

    def __init__(
        self,
        pieces: AsyncIterator[Piece],
        first: Piece | None,
        finish: Callable[[Reply], Answer],
        watched: Watched = nullcontext,
    ) -> None:
        super().__init__(finish, watched)
        self._pieces = pieces
        self._first = first

    @classmethod
    async def begun(
        cls, pieces: AsyncIterator[Piece], finish: Callable[[Reply], Answer], watched: Watched = nullcontext
    ) -> AsyncAnswerStream:
        """Return the stream once its first piece has come."""
        with watched():
            first = await anext(pieces, None)
        return cls(pieces, first, finish, watched)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while self._answer is None:
            piece, self._first = self._first, None
            with self._watched():
                text = self._take(piece or await anext(self._pieces, None))
            if text:
                return text
        raise StopAsyncIteration

    async def close(self) -> None:
        """Stop reading, and close the connection to the model."""
        close: Any = getattr(self._pieces, "aclose", None)
        if close:
            await close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
