"""Chat models of the OpenAI API, of Azure and of the servers that speak its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pgcorpus.errors import AnswerError, ConfigError
from pgcorpus.services.answering.answers import ChatUsage
from pgcorpus.services.answering.chat import Piece, Reply
from pgcorpus.services.answering.prompting import Message
from pgcorpus.services.openai_api import (
    PerLoop,
    PerProcess,
    address_of,
    advice_on,
    client_options,
    make_async_client,
    make_client,
    one_line,
    well_formed,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

DEFAULT_MODEL = "gpt-4o-mini"
DEFAULT_MAX_TOKENS = 1000

C = TypeVar("C")


class _OpenAI(Generic[C]):
    """What the sync and the async chat share; the arguments are those of :class:`OpenAIChat`."""

    _asynchronous: ClassVar[bool]

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        client: C | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        temperature: float | None = 0.0,
        max_tokens: int | None = DEFAULT_MAX_TOKENS,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not model:
            raise ConfigError("name a chat model, for example gpt-4o-mini")
        given: Any = client
        self._options = client_options(given, base_url, api_key, timeout, max_retries, asynchronous=self._asynchronous)
        self._given = client
        self.model = model
        self._request = {"model": model, "temperature": temperature, "max_tokens": max_tokens, **(options or {})}
        self._prepare()

    def _prepare(self) -> None:
        """Make what only one of the two has."""
        raise NotImplementedError

    def _arguments(self, messages: Sequence[Message], *, stream: bool) -> dict[str, Any]:
        """Return the arguments of ``client.chat.completions.create``."""
        asked = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        wanted = {"messages": list(messages), **asked, **self._request}
        return {name: value for name, value in wanted.items() if value is not None}

    @contextmanager
    def _explained(self, client: Any) -> Iterator[None]:
        """Raise what the client raises as an error of ours."""
        import openai

        try:
            yield
        except AnswerError as exc:
            raise self._error(client, str(exc)) from exc.__cause__
        # A ValueError is an answer that is not JSON.
        except (openai.OpenAIError, ValueError) as exc:
            raise self._error(client, advice_on(exc)) from exc

    @contextmanager
    def _unbroken(self, client: Any, heard: Heard) -> Iterator[None]:
        """Raise what happens in the middle of a stream as an error of ours."""
        try:
            yield
        except AnswerError as exc:
            raise self._error(client, str(exc)) from exc.__cause__
        # Older versions of openai let the exceptions of their HTTP library through.
        except Exception as exc:
            what = one_line(f"{type(exc).__name__}: {exc}")
            raise self._error(client, f"the answer broke off after {heard.length:,} characters ({what})") from exc

    def _error(self, client: Any, what: str) -> AnswerError:
        return AnswerError(f"{self.model} at {address_of(client)}: {what}")


class OpenAIChat(_OpenAI["OpenAI"]):
    """Answers with the OpenAI client, which retries by itself and honours ``Retry-After``.

    Several threads may use one chat, and a child process after a fork.

    Args:
        model: The model to ask.
        client: The caller's own, an ``openai.OpenAI`` or ``AzureOpenAI``.
        base_url: Another server, else ``OPENAI_BASE_URL``, else OpenAI.
        api_key: Else ``OPENAI_API_KEY``.
        timeout: Seconds for one attempt, in a stream for each piece; 60 unless given.
        max_retries: Attempts after the first; 2 unless given. An answer that broke off is not asked for again.
        temperature: 0 for the likeliest words; None leaves it to the model: some take no other.
        max_tokens: Of the answer; None sets no limit. Models that reason want ``max_tokens=None`` and
            ``options={"max_completion_tokens": ...}``.
        options: More of a request (OpenAI reference, "Create chat completion"), such as ``{"seed": 1}``; None leaves
            out what would be sent, such as ``stream_options`` for a server that does not know them.

    Raises:
        ConfigError: There is no key, or an argument cannot be used.
    """

    _asynchronous = False

    def _prepare(self) -> None:
        self._made: PerProcess[OpenAI]
        self._made = PerProcess(lambda: make_client(self._options), lambda client: client.close())

    def complete(self, messages: Sequence[Message]) -> Reply:
        """Return what the model answers.

        Raises:
            AnswerError: The server fails, or its answer cannot be used.
        """
        client = self._given or self._made.get()
        with self._explained(client):
            return read_completion(client.chat.completions.create(**self._arguments(messages, stream=False)))

    def stream(self, messages: Sequence[Message]) -> Iterator[Piece]:
        """Yield the answer's text as it comes, and at last the reply; closing it closes the connection.

        Raises:
            AnswerError: The server fails, or its answer breaks off or cannot be used.
        """
        client, heard = self._given or self._made.get(), Heard()
        with self._explained(client):
            chunks = client.chat.completions.create(**self._arguments(messages, stream=True))
        with chunks, self._unbroken(client, heard):
            for chunk in chunks:
                if text := heard.take(chunk):
                    yield text
            yield heard.reply()

    def close(self) -> None:
        """Close the connections of a client made here; an injected one is left alone."""
        self._made.close()


class AsyncOpenAIChat(_OpenAI["AsyncOpenAI"]):
    """Answers with the async OpenAI client; see :class:`OpenAIChat`.

    It may be used in several event loops, one after another or at once. Close it in the loop that used it.
    """

    _asynchronous = True

    def _prepare(self) -> None:
        self._made: PerLoop[AsyncOpenAI]
        self._made = PerLoop(lambda: make_async_client(self._options), lambda client: client.close())

    async def complete(self, messages: Sequence[Message]) -> Reply:
        """Return what the model answers; see :meth:`OpenAIChat.complete`."""
        client = self._given or await self._made.get()
        with self._explained(client):
            return read_completion(await client.chat.completions.create(**self._arguments(messages, stream=False)))

    async def stream(self, messages: Sequence[Message]) -> AsyncIterator[Piece]:
        """Yield the answer's text as it comes, and at last the reply; see :meth:`OpenAIChat.stream`."""
        client, heard = self._given or await self._made.get(), Heard()
        with self._explained(client):
            chunks = await client.chat.completions.create(**self._arguments(messages, stream=True))
        async with chunks:
            with self._unbroken(client, heard):
                async for chunk in chunks:
                    if text := heard.take(chunk):
                        yield text
                yield heard.reply()

    async def close(self) -> None:
        """Close the connections of this event loop; those of an injected client are left alone."""
        await self._made.close()


class Heard:
    """What came of a stream so far."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._refusal = self._half = ""
        self._usage: ChatUsage | None = None
        self._finish_reason: str | None = None

    @property
    def length(self) -> int:
        """Characters that came."""
        return sum(map(len, self._texts))

    def take(self, chunk: Any) -> str:
        """Return the text of a chunk; one may have none, and the last has the usage."""
        self._usage = _usage(chunk) or self._usage
        choices = getattr(chunk, "choices", None)
        if not choices:
            return ""
        self._finish_reason = getattr(choices[0], "finish_reason", None) or self._finish_reason
        delta = getattr(choices[0], "delta", None)
        self._refusal += _text(delta, "refusal")
        text = self._whole(_text(delta, "content"))
        self._texts.append(text)
        return text

    def _whole(self, text: str) -> str:
        """Return a text without a last half of a character, which waits for its other half."""
        text = self._half + text
        end = len(text) - ("\ud800" <= text[-1:] <= "\udbff")
        self._half = text[end:]
        return well_formed(text[:end])

    def reply(self) -> Reply:
        """Return the whole.

        Raises:
            AnswerError: The model refused to answer, or the stream ended without saying why, and so perhaps in the
                middle.
        """
        _check_refusal(self._refusal)
        if self._finish_reason is None:
            raise AnswerError(
                f"the chat server's stream ended after {self.length:,} characters without a finish_reason: "
                f"the answer may be incomplete, or base_url does not end in /v1"
            )
        return Reply("".join(self._texts), self._usage, self._finish_reason)


def read_completion(response: Any) -> Reply:
    """Return what an answer says.

    Args:
        response: What ``client.chat.completions.create`` returned.

    Raises:
        AnswerError: It holds no choice, or the model refused to answer.
    """
    choices = getattr(response, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise AnswerError("the chat server's answer holds no choices: does base_url end in /v1?")
    message = getattr(choices[0], "message", None)
    _check_refusal(_text(message, "refusal"))
    finish_reason = getattr(choices[0], "finish_reason", None)
    return Reply(well_formed(_text(message, "content")), _usage(response), finish_reason)


def _check_refusal(refusal: str) -> None:
    if refusal:
        raise AnswerError(f"the model refused to answer: {one_line(refusal)}")


def _text(said: Any, name: str) -> str:
    """Return a text of a message, or of a part of one; the client checks no types."""
    text = getattr(said, name, None)
    return text if isinstance(text, str) else ""


def _usage(said: Any) -> ChatUsage | None:
    usage = getattr(said, "usage", None)
    tokens = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    counts = [count if isinstance(count, int) else None for count in tokens]
    return None if counts == [None, None] else ChatUsage(counts[0] or 0, counts[1] or 0)
