"""What goes to ``POST /v1/embeddings`` and what comes back: arguments, vectors, and the kinds of failure."""

from __future__ import annotations

import base64
import re
from enum import Enum, auto
from typing import Any, Literal, TypeAlias

import numpy as np

from pgcorpus.errors import EmbeddingError
from pgcorpus.services.embedding.base import Vectors
from pgcorpus.services.embedding.batches import Batch
from pgcorpus.services.openai_api import said_in

EncodingFormat: TypeAlias = Literal["base64", "float"]


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
    return [_decode(by_index[str(index)], position) for index, position in enumerate(batch.positions)]


def _decode(item: object, position: int) -> Vectors:
    embedding: Any = getattr(item, "embedding", None)
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4").astype(np.float32, copy=False)
        # A number beyond float32 becomes infinite, which is refused with the others.
        with np.errstate(over="ignore"):
            return np.asarray(list(embedding), dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as exc:
        raise EmbeddingError(f"the vector of texts[{position}] cannot be read") from exc


def tokens_used(response: object) -> int:
    """Return what the server says the request cost, in tokens; 0 where it says nothing."""
    total = getattr(getattr(response, "usage", None), "total_tokens", None)
    return total if isinstance(total, int) else 0


class Fault(Enum):
    """What a failed request means for its batch.

    Attributes:
        PASSING: It may succeed later: a timeout, a lost connection, 408, 409, 429 or 5xx.
        TEXT_TOO_LONG: A text has too many tokens.
        REQUEST_TOO_LARGE: The texts together are too many, or have too many tokens.
        UNEXPLAINED: 400 or 422 for another reason, which may be that base64 is unknown.
        FINAL: Nothing will change it: 401, 403, 404, an answer that is no JSON.
    """

    PASSING = auto()
    TEXT_TOO_LONG = auto()
    REQUEST_TOO_LARGE = auto()
    UNEXPLAINED = auto()
    FINAL = auto()


# The status says only "bad request": OpenAI, Azure, vLLM, Ollama, LM Studio, TEI and LiteLLM differ in their words.
_TOO_LARGE = re.compile(
    r"per (submitted )?(request|batch)|batch size|(array|list) too long|too many (inputs|texts|items)"
    r"|at most \d+ (inputs|items)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context (length|window|size)|too long|max\w* (input|sequence|token)|max_tokens|tokens? limit|less than \d+ tokens"
    r"|(length|tokens|size) exceed|exceed\w* .*(tokens?|length)",
    re.IGNORECASE,
)


def fault_of(exc: Exception) -> Fault:
    """Tell what a failure means.

    Args:
        exc: What the openai client raised, or a ValueError for an answer that is not JSON.
    """
    import openai

    if isinstance(exc, openai.APIConnectionError):
        return Fault.PASSING
    return _fault_of_status(exc) if isinstance(exc, openai.APIStatusError) else Fault.FINAL


def _fault_of_status(exc: Any) -> Fault:
    # A quota that is used up comes as 429 too, and waiting does not fill it.
    if exc.status_code in (408, 409, 429) or exc.status_code >= 500:
        return Fault.FINAL if exc.code == "insufficient_quota" else Fault.PASSING
    message = said_in(exc)
    if exc.status_code == 413 or (exc.status_code in (400, 422) and _TOO_LARGE.search(message)):
        return Fault.REQUEST_TOO_LARGE
    if exc.status_code not in (400, 422):
        return Fault.FINAL
    return Fault.TEXT_TOO_LONG if _TOO_LONG.search(message) else Fault.UNEXPLAINED
