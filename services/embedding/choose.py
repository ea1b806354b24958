"""Which embedder a name, the environment or a collection asks for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pgcorpus.config import Settings
from pgcorpus.errors import ConfigError
from pgcorpus.services.embedding.base import COLUMN_DIMENSIONS, Embedder
from pgcorpus.services.embedding.local import LocalEmbedder
from pgcorpus.services.embedding.models import KNOWN_MODELS
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


def embedder_of_model(model: str, settings: Settings) -> Embedder | None:
    """Return the embedder that made a collection's embeddings, to embed its questions.

    Args:
        model: The collection's ``embedding_model``, such as ``text-embedding-3-large@1536``.
        settings: Where the key is from, and which embedder is the default: it may be one of a compatible server,
            whose models nobody else knows.

    Returns:
        None where the model is unknown, or its key or install is missing.
    """
    makers: list[Callable[[], Embedder]] = [lambda: choose_embedder(None, settings), lambda: _of_model(model, settings)]
    for make in makers:
        with suppress(ConfigError):
            embedder = make()
            if embedder.model == model:
                return embedder
    return None


def dimensions_of(model: str) -> int | None:
    """Return the length of a model's vectors, where its identity tells; nothing is asked for it.

    Args:
        model: An embedder's ``model``, such as ``text-embedding-3-large@1536``.
    """
    name, shortened = _parted(model)
    known = KNOWN_MODELS.get(name)
    return shortened or (known.dimensions if known else None)


def _of_model(model: str, settings: Settings) -> Embedder:
    if model == LocalEmbedder.model:
        return LocalEmbedder()
    name, shortened = _parted(model)
    if name not in NATIVE_DIMENSIONS:
        raise ConfigError(f"no embedder is known for the model {model!r}")
    return OpenAIEmbedder(name, dimensions=shortened, api_key=settings.openai_api_key)


def _parted(model: str) -> tuple[str, int | None]:
    """Return a model's name and the length that was asked of it."""
    name, _, length = model.rpartition("@")
    return (name, int(length)) if name in KNOWN_MODELS and length.isascii() and length.isdigit() else (model, None)


def _openai(model: str, settings: Settings) -> OpenAIEmbedder:
    too_long = NATIVE_DIMENSIONS.get(model, 0) > COLUMN_DIMENSIONS
    return OpenAIEmbedder(model, dimensions=COLUMN_DIMENSIONS if too_long else None, api_key=settings.openai_api_key)
