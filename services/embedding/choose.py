"""Which embedder a name or the environment asks for."""

from __future__ import annotations

from pgcorpus.config import Settings
from pgcorpus.errors import ConfigError
from pgcorpus.services.embedding.base import COLUMN_DIMENSIONS, Embedder
from pgcorpus.services.embedding.local import LocalEmbedder
from pgcorpus.services.embedding.openai import NATIVE_DIMENSIONS, OpenAIEmbedder

NAMES = ("openai", "openai:MODEL", "local")


def choose_embedder(name: str | None, settings: Settings) -> Embedder:
    """Return the embedder of a name.

    Args:
        name: ``openai`` (text-embedding-3-small), ``openai:MODEL`` or ``local``. Without it
            ``settings.embedder`` decides, else OpenAI where there is a key, else ``local``.
            ``openai:text-embedding-3-large`` is asked for 1536 of its 3,072 dimensions, the length of the
            shipped column.
        settings: Where the key and the default come from.

    Raises:
        ConfigError: The name is unknown, or OpenAI is named and there is no key.
        MissingExtraError: ``local`` is chosen and not installed.
    """
    chosen = name or settings.embedder or ("openai" if settings.openai_api_key else "local")
    if chosen == "local":
        return LocalEmbedder()
    provider, colon, model = chosen.partition(":")
    if provider != "openai" or (colon and not model):
        raise ConfigError(f"no embedder is called {chosen!r}: use {', '.join(NAMES)}")
    return _openai(model or "text-embedding-3-small", settings)


def _openai(model: str, settings: Settings) -> OpenAIEmbedder:
    too_long = NATIVE_DIMENSIONS.get(model, 0) > COLUMN_DIMENSIONS
    return OpenAIEmbedder(model, dimensions=COLUMN_DIMENSIONS if too_long else None, api_key=settings.openai_api_key)
