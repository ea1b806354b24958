"""Embedding models that people use: their vectors' lengths and what they take."""

from __future__ import annotations

from typing import NamedTuple


class KnownModel(NamedTuple):
    """What its maker documents of a model.

    Attributes:
        name: As its maker's API calls it.
        provider: Who serves it; ``local`` where it runs in this process.
        dimensions: The length of a vector when no other is asked for.
        shortenable: Whether shorter vectors can be asked for.
        max_input_tokens: The tokens of one text; None without a limit.
    """

    name: str
    provider: str
    dimensions: int
    shortenable: bool
    max_input_tokens: int | None


# OpenAI guide, "Embeddings", and its reference, "Create embeddings". Cohere, "Embed": embed-v4.0 has 1,536 dimensions
# unless 256, 512 or 1,024 are asked for. Google Cloud, "Get text embeddings": longer texts are cut by the server unless
# told otherwise. The model card of all-MiniLM-L6-v2: longer texts are cut at 256 word pieces.
_MODELS = (
    KnownModel("text-embedding-3-small", "OpenAI", 1536, True, 8192),
    KnownModel("text-embedding-3-large", "OpenAI", 3072, True, 8192),
    KnownModel("text-embedding-ada-002", "OpenAI", 1536, False, 8192),
    KnownModel("embed-v4.0", "Cohere", 1536, True, 128_000),
    KnownModel("text-embedding-005", "Google", 768, True, 2048),
    KnownModel("all-MiniLM-L6-v2", "sentence-transformers", 384, False, 256),
    KnownModel("wordllama-l2-supercat-256", "local", 256, False, None),
)

KNOWN_MODELS = {model.name: model for model in _MODELS}
