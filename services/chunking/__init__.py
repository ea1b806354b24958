"""Texts become passages: the unit that is embedded, searched and shown."""

from pgcorpus.services.chunking.html import chunk_html
from pgcorpus.services.chunking.markdown import chunk_markdown
from pgcorpus.services.chunking.passages import (
    MAX_CHARS,
    MIN_CHARS,
    Chunker,
    Passage,
    find_unstorable,
    keyed,
    normalize_newlines,
    passage_key,
    replace_unstorable,
)
from pgcorpus.services.chunking.plain import chunk_text
from pgcorpus.services.chunking.sentences import chunk_sentences, sentences
from pgcorpus.services.chunking.tokenizers import Tokenizer, as_tokenizer
from pgcorpus.services.chunking.tokens import MAX_TOKENS, OVERLAP_TOKENS, chunk_tokens

__all__ = [
    "MAX_CHARS",
    "MAX_TOKENS",
    "MIN_CHARS",
    "OVERLAP_TOKENS",
    "Chunker",
    "Passage",
    "Tokenizer",
    "as_tokenizer",
    "chunk_html",
    "chunk_markdown",
    "chunk_sentences",
    "chunk_text",
    "chunk_tokens",
    "find_unstorable",
    "keyed",
    "normalize_newlines",
    "passage_key",
    "replace_unstorable",
    "sentences",
]
