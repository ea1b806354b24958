"""Plain text becomes passages that are measured in a model's tokens."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from pgcorpus.errors import ConfigError
from pgcorpus.services.chunking.packing import cut
from pgcorpus.services.chunking.passages import Passage, check_storable
from pgcorpus.services.chunking.tokenizers import Tokenizer, as_tokenizer, default_tokenizer
from pgcorpus.services.chunking.units import HIGHEST_RANK, PROSE, Unit, divide, paragraph_spans, tears_character

MAX_TOKENS = 512
OVERLAP_TOKENS = 64

# A character may be four tokens, one for each of its bytes, and be preceded by one for a space.
_LEAST_TOKENS = 8
# The share of the limit under which a passage is joined to a neighbour: that of MIN_CHARS in MAX_CHARS.
_SMALL = 6


def chunk_tokens(
    text: str, max_tokens: int = MAX_TOKENS, overlap: int = OVERLAP_TOKENS, *, tokenizer: object | None = None
) -> list[Passage]:
    """Split plain text into passages of a model's tokens, each with a little of what stands before it.

    Cuts are where the text itself decides, as in :func:`chunk_text`: an edit changes the passages near it, and the
    overlap of the next. A passage is `text[start:end]` to the letter, overlap included.

    Args:
        text: The whole text; empty or blank text has no passages.
        max_tokens: No passage has more, the overlap included, when it is tokenized alone. Special tokens that a model
            adds are not counted: leave room for them.
        overlap: The most tokens of the passage before that each repeats; at most half of `max_tokens`.
        tokenizer: The embedding model's: a `tiktoken.Encoding`, a `tokenizers.Tokenizer`, or an object with `spans`;
            see :func:`as_tokenizer`. By default OpenAI's `cl100k_base`, from the extra `tokens`.

    Raises:
        ConfigError: If a limit makes no sense, or the tokenizer cannot be used or downloaded.
        MissingExtraError: If no tokenizer is given and tiktoken is not installed.
        SourceError: If the text holds a NUL character or half a surrogate pair.
    """
    _check_limits(max_tokens, overlap)
    check_storable(text)
    chosen = as_tokenizer(default_tokenizer() if tokenizer is None else tokenizer)
    index = _TokenIndex(text, chosen)
    passages = []
    previous = 0
    for start, end in _cut(index, max_tokens - overlap, max_tokens):
        begin = _with_overlap(index, max(previous, index.before(start, overlap)), start, end, max_tokens)
        passages.append(Passage(text[begin:end], start=begin, end=end))
        previous = start
    return passages


def _check_limits(max_tokens: int, overlap: int) -> None:
    if max_tokens < _LEAST_TOKENS or not 0 <= overlap <= max_tokens // 2:
        raise ConfigError(
            f"Passages of {max_tokens} tokens that share {overlap} are impossible: "
            f"choose max_tokens >= {_LEAST_TOKENS} and 0 <= overlap <= max_tokens / 2"
        )


class _TokenIndex:
    """Measures spans of a text in its tokens."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self.text = text
        self.tokenizer = tokenizer
        spans = tokenizer.spans(text)
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def size(self, start: int, end: int) -> int:
        """Count the tokens that have a part in a span."""
        return max(0, self.after(end) - self.at(start))

    def reach(self, start: int, limit: int) -> int:
        """Return where the token begins that is one too many."""
        beyond = self.at(start) + limit
        return max(start + 1, self._starts[beyond]) if beyond < len(self._starts) else len(self.text)

    def at(self, place: int) -> int:
        """Return the number of the token that stands at a place, or of the next."""
        return bisect_right(self._ends, place)

    def after(self, place: int) -> int:
        """Return the number of the first token that begins at a place or behind it."""
        return bisect_left(self._starts, place)

    def before(self, place: int, count: int) -> int:
        """Return where so many tokens begin before a place; fewer where a character would be torn."""
        here = self.at(place)
        numbers = range(max(0, here - count), here)
        return next((self._starts[number] for number in numbers if self._is_boundary(number)), place)

    def alone(self, start: int, end: int) -> int:
        """Count the tokens of a span when nothing stands before it: " word" may be one token and "word" two."""
        return len(self.tokenizer.spans(self.text[start:end]))

    def _is_boundary(self, number: int) -> bool:
        start = self._starts[number]
        shares_character = number > 0 and self._ends[number - 1] > start
        return not shares_character and not tears_character(self.text, start)


def _cut(index: _TokenIndex, room: int, limit: int) -> Iterator[tuple[int, int]]:
    """Yield passages of at most `room` tokens of the text, and at most `limit` of their own."""
    text = index.text
    units = [
        unit
        for start, end in paragraph_spans(text)
        for unit in divide(text, Unit(start, end, HIGHEST_RANK), PROSE, index, room)
    ]
    firsts = [index.at(unit.start) for unit in units]
    afters = [index.after(unit.end) for unit in units]

    def size(first: int, after: int) -> int:
        return afters[after - 1] - firsts[first]

    for first, after in cut(text, units, size, room, room // _SMALL):
        yield from _fitting(index, units[first].start, units[after - 1].end, limit)


def _fitting(index: _TokenIndex, start: int, end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Yield a passage, or its parts where it has more tokens alone than as part of the text."""
    excess = index.alone(start, end) - limit
    if excess <= 0 or end - start == 1:
        yield start, end
        return
    own = _TokenIndex(index.text[start:end], index.tokenizer)
    for first, after in _cut(own, max(1, limit - excess), limit):
        yield start + first, start + after


def _with_overlap(index: _TokenIndex, begin: int, start: int, end: int, limit: int) -> int:
    """Move a beginning on until the passage fits, and past white space."""
    while begin < start:
        if index.text[begin].isspace():
            begin += 1
        elif (excess := index.alone(begin, end) - limit) > 0:
            begin = min(start, index.before(start, index.at(start) - index.at(begin) - excess))
        else:
            return begin
    return start
