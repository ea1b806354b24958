"""What a text is cut into, and the keys by which a passage is known again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from pgcorpus.errors import ConfigError, SourceError

MAX_CHARS = 1200
MIN_CHARS = 200

_KEY_BYTES = 16
_LENGTH_BYTES = 8
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit of retrieval, before it is embedded.

    Two passages are equal where they say the same; where they stand makes no difference.

    Args:
        content: What is embedded, searched and shown.
        metadata: JSON values by name.
        start: Where the passage's own text begins in the text that was cut, in characters; None where it is no slice
            of that text.
        end: The character after its last one. `text[start:end]` is `content` without the heading path before it; only
            white space between paragraphs may be longer there.
    """

    content: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    start: int | None = field(default=None, compare=False)
    end: int | None = field(default=None, compare=False)


Chunker = Callable[[str], Iterable[Passage]]
"""Anything that cuts a text into passages."""


def passage_key(source: str, content: str, occurrence: int) -> str:
    """Name a passage by what it says rather than where it stands, so that an insertion renames nothing.

    Args:
        source: The source's name; a collection's keys are unique, and two files may share a paragraph.
        content: The passage's text.
        occurrence: How many passages of this source with the same text stand before it.
    """
    return f"{_digest(source, content).hex()}-{occurrence}"


def keyed(source: str, passages: Iterable[Passage]) -> Iterator[tuple[str, Passage]]:
    """Give each passage of a source its key, one at a time; of those seen only 16 bytes each are kept."""
    seen: Counter[bytes] = Counter()
    for passage in passages:
        digest = _digest(source, passage.content)
        yield f"{digest.hex()}-{seen[digest]}", passage
        seen[digest] += 1


def find_unstorable(text: str) -> int | None:
    """Return where the first character is that PostgreSQL cannot store: NUL or half a surrogate pair."""
    found = _UNSTORABLE.search(text)
    return found.start() if found else None


def replace_unstorable(text: str) -> str:
    """Put the replacement character in place of what PostgreSQL cannot store."""
    return _UNSTORABLE.sub("\ufffd", text)


def normalize_newlines(text: str) -> str:
    """Turn the line ends of Windows and old Macs into newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_limits(max_chars: int, min_chars: int) -> None:
    """Refuse limits that no passage can meet.

    Raises:
        ConfigError: Unless 0 <= min_chars <= max_chars and max_chars >= 1.
    """
    if max_chars < 1 or not 0 <= min_chars <= max_chars:
        raise ConfigError(
            f"Passages of {min_chars} to {max_chars} characters are impossible: "
            "choose 0 <= min_chars <= max_chars and max_chars >= 1"
        )


def check_storable(text: str) -> None:
    """Refuse a text that PostgreSQL cannot store.

    Raises:
        SourceError: If the text holds a NUL character or half a surrogate pair; the message says where.
    """
    at = find_unstorable(text)
    if at is not None:
        raise SourceError(f"Character {at} is {text[at]!a}, which PostgreSQL cannot store: remove it")


def _digest(source: str, content: str) -> bytes:
    name = source.encode()
    digest = blake2b(len(name).to_bytes(_LENGTH_BYTES, "big"), digest_size=_KEY_BYTES)
    digest.update(name)
    digest.update(content.encode())
    return digest.digest()
