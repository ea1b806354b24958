"""Plain text becomes passages."""

from __future__ import annotations

from pgcorpus.services.chunking.blocks import pack, paragraphs
from pgcorpus.services.chunking.passages import MAX_CHARS, MIN_CHARS, Passage, check_limits, check_storable


def chunk_text(text: str, max_chars: int = MAX_CHARS, min_chars: int = MIN_CHARS) -> list[Passage]:
    """Split plain text at paragraph ends.

    Args:
        text: The whole text; empty or blank text has no passages.
        max_chars: No passage is longer, in characters.
        min_chars: Passages shorter than this are joined to a neighbour where both fit together.

    Raises:
        ConfigError: If a limit makes no sense.
        SourceError: If the text holds a NUL character or half a surrogate pair.
    """
    check_limits(max_chars, min_chars)
    check_storable(text)
    return [
        Passage(piece.text, start=piece.start, end=piece.end) for piece in pack(paragraphs(text), max_chars, min_chars)
    ]
