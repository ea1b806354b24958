"""How many texts go out together, and how one that is too long is cut: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple


class Batch(NamedTuple):
    """Texts that go out together.

    Attributes:
        positions: Their places in the list that ``embed`` was given, rising; at least one.
        texts: One for each position.
    """

    positions: Sequence[int]
    texts: list[str]


def plan_batches(texts: Sequence[str], sizes: Sequence[int], *, max_texts: int, max_tokens: int) -> Iterator[Batch]:
    """Cut texts into consecutive batches that keep both limits.

    A text that is over ``max_tokens`` by itself goes alone: only the model can say whether it is too long.

    Args:
        texts: What is to be embedded.
        sizes: The tokens of each text, or an upper bound.
        max_texts: Texts in a batch.
        max_tokens: Tokens in a batch, summed over its texts.
    """
    first = total = 0
    for position, tokens in enumerate(sizes):
        full = position - first == max_texts or total + tokens > max_tokens
        if full and position > first:
            yield _between(texts, first, position)
            first, total = position, 0
        total += tokens
    if first < len(texts):
        yield _between(texts, first, len(texts))


def _between(texts: Sequence[str], first: int, end: int) -> Batch:
    return Batch(range(first, end), list(texts[first:end]))


def select(batch: Batch, indices: Sequence[int]) -> Batch:
    """Return the part of a batch at these indices, which rise."""
    return Batch([batch.positions[index] for index in indices], [batch.texts[index] for index in indices])


def halves(batch: Batch) -> list[Batch]:
    """Return two batches of about half the texts each; a batch of one text has no halves."""
    middle = len(batch.texts) // 2
    return [select(batch, range(middle)), select(batch, range(middle, len(batch.texts)))]


def consecutive(positions: Sequence[int]) -> Iterator[slice]:
    """Yield the slices of rising positions in which each follows the one before."""
    start = 0
    for end in range(1, len(positions) + 1):
        if end == len(positions) or positions[end] != positions[end - 1] + 1:
            yield slice(start, end)
            start = end


def utf8_bytes(text: str) -> int:
    """Return an upper bound of a text's tokens: every token stands for at least one byte."""
    return len(text.encode())


def cut_to_bytes(text: str, limit: int) -> str:
    """Return the longest beginning of a text of at most ``limit`` bytes of UTF-8, ending between characters."""
    return text.encode()[:limit].decode(errors="ignore")


def cut_to_tokens(text: str, limit: int, count_tokens: Callable[[str], int]) -> str:
    """Return a beginning of a text that has at most ``limit`` tokens; one character more would be too long.

    Args:
        text: Has more tokens.
        limit: Tokens.
        count_tokens: Counts those of a text; called about ``log2(len(text))`` times.
    """
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if count_tokens(text[:middle]) <= limit:
            fits = middle
        else:
            too_long = middle
    return text[:fits]
