"""How an OpenAI embedder asks: the model, the limits of a request and of a text, checked once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgcorpus.errors import ConfigError, TextTooLongError
from pgcorpus.services.embedding.base import check_texts
from pgcorpus.services.embedding.batches import Batch, cut_to_tokens, plan_batches, utf8_bytes
from pgcorpus.services.embedding.models import KNOWN_MODELS

# OpenAI reference, "Create embeddings": inputs and tokens a request, and tokens of an input.
MAX_INPUTS = 2048
MAX_TOKENS = 300_000
MAX_INPUT_TOKENS = 8192

NATIVE_DIMENSIONS = {name: model.dimensions for name, model in KNOWN_MODELS.items() if model.provider == "OpenAI"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """The arguments of an embedder that say what fits into a request: see ``OpenAIEmbedder``."""

    max_inputs: int = MAX_INPUTS
    max_tokens: int = MAX_TOKENS
    max_input_tokens: int = MAX_INPUT_TOKENS
    count_tokens: Callable[[str], int] | None = None
    truncate: bool = False

    def __post_init__(self) -> None:
        if min(self.max_inputs, self.max_tokens, self.max_input_tokens) < 1:
            raise ConfigError("max_inputs, max_tokens and max_input_tokens must be at least 1")

    def plan(self, texts: Sequence[str]) -> list[Batch]:
        """Return the requests that the texts need.

        Raises:
            EmbeddingError: A text cannot be embedded.
            TextTooLongError: One has too many tokens by ``count_tokens``, and is not to be cut.
        """
        check_texts(texts)
        fitting = [self._fitted(position, text) for position, text in enumerate(texts)]
        sizes = [(self.count_tokens or utf8_bytes)(text) for text in fitting]
        return list(plan_batches(fitting, sizes, max_texts=self.max_inputs, max_tokens=self.max_tokens))

    def suspects(self, texts: Sequence[str]) -> list[int]:
        """Return the indices of the texts that may be too long: no token is shorter than a byte."""
        return [index for index, text in enumerate(texts) if utf8_bytes(text) > self.max_input_tokens]

    def _fitted(self, position: int, text: str) -> str:
        # What has few bytes has few tokens: most texts need no count here.
        if self.count_tokens is None or utf8_bytes(text) <= self.max_input_tokens:
            return text
        tokens = self.count_tokens(text)
        if tokens <= self.max_input_tokens:
            return text
        beginning = cut_to_tokens(text, self.max_input_tokens, self.count_tokens) if self.truncate else ""
        if not beginning:
            raise TextTooLongError(
                f"texts[{position}] has {tokens:,} tokens and the model takes {self.max_input_tokens:,}: "
                "split it, or give truncate=True",
                position,
            )
        warn_of_cut(position, text, beginning)
        return beginning


def warn_of_cut(position: int, text: str, beginning: str) -> None:
    """Log that only the beginning of a text is embedded."""
    logger.warning("texts[%d] is too long: %d of its %d characters are embedded", position, len(beginning), len(text))


def shortened(model: str, dimensions: int | None) -> int | None:
    """Return the length to ask the server for: none, when it is the model's own.

    Raises:
        ConfigError: The model has no vectors of this length.
    """
    native = NATIVE_DIMENSIONS.get(model)
    if dimensions is None or dimensions == native:
        return None
    if not 1 <= dimensions <= (native or dimensions):
        raise ConfigError(f"{model} cannot give {dimensions} dimensions: it has {native or 'at least 1'}")
    if native and not KNOWN_MODELS[model].shortenable:
        raise ConfigError(f"{model} cannot give {dimensions} dimensions: it has {native}, always")
    return dimensions


def longest_input(model: str) -> int:
    """Return the tokens that a text may have, as far as the model is known."""
    known = KNOWN_MODELS.get(model)
    return (known.max_input_tokens if known else None) or MAX_INPUT_TOKENS
