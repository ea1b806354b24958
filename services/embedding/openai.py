"""Embeddings of the OpenAI API, of Azure and of the servers that speak its protocol.

Planning, decoding and explaining are plain functions without I/O: an async embedder needs only to send.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from pgcorpus.config import load_settings
from pgcorpus.errors import ConfigError, EmbeddingError
from pgcorpus.services.embedding.base import Batch, Vectors, check_embeddings, check_texts, plan_batches

if TYPE_CHECKING:
    # Importing openai takes about a second: it waits for the first request.
    from openai import OpenAI

EncodingFormat: TypeAlias = Literal["base64", "float"]

# OpenAI reference, "Create embeddings": inputs and tokens a request. An input has at most 8,192 tokens.
MAX_INPUTS = 2048
MAX_TOKENS = 300_000

# OpenAI guide, "Embeddings": the length of a vector when no other is asked for.
NATIVE_DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}

# The client waits 600 seconds by default, three times over with its retries; an answer takes seconds.
DEFAULT_TIMEOUT = 60.0
DEFAULT_RETRIES = 2

ADVICE = {
    401: "the key was refused: check OPENAI_API_KEY",
    403: "the key may not use this model: check the permissions of its project",
    404: "no such model or address: check the model's name and base_url (OPENAI_BASE_URL)",
    413: "the request is too large: lower max_inputs or max_tokens",
    429: "the rate limit or quota is used up, after all retries: check the account's limits and billing",
}


class OpenAIEmbedder:
    """Embeds with the OpenAI client, which retries by itself and honours ``Retry-After``.

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
        count_tokens: The tokens of a text. The default counts UTF-8 bytes: no token is shorter than a byte,
            so a request never has too many, though in English only a quarter of the limit. With a tokenizer's
            own count, requests are fewer and larger.
        encoding_format: ``float`` for a server that refuses ``base64``.

    Raises:
        ConfigError: There is no key, or an argument cannot be used.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        client: OpenAI | None = None,
        dimensions: int | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        max_inputs: int = MAX_INPUTS,
        max_tokens: int = MAX_TOKENS,
        count_tokens: Callable[[str], int] | None = None,
        encoding_format: EncodingFormat = "base64",
    ) -> None:
        if min(max_inputs, max_tokens) < 1:
            raise ConfigError("max_inputs and max_tokens must be at least 1")
        self._options = _client_options(client, base_url, api_key, timeout, max_retries)
        self._client, self._owns_client, self._lock = client, client is None, Lock()
        self._name, self._shortened = model, _shortened(model, dimensions)
        self._dimensions = dimensions or NATIVE_DIMENSIONS.get(model)
        self._max_tokens, self._count_tokens = max_tokens, count_tokens or utf8_bytes
        self._encoding_format: EncodingFormat = encoding_format
        self.batch_size = max_inputs
        self.model = model if self._shortened is None else f"{model}@{self._shortened}"

    @property
    def dimensions(self) -> int:
        """The length of a vector; for a model that is not in OpenAI's list, learned from its first answer.

        Asked before that answer, it embeds one word to find out.
        """
        return self._dimensions or self.embed(["dimensions"]).shape[1]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector for each text, in order, in as few requests as the limits allow.

        Args:
            texts: Any number of texts, none of them empty.

        Returns:
            Shape ``(len(texts), dimensions)``.

        Raises:
            EmbeddingError: A text cannot be sent, the server fails, or its answer cannot be used.
        """
        check_texts(texts)
        batches = plan_batches(
            texts, max_texts=self.batch_size, max_tokens=self._max_tokens, count_tokens=self._count_tokens
        )
        parts = [self._embed_batch(batch) for batch in batches]
        return np.concatenate(parts) if parts else np.empty((0, self._dimensions or 0), np.float32)

    def close(self) -> None:
        """Close the connections of a client made here; an injected one is left alone."""
        with self._lock:
            if self._owns_client and self._client is not None:
                self._client.close()
                self._client = None

    def _embed_batch(self, batch: Batch) -> Vectors:
        rows = decode_response(self._send(batch), batch)
        dimensions = self._dimensions or rows[0].size
        vectors = check_embeddings(rows, len(batch.texts), dimensions, first=batch.first)
        self._dimensions = dimensions
        return vectors

    def _send(self, batch: Batch) -> object:
        import openai

        client = self._connected()
        request = request_arguments(self._name, batch, self._shortened, self._encoding_format)
        try:
            return client.embeddings.create(**request)
        # A ValueError is an answer that is not JSON.
        except (openai.OpenAIError, ValueError) as exc:
            raise explain_error(exc, self._name, _address(client), batch) from exc

    def _connected(self) -> OpenAI:
        with self._lock:
            if self._client is None:
                self._client = _make_client(self._options)
            return self._client


def utf8_bytes(text: str) -> int:
    """Return an upper bound of a text's tokens: every token stands for at least one byte."""
    return len(text.encode())


def request_arguments(
    model: str, batch: Batch, dimensions: int | None, encoding_format: EncodingFormat
) -> dict[str, Any]:
    """Return the arguments of ``client.embeddings.create``, sync or async, for one batch.

    ``encoding_format`` is always named: the client then leaves base64 as it came, and it becomes float32
    without a Python float for every number.
    """
    arguments = {"model": model, "input": batch.texts, "encoding_format": encoding_format}
    return arguments if dimensions is None else arguments | {"dimensions": dimensions}


def decode_response(response: object, batch: Batch) -> list[Vectors]:
    """Return the vectors of an answer in the order of the texts.

    Args:
        response: What ``client.embeddings.create`` returned.
        batch: What was sent.

    Raises:
        EmbeddingError: It is no list of embeddings, one cannot be read, or they are numbered wrongly.
    """
    items = getattr(response, "data", None)
    if not isinstance(items, list):
        raise EmbeddingError("the server's answer holds no embeddings: does base_url end in /v1?")
    if len(items) != len(batch.texts):
        raise EmbeddingError(f"the server answered {len(items)} embeddings for {len(batch.texts)} texts")
    by_index = {str(getattr(item, "index", None)): item for item in items}
    if by_index.keys() != {str(index) for index in range(len(items))}:
        raise EmbeddingError("the server's embeddings are not numbered like the texts")
    return [_decode(by_index[str(index)], batch.first + index) for index in range(len(items))]


def _decode(item: object, position: int) -> Vectors:
    embedding: Any = getattr(item, "embedding", None)
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32, copy=False)
        # A number beyond float32 becomes infinite, which is refused with the others.
        with np.errstate(over="ignore"):
            return np.asarray(list(embedding), dtype=np.float32)
    except (TypeError, ValueError) as exc:
        raise EmbeddingError(f"the vector of texts[{position}] cannot be read") from exc


def explain_error(exc: Exception, model: str, address: str, batch: Batch) -> EmbeddingError:
    """Say in one line what failed and what to do about it.

    Args:
        exc: What the openai client raised.
        model: The model that was asked for.
        address: Where the client sends, without credentials.
        batch: What was sent.
    """
    import openai

    if isinstance(exc, openai.APITimeoutError):
        advice = "no answer in time: raise timeout, or lower max_inputs"
    elif isinstance(exc, openai.APIConnectionError):
        advice = "cannot connect: check base_url (OPENAI_BASE_URL) and the network"
    elif isinstance(exc, openai.APIStatusError):
        advice = _status_advice(exc.status_code, _detail(exc), batch)
    else:
        advice = f"the answer cannot be read: check base_url ({_one_line(str(exc))})"
    return EmbeddingError(f"{model} at {address}: {advice}")


def _status_advice(status: int, detail: str, batch: Batch) -> str:
    otherwise = "the request was refused" if status < 500 else "the server failed, after all retries: try again later"
    advice = f"{status}, {ADVICE.get(status, otherwise)}"
    if status == 401:
        # OpenAI repeats a part of the key.
        return advice
    if status == 400:
        # The server does not name the text that was too long.
        longest = max(range(len(batch.texts)), key=lambda index: len(batch.texts[index]))
        size = len(batch.texts[longest])
        return f"{advice} ({detail}); the longest text is texts[{batch.first + longest}], {size:,} characters"
    return f"{advice} ({detail})"


def _detail(exc: Any) -> str:
    body = exc.body
    return _one_line(str(body.get("message")) if isinstance(body, dict) and body.get("message") else str(exc))


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:197]}..."


def _address(client: OpenAI) -> str:
    return str(client.base_url.copy_with(username=None, password=None, query=None)).rstrip("/")


def _shortened(model: str, dimensions: int | None) -> int | None:
    """Return what to ask the server for: nothing, when it is the model's own length."""
    native = NATIVE_DIMENSIONS.get(model)
    if dimensions is not None and not 1 <= dimensions <= (native or dimensions):
        raise ConfigError(f"{model} cannot give {dimensions} dimensions: it has {native or 'at least 1'}")
    return None if dimensions == native else dimensions


def _client_options(
    client: OpenAI | None,
    base_url: str | None,
    api_key: str | None,
    timeout: float | None,
    max_retries: int | None,
) -> dict[str, Any]:
    if client is None:
        return {
            "base_url": base_url,
            "api_key": api_key or _key_from_environment(),
            "timeout": DEFAULT_TIMEOUT if timeout is None else timeout,
            "max_retries": DEFAULT_RETRIES if max_retries is None else max_retries,
        }
    if (base_url, api_key, timeout, max_retries) != (None,) * 4:
        raise ConfigError("base_url, api_key, timeout and max_retries belong to the client that was given")
    if inspect.iscoroutinefunction(client.embeddings.create):
        raise ConfigError("OpenAIEmbedder is synchronous: give it an openai.OpenAI, not an AsyncOpenAI")
    return {}


def _make_client(options: dict[str, Any]) -> OpenAI:
    from openai import OpenAI

    try:
        return OpenAI(**options)
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
