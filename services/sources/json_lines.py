"""JSON lines: each line is a document, or several if it is long."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, NoReturn

from pgcorpus.errors import SourceError
from pgcorpus.repositories.values import json_problem
from pgcorpus.services.chunking import Passage, find_unstorable
from pgcorpus.services.sources.formats import Cutting, decode

_Line = tuple[str, dict[str, Any]]
"""A line's content and metadata."""

# Python itself refuses to convert more than 4,300.
_MAX_DIGITS = 1000
_ONE_OBJECT = 'write one object a line, such as {"content": "...", "metadata": {...}}'


def read_json_lines(stream: BinaryIO, name: str, cutting: Cutting) -> Iterator[Passage]:
    """Yield the passages of a file line by line; never more than a line is in memory.

    Args:
        stream: The file, at its start.
        name: What an error calls it.
        cutting: How each line's content is cut.

    Raises:
        SourceError: If the file is not UTF-8, or a line is not what it must be; the message names the byte or line.
    """
    yield from _cut(_parse_lines(_lines(stream, name), name), cutting, {})


def read_json_text(text: str, name: str, cutting: Cutting, metadata: Mapping[str, Any]) -> Iterator[Passage]:
    """Yield the passages of JSON lines that are a text already.

    Args:
        text: With newlines for line ends.
        name: What an error calls it.
        cutting: How each line's content is cut.
        metadata: Of each passage; a line's own stand over them.

    Raises:
        SourceError: As :func:`read_json_lines`.
    """
    # Not splitlines(): a JSON string may hold U+2028 and other characters that it takes for line ends.
    yield from _cut(_parse_lines(text.split("\n"), name), cutting, metadata)


def check_json_lines(stream: BinaryIO, name: str) -> None:
    """Find what :func:`read_json_lines` would refuse, without splitting anything.

    Raises:
        SourceError: As :func:`read_json_lines`.
    """
    deque(_parse_lines(_lines(stream, name), name), maxlen=0)


def _cut(lines: Iterable[_Line], cutting: Cutting, metadata: Mapping[str, Any]) -> Iterator[Passage]:
    for content, own in lines:
        yield from cutting.passages(content, "text", {**metadata, **own})


def _parse_lines(lines: Iterable[str], name: str) -> Iterator[_Line]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _parse_line(line)
            except ValueError as exc:
                raise SourceError(f"{name} line {number}: {exc}") from exc


def _lines(stream: BinaryIO, name: str) -> Iterator[str]:
    at = 0
    for data in stream:
        yield from decode(data, name, at).removesuffix("\n").split("\n")
        at += len(data)


def _parse_line(line: str) -> _Line:
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
