"""What tests of the OpenAI embedders compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.support.openai_server import OpenAIServer, embedding_of

TEXTS = ["first", "second", "third"]

# The client waits half a second before it tries again unless it is told otherwise.
SOON = {"retry_after_ms": "1"}


def expected(texts: Sequence[str], dimensions: int = 8) -> np.ndarray[Any, Any]:
    return np.stack([embedding_of(text, dimensions) for text in texts])


def inputs(server: OpenAIServer) -> list[list[str]]:
    return [request.texts for request in server.requests]
