"""What every client of the OpenAI API needs here: how it is made and kept, where it sends, what its errors mean.

Nothing here sends a request, so that sync and async services share it. Importing openai takes about a second: it waits
for the first request.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pgcorpus.config import load_settings
from pgcorpus.errors import ConfigError

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

# The client waits 600 seconds by default, three times over with its retries; an answer takes seconds.
DEFAULT_TIMEOUT = 60.0
DEFAULT_RETRIES = 2

_ADVICE = {
    401: "the key was refused: check OPENAI_API_KEY",
    403: "the key may not use this model: check the permissions of its project",
    404: "no such model or address: check the model's name and base_url (OPENAI_BASE_URL)",
    413: "the request is too large: send less at once",
    429: "the rate limit or quota is used up, after all retries: check the account's limits and billing",
}

_LONGEST_DETAIL = 200

C = TypeVar("C")
T = TypeVar("T")


class PerProcess(Generic[T]):
    """One of something for each process: a child that wrote to its parent's connections would read its answers.

    Args:
        make: Makes one.
        close: Closes one.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], object]) -> None:
        self._make, self._close = make, close
        # What belongs to the parent stays untouched: to close it would take locks that nobody here gives back.
        self._made: dict[int, T] = {}
        self._lock = Lock()

    def get(self) -> T:
        """Return this process's."""
        with self._lock:
            if os.getpid() not in self._made:
                self._made[os.getpid()] = self._make()
            return self._made[os.getpid()]

    def close(self) -> None:
        """Close this process's; the next is made when it is asked for."""
        with self._lock:
            mine = self._made.pop(os.getpid(), None)
        if mine is not None:
            self._close(mine)


class PerLoop(Generic[T]):
    """One of something for each event loop: connections work in no other.

    Args:
        make: Makes one.
        close: Closes one; awaited.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[object]]) -> None:
        self._make, self._close = make, close
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        self._lock = Lock()

    async def get(self) -> T:
        """Return the running loop's."""
        loop = asyncio.get_running_loop()
        with self._lock:
            # An app may run each request in a loop of its own, and close none of them here.
            left = [self._made.pop(each) for each in list(self._made) if each.is_closed()]
            if loop not in self._made:
                self._made[loop] = self._make()
            mine = self._made[loop]
        for each in left:
            with suppress(RuntimeError):  # "Event loop is closed", after all that matters was done
                await self._close(each)
        return mine

    async def close(self) -> None:
        """Close the running loop's; the next is made when it is asked for."""
        with self._lock:
            mine = self._made.pop(asyncio.get_running_loop(), None)
        if mine is not None:
            await self._close(mine)


def client_options(
    client: OpenAI | AsyncOpenAI | None,
    base_url: str | None,
    api_key: str | None,
    timeout: float | None,
    max_retries: int | None,
    *,
    asynchronous: bool = False,
) -> dict[str, Any]:
    """Return what a client of our own is made from; nothing where one was given.

    Args:
        client: The caller's own, with its own key, address, timeout and retries.
        base_url: Another server, else ``OPENAI_BASE_URL``, else OpenAI.
        api_key: Else ``OPENAI_API_KEY``.
        timeout: Seconds for one attempt; 60 unless given.
        max_retries: Attempts after the first; 2 unless given.
        asynchronous: Whether the caller awaits the client.

    Raises:
        ConfigError: There is no key, both a client and options are given, or the client is of the other kind.
    """
    if client is None:
        return {
            "base_url": base_url,
            "api_key": api_key or _key_from_environment(),
            "timeout": DEFAULT_TIMEOUT if timeout is None else timeout,
            "max_retries": DEFAULT_RETRIES if max_retries is None else max_retries,
        }
    if (base_url, api_key, timeout, max_retries) != (None,) * 4:
        raise ConfigError("base_url, api_key, timeout and max_retries belong to the client that was given")
    if inspect.iscoroutinefunction(client.embeddings.create) is not asynchronous:
        wanted = "an openai.AsyncOpenAI" if asynchronous else "an openai.OpenAI, not an AsyncOpenAI"
        raise ConfigError(f"the client is of the other kind: give {wanted}")
    return {}


def make_client(options: dict[str, Any]) -> OpenAI:
    """Make a client of :func:`client_options`.

    Raises:
        ConfigError: The address cannot be used.
    """
    from openai import OpenAI

    return _made(OpenAI, options)


def make_async_client(options: dict[str, Any]) -> AsyncOpenAI:
    """Make an async client of :func:`client_options`.

    Raises:
        ConfigError: The address cannot be used.
    """
    from openai import AsyncOpenAI

    return _made(AsyncOpenAI, options)


def address_of(client: OpenAI | AsyncOpenAI) -> str:
    """Return where a client sends, without credentials."""
    return str(client.base_url.copy_with(username=None, password=None, query=None)).rstrip("/")


def advice_on(exc: Exception) -> str:
    """Say in one line what failed and what to do about it.

    Args:
        exc: What the openai client raised, or a ValueError for an answer that is not JSON.
    """
    import openai

    if isinstance(exc, openai.APITimeoutError):
        return "no answer in time: raise timeout, or send less at once"
    if isinstance(exc, openai.APIConnectionError):
        return "cannot connect: check base_url (OPENAI_BASE_URL) and the network"
    if isinstance(exc, openai.APIStatusError):
        return _advice_on_status(exc)
    return f"the answer cannot be read: check base_url ({one_line(str(exc))})"


def _advice_on_status(exc: Any) -> str:
    status = exc.status_code
    otherwise = "the request was refused" if status < 500 else "the server failed, after all retries: try again later"
    advice = f"{status}, {_ADVICE.get(status, otherwise)}"
    # OpenAI repeats a part of the key.
    return advice if status == 401 else f"{advice} ({one_line(said_in(exc))})"


def said_in(exc: Any) -> str:
    """Return what the server said of a failure, in whatever form.

    Args:
        exc: An ``openai.APIStatusError``, whose own text holds only what is in the form of OpenAI.
    """
    body = exc.body
    said = (body.get("message") or body.get("detail") or body) if isinstance(body, dict) else body
    return str(said or exc)


def well_formed(text: str) -> str:
    """Return a text without the lone surrogates that JSON can hold and no file, socket or database takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def one_line(text: str) -> str:
    """Return a text as one line of at most 200 characters, for an error."""
    line = " ".join(well_formed(text).split())
    return line if len(line) <= _LONGEST_DETAIL else f"{line[: _LONGEST_DETAIL - 3]}..."


def _made(kind: Callable[..., C], options: dict[str, Any]) -> C:
    try:
        return kind(**options)
    # A malformed address raises an exception of whichever HTTP library this version of openai is built on.
    except Exception as exc:
        # Its text may hold a part of the address, and so a password.
        raise ConfigError(
            f"the OpenAI client cannot be made ({type(exc).__name__}): check base_url (OPENAI_BASE_URL)"
        ) from exc


def _key_from_environment() -> str:
    key = load_settings().openai_api_key
    if not key:
        raise ConfigError(
            "no OpenAI key: set OPENAI_API_KEY (any text for a server that needs none), "
            "or use the local embedder (PGCORPUS_EMBEDDER=local)"
        )
    return key
