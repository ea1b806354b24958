"""Tokenizers of others, as far as cutting needs them: where each token stands in the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from pgcorpus.errors import ConfigError, MissingExtraError

DEFAULT_ENCODING = "cl100k_base"
"""The encoding of OpenAI's text-embedding-3-small, text-embedding-3-large and text-embedding-ada-002."""


class Tokenizer(Protocol):
    """What cuts a text into a model's tokens."""

    def spans(self, text: str) -> Sequence[tuple[int, int]]:
        """Return where each token stands, as character offsets, in the order of the text.

        A token of a part of a character (byte-level encodings have such) spans the whole character; special tokens
        are left out.
        """
        ...


def as_tokenizer(tokenizer: object) -> Tokenizer:
    """Return what measures by a tokenizer of another library.

    Args:
        tokenizer: A `tiktoken.Encoding`, a Hugging Face `tokenizers.Tokenizer`, or anything that has `spans`.

    Raises:
        ConfigError: If it is none of these, or cuts long texts off.
    """
    if hasattr(tokenizer, "spans"):
        return cast("Tokenizer", tokenizer)
    if hasattr(tokenizer, "encode_ordinary") and hasattr(tokenizer, "decode_tokens_bytes"):
        return _Tiktoken(tokenizer)
    if hasattr(tokenizer, "encode") and hasattr(tokenizer, "no_truncation"):
        return _HuggingFace(tokenizer)
    raise ConfigError(
        f"{type(tokenizer).__name__} is no tokenizer that can be used here: give a tiktoken.Encoding, a "
        "tokenizers.Tokenizer (a fast tokenizer of transformers has one as .backend_tokenizer), or an object with "
        "spans(text), which returns the tokens' character offsets"
    )


def default_tokenizer() -> Tokenizer:
    """Return OpenAI's encoding for its embedding models.

    Raises:
        MissingExtraError: tiktoken is not installed.
        ConfigError: Its table is not on this machine and cannot be downloaded.
    """
    try:
        import tiktoken
    except ImportError as exc:
        raise MissingExtraError("tokens", "cutting by tokens without a tokenizer of your own") from exc
    try:
        return _Tiktoken(tiktoken.get_encoding(DEFAULT_ENCODING))
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"tiktoken cannot download the table of {DEFAULT_ENCODING}: set TIKTOKEN_CACHE_DIR to a folder that has "
            "it, or give tokenizer="
        ) from exc


class _Tiktoken:
    def __init__(self, encoding: Any) -> None:
        self._encoding = encoding

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Locate the tokens by their bytes: `decode_with_offsets` gives the starts only."""
        spans = []
        at = 0
        for token in self._encoding.decode_tokens_bytes(self._encoding.encode_ordinary(text)):
            start = at - _is_continuation(token[0])
            at += len(token) if token.isascii() else sum(not _is_continuation(byte) for byte in token)
            spans.append((start, at))
        return spans


def _is_continuation(byte: int) -> bool:
    """Tell a byte of a UTF-8 character other than its first."""
    return 0x80 <= byte < 0xC0


class _HuggingFace:
    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.truncation is not None:
            raise ConfigError("This tokenizer cuts long texts off: call no_truncation() on it, or give one without")
        self._tokenizer = tokenizer

    def spans(self, text: str) -> list[tuple[int, int]]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        # What is added, such as padding, stands nowhere.
        return [(start, end) for start, end in encoding.offsets if end > start]
