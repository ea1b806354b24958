"""The file formats that can be read: text, Markdown, HTML and JSON lines."""

from __future__ import annotations

import codecs
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NoReturn

from pgcorpus.errors import SourceError
from pgcorpus.repositories.values import json_problem
from pgcorpus.services.chunking import (
    Passage,
    chunk_html,
    chunk_markdown,
    chunk_text,
    find_unstorable,
    normalize_newlines,
)

_SUFFIXES = {
    "text": (".txt", ".text", ".rst", ".log"),
    "markdown": (".md", ".markdown"),
    "html": (".html", ".htm", ".xhtml"),
    "jsonl": (".jsonl", ".ndjson"),
}
FORMATS = tuple(_SUFFIXES)
FORMAT_BY_SUFFIX: Mapping[str, str] = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}

# Python itself refuses to convert more than 4,300.
_MAX_DIGITS = 1000
_ONE_OBJECT = 'write one object a line, such as {"content": "...", "metadata": {...}}'


def format_of(name: str) -> str | None:
    """Return the format that a file's suffix stands for, or None."""
    return FORMAT_BY_SUFFIX.get(PurePosixPath(name).suffix.lower())


def decode(data: bytes, name: str) -> str:
    """Decode UTF-8 with or without a byte order mark, and turn every line end into a newline.

    Args:
        data: The whole file.
        name: What an error calls it.

    Raises:
        SourceError: If it is not UTF-8 text; the message says at which byte, counted from 0.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SourceError(f"{name} is UTF-16: convert it, e.g. iconv -f UTF-16 -t UTF-8")
    nul = data.find(b"\0")
    if nul >= 0:
        raise SourceError(f"{name} is not text: byte {nul} is NUL. Leave it out or convert it to text")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as exc:
        at = exc.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        raise SourceError(
            f"{name} is not UTF-8: byte {at} is 0x{data[at]:02x}. Convert it to UTF-8 or leave it out"
        ) from exc
    return normalize_newlines(text)


def read_passages(text: str, name: str, format_name: str) -> list[Passage]:
    """Split decoded text as its format asks.

    Args:
        text: The decoded text.
        name: What an error calls its origin.
        format_name: One of `FORMATS`.

    Raises:
        SourceError: If a JSON line is not what it must be; the message names the line.
    """
    if format_name == "jsonl":
        return list(_read_json_lines(text, name))
    chunk = {"text": chunk_text, "markdown": chunk_markdown, "html": chunk_html}[format_name]
    return [Passage(part.content, {"format": format_name, **part.metadata}) for part in chunk(text)]


# --- JSON lines


def check_passages(text: str, name: str, format_name: str) -> None:
    """Find what :func:`read_passages` would refuse, without splitting anything.

    Raises:
        SourceError: As :func:`read_passages`.
    """
    if format_name == "jsonl":
        deque(_parse_json_lines(text, name), maxlen=0)


def _read_json_lines(text: str, name: str) -> Iterator[Passage]:
    for content, metadata in _parse_json_lines(text, name):
        for part in chunk_text(content):
            yield Passage(part.content, metadata)


def _parse_json_lines(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # Not splitlines(): a JSON string may hold U+2028 and other characters that it takes for line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield _parse_line(line)
            except ValueError as exc:
                raise SourceError(f"{name} line {number}: {exc}") from exc


def _parse_line(line: str) -> tuple[str, dict[str, Any]]:
    """Return a line's content and metadata; a ValueError says what is wrong and what to do."""
    record = _load_json(line)
    if not isinstance(record, dict):
        raise ValueError(f"{_json_type(record)} instead of an object: {_ONE_OBJECT}")
    unknown = sorted(record.keys() - {"content", "metadata"})
    if unknown:
        raise ValueError(f'unknown field {json.dumps(unknown[0])}: put it inside "metadata"')
    content, metadata = _content(record), _metadata(record)
    if problem := json_problem(metadata, "metadata"):
        raise ValueError(problem)
    return content, metadata


def _content(record: dict[str, Any]) -> str:
    if "content" not in record:
        raise ValueError(f'no "content": {_ONE_OBJECT}')
    content = record["content"]
    if not isinstance(content, str):
        raise ValueError(f'"content" is {_json_type(content)}: make it a string')
    if not content.strip():
        raise ValueError('"content" is empty: fill it or remove the line')
    return content


def _metadata(record: dict[str, Any]) -> dict[str, Any]:
    metadata = record.get("metadata", {})
    if not isinstance(metadata, dict):
        raise ValueError(f'"metadata" is {_json_type(metadata)}: make it an object or remove it')
    return metadata


def _load_json(line: str) -> Any:
    try:
        value = json.loads(
            line,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_integer,
        )
        for text in _strings(value):
            _check_storable(text)
    except json.JSONDecodeError as exc:
        raise ValueError(f"broken JSON at column {exc.colno} ({exc.msg}): {_ONE_OBJECT}") from exc
    except RecursionError as exc:
        raise ValueError("nested too deep: flatten it") from exc
    return value


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, value in pairs:
        if name in record:
            raise ValueError(f"duplicate key {json.dumps(name)}: keep one of them")
        record[name] = value
    return record


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON: write null or a number")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"the number {digits[:20]}... has {len(digits)} digits: write it as a string")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:20]} is out of range: write a smaller one, or a string")
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _strings(item)


def _check_storable(text: str) -> None:
    at = find_unstorable(text)
    if at is not None:
        raise ValueError(
            f"\\u{ord(text[at]):04x} in {json.dumps(text[max(0, at - 10) : at + 10])} "
            "cannot be stored by PostgreSQL: remove it"
        )


def _json_type(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")
