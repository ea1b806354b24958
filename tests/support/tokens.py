"""Encodings made by hand, as tiktoken's own tables would have to be downloaded."""

from __future__ import annotations

import tiktoken

# Longer ones are made of shorter ones: "th", then "the".
_MERGES = [
    "th",
    "the",
    " t",
    " th",
    " the",
    "in",
    "ing",
    "er",
    "wo",
    "wor",
    "word",
    " w",
    " wo",
    " wor",
    " word",
    "é",
    "。",
]


def small_encoding() -> tiktoken.Encoding:
    """Return an encoding of all bytes and a few merges; " word" is one token and "wordy" two."""
    ranks = {bytes([number]): number for number in range(256)}
    for text in _MERGES:
        ranks.setdefault(text.encode(), len(ranks))
    return tiktoken.Encoding(
        "small", pat_str=r" ?\p{L}+| ?\p{N}+|\s+|[^\s\p{L}\p{N}]+", mergeable_ranks=ranks, special_tokens={}
    )
