"""Texts from anywhere, an API or a queue, become sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from hashlib import blake2b
from typing import Any

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.repositories.values import json_problem
from pgcorpus.services.chunking import Chunker, Passage, normalize_newlines
from pgcorpus.services.sources.formats import FORMATS, Cutting
from pgcorpus.services.sources.json_lines import read_json_text
from pgcorpus.services.sources.source import Source, name_problem

_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Item:
    """A text that becomes a source.

    Args:
        source: The source's name, its own.
        content: The text; a blank one makes a source without passages, which deletes what is stored of it.
        metadata: JSON values by name, for each passage; what a format finds out, such as a heading, stands over them.
        format: One of `FORMATS`; None is the format of the call.
    """

    source: str
    content: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    format: str | None = None


_FIELDS = tuple(each.name for each in fields(Item))


def documents(
    items: Iterable[Item | Mapping[str, Any]], *, format: str = "text", chunk: Chunker | None = None
) -> Iterator[Source]:
    """Make each item a source, one at a time.

    Args:
        items: Mappings with `source`, `content`, and optionally `metadata` and `format`; or :class:`Item`.
        format: The format of items that name none: `text`, `markdown`, `html` or `jsonl`.
        chunk: Cuts each text in place of its format's chunker.

    Raises:
        ConfigError: If there is no such format; when the first item is drawn.
        SourceError: If an item is not what it must be, or names a source that an earlier one named; the message gives
            its number, counted from 1. Raised when that item is drawn.
    """
    yield from sources_of(items, "item", format, chunk)


def sources_of(
    items: Iterable[Item | Mapping[str, Any]], kind: str, format_name: str, chunk: Chunker | None
) -> Iterator[Source]:
    """Do what :func:`documents` does, where an error calls an item something else: a row."""
    if format_name not in FORMATS:
        raise ConfigError(f"There is no format {format_name!r}: choose one of {', '.join(FORMATS)}")
    cutting = Cutting(chunk)
    # Of the names only digests are kept; an ingest would take the later of two for all there is of that source.
    seen: set[bytes] = set()
    for number, given in enumerate(items, start=1):
        item = _item(given, f"{kind} {number}")
        digest = blake2b(item.source.encode(), digest_size=_DIGEST_BYTES).digest()
        if digest in seen:
            raise SourceError(
                f"{kind} {number}: an earlier one is called {item.source!r} too: give each source all its text at once"
            )
        seen.add(digest)
        yield Source(item.source, len(item.content.encode()), partial(_passages, item, format_name, cutting))


def _passages(item: Item, format_name: str, cutting: Cutting) -> Iterable[Passage]:
    chosen = item.format or format_name
    text = normalize_newlines(item.content)
    if chosen == "jsonl":
        return read_json_text(text, item.source, cutting, item.metadata)
    return list(cutting.passages(text, chosen, item.metadata))


def _item(given: Item | Mapping[str, Any], place: str) -> Item:
    item = given if isinstance(given, Item) else _from_mapping(given, place)
    if problem := _problem(item):
        raise SourceError(f"{place}: {problem}")
    return item


def _from_mapping(given: Mapping[str, Any], place: str) -> Item:
    if not isinstance(given, Mapping):
        raise SourceError(f'{place}: {type(given).__name__} instead of {{"source": ..., "content": ...}}')
    missing = [name for name in ("source", "content") if name not in given]
    if missing:
        raise SourceError(f"{place}: no {missing[0]!r}: give each item a source and its content")
    unknown = [name for name in given if name not in _FIELDS]
    if unknown:
        raise SourceError(f"{place}: unknown field {unknown[0]!r}: put it into 'metadata'")
    return Item(**given)


def _problem(item: Item) -> str | None:
    if not isinstance(item.source, str):
        return f"'source' is {type(item.source).__name__}: make it a string"
    if problem := name_problem(item.source):
        return f"'source' {problem}: choose another name"
    if not isinstance(item.content, str):
        return f"'content' of {item.source} is {type(item.content).__name__}: make it a string"
    if item.format is not None and item.format not in FORMATS:
        return f"'format' of {item.source} is {item.format!r}: choose one of {', '.join(FORMATS)}"
    if not isinstance(item.metadata, Mapping):
        return f"'metadata' of {item.source} is {type(item.metadata).__name__}: make it a mapping"
    problem = json_problem(dict(item.metadata), "metadata")
    return f"{problem} ({item.source})" if problem else None
