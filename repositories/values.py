"""What PostgreSQL's text and JSONB can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MAX_DEPTH = 32

# A thousand digits: Python itself refuses to write out more than 4,300.
_MAX_BITS = 3_321


def text_problem(text: str) -> str | None:
    """Return why PostgreSQL cannot hold a text, or None."""
    if "\0" in text:
        return "holds a null character, which PostgreSQL's text cannot"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "holds a lone surrogate, which is not a character"
    return None


def json_problem(value: Any, place: str, depth: int = 0) -> str | None:
    """Return where and why JSONB cannot hold a value, or None.

    Args:
        value: Anything that came out of ``json.loads``, or tuples for lists.
        place: What the value is called in the answer.
        depth: Levels above it; deeper than 32 is a problem.
    """
    if depth > MAX_DEPTH:
        return f"{place}: deeper than {MAX_DEPTH} levels"
    match value:
        case None | bool():
            return None
        case int():
            return f"{place}: a number of over 1,000 digits" if value.bit_length() > _MAX_BITS else None
        case float():
            return None if math.isfinite(value) else f"{place}: {value} is not a JSON number"
        case str():
            problem = text_problem(value)
            return f"{place}: the text {problem}" if problem else None
        case list() | tuple():
            return _first_problem({f"{place}[{i}]": item for i, item in enumerate(value)}, depth)
        case dict():
            return _key_problem(value, place) or _first_problem(
                {f"{place}.{key}": item for key, item in value.items()}, depth
            )
        case _:
            return f"{place}: {kind(value)} has no place in JSON"


def same_json(left: Any, right: Any) -> bool:
    """Return whether two JSON values are one value to PostgreSQL: ``1`` is ``1.0``, and not ``true``."""
    match left, right:
        case (bool(), _) | (_, bool()):
            return left is right
        case (int() | float(), int() | float()):
            return Decimal(repr(left)) == Decimal(repr(right))
        case (list() | tuple(), list() | tuple()):
            return len(left) == len(right) and all(map(same_json, left, right))
        case dict(), dict():
            return left.keys() == right.keys() and all(same_json(value, right[key]) for key, value in left.items())
        case _:
            return type(left) is type(right) and bool(left == right)


def _first_problem(items: Mapping[str, Any], depth: int) -> str | None:
    return next((problem for place, item in items.items() if (problem := json_problem(item, place, depth + 1))), None)


def _key_problem(value: Mapping[Any, Any], place: str) -> str | None:
    for key in value:
        if not isinstance(key, str):
            return f"{place}: the key {_written(key)} is not text"
        if problem := text_problem(key):
            return f"{place}: a key {problem}"
    return None


def _written(key: Any) -> str:
    try:
        return repr(key)
    except ValueError:
        return f"of type {type(key).__name__}"  # an integer of over 4,300 digits, or one inside a tuple


def kind(value: Any) -> str:
    """Name a value's type as a user of JSON would."""
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
    tuple: "a list",
    dict: "an object",
}
