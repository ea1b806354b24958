"""Embeddings made on this machine, offline: the wordllama model that lies in its wheel."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from pgcorpus.errors import EmbeddingError, MissingExtraError
from pgcorpus.services.embedding.base import Vectors, check_embeddings, check_texts
from pgcorpus.services.embedding.telling import embedding

if TYPE_CHECKING:
    from wordllama import WordLlamaInference

# wordllama pads a group to its longest text and holds two float32 vectors of 256 for each token: a group of
# 128,000 characters, about 32,000 tokens, takes some 64 MB.
GROUP_TEXTS = 64
GROUP_CHARACTERS = 128_000

# One such text takes about half a gigabyte; OpenAI refuses far shorter ones.
MAX_CHARACTERS = 1_000_000

_loading = Lock()


class LocalEmbedder:
    """Embeds with wordllama's ``l2_supercat``: the mean of static token vectors, 256 dimensions, no network.

    The same text always gives the same vector, whatever else is embedded with it. It works on one core, unless
    ``TOKENIZERS_PARALLELISM`` says otherwise before its first use. It is made for trying things out and for tests: a
    sentence model or OpenAI finds clearly more.

    Raises:
        MissingExtraError: ``pgcorpus[local]`` is not installed.
    """

    model = "wordllama-l2-supercat-256"
    dimensions = 256
    batch_size = 2000
    # Making a vector costs less than fetching one that was kept.
    cached = False

    def __init__(self) -> None:
        if importlib.util.find_spec("wordllama") is None:
            raise _missing()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector of length 1 for each text, in order; the first call loads the model.

        Every non-empty text has a vector: what the vocabulary lacks is embedded byte by byte.

        Args:
            texts: Any number of texts, none of them empty or over 1,000,000 characters.

        Returns:
            Shape ``(len(texts), 256)``.

        Raises:
            EmbeddingError: A text cannot be embedded, or the model cannot be loaded.
        """
        with embedding(self.model, len(texts)):
            check_texts(texts)
            vectors = np.empty((len(texts), self.dimensions), np.float32)
            for group in _groups(texts):
                vectors[group] = _model().embed([texts[position] for position in group], norm=True)
            return check_embeddings(vectors, len(texts), self.dimensions)


def _groups(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield positions, the longest texts first, so that little is padded and no group grows too large."""
    order = sorted(range(len(texts)), key=lambda position: -len(texts[position]))
    if order and len(texts[order[0]]) > MAX_CHARACTERS:
        raise EmbeddingError(f"texts[{order[0]}] has more than {MAX_CHARACTERS:,} characters: split it")
    while order:
        size = max(1, min(GROUP_TEXTS, GROUP_CHARACTERS // len(texts[order[0]])))
        yield order[:size]
        order = order[size:]


def _model() -> WordLlamaInference:
    # Without the lock, threads that come first together would each load the weights.
    with _loading:
        return _load()


@functools.cache
def _load() -> WordLlamaInference:
    try:
        # On all cores (the tokenizer's default) it is an eighth faster alone; in an ingest it takes from the database
        # what that needs, and both are slower. After a fork it would warn besides. A host's own setting stays.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        with _root_logger_kept():
            import wordllama
        # Its own default looks for the tokenizer in ~/.cache and downloads it, though the wheel holds it.
        return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    except ImportError as exc:
        raise _missing() from exc
    # RuntimeError: it asks for the home directory, which an account in a container may lack.
    except (OSError, RuntimeError) as exc:
        raise EmbeddingError(f"wordllama cannot load its model: {exc}") from exc


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Keep wordllama's import from configuring the host's logging.

    It calls ``logging.basicConfig(level=INFO)``, which does nothing where the root logger has a handler.
    """
    guard = logging.NullHandler()
    logging.getLogger().addHandler(guard)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(guard)


def _missing() -> MissingExtraError:
    return MissingExtraError("local", "the local embedder, which is used where OPENAI_API_KEY is not set,")
