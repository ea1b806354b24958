"""What a reader asks for, read from an address: nothing in it is trusted, and what is wrong is told with its field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pgcorpus.errors import FilterError, SearchError
from pgcorpus.models import Document
from pgcorpus.repositories import compile_filter
from pgcorpus.repositories.search.requests import LARGEST_ID
from pgcorpus.repositories.values import text_problem

MODES = ("hybrid", "meaning", "words")
DEFAULT_MODE = MODES[0]
DEFAULT_K, MAX_K = 10, 100
MAX_QUESTION = 2_000  # characters
MAX_FILTER = 20_000
MAX_NAME = 2_000
MAX_NARROWED = 20

_NUMBER = re.compile(r"[0-9]{1,19}")
_PLACE = re.compile(r"(-?[0-9]{1,10})?\.([0-9]{1,19})")


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A value that a reader narrowed the search to.

    Attributes:
        field: ``source`` or ``meta.KEY``.
        value: A JSON scalar; None for documents without one.
    """

    field: str
    value: Any

    def parameter(self) -> str:
        """Return it as it stands in an address; as ASCII, of which a page shows every character."""
        return json.dumps([self.field, self.value], separators=(",", ":"))

    def where(self) -> dict[str, Any]:
        """Return it as a filter: the value itself, or a list that holds it, since facets count a list's elements."""
        if self.field == "source":
            return {"source": self.value}
        other = {"$exists": False} if self.value is None else {"$contains": [self.value]}
        return {"$or": [{self.field: {"$eq": self.value}}, {self.field: other}]}


@dataclass(frozen=True, slots=True)
class Ask:
    """A search as it was typed.

    Attributes:
        question: May be empty: then documents are listed.
        collection: Its name; empty for the first.
        mode: ``hybrid``, ``meaning`` or ``words``.
        k: As typed.
        where: A filter in JSON, as typed.
        narrowed: What links narrowed it to.
        problems: What is wrong, by field.
    """

    question: str = ""
    collection: str = ""
    mode: str = DEFAULT_MODE
    k: str = str(DEFAULT_K)
    where: str = ""
    narrowed: tuple[Narrowed, ...] = ()
    problems: Mapping[str, str] | None = None

    @property
    def hits(self) -> int:
        """How many hits are wanted."""
        return int(self.k)

    def filter(self) -> dict[str, Any] | None:
        """Return the typed filter and what it was narrowed to as one.

        Raises:
            FilterError: It cannot be understood.
        """
        parts: list[Mapping[str, Any]] = [each.where() for each in self.narrowed]
        if self.where.strip():
            parts.insert(0, parsed_filter(self.where))
        return {"$and": parts} if parts else None

    def parameters(self) -> list[tuple[str, str]]:
        """Return it as parameters of an address, without what goes without saying."""
        return [
            ("collection", self.collection),
            ("q", self.question),
            ("mode", "" if self.mode == DEFAULT_MODE else self.mode),
            ("k", "" if self.k == str(DEFAULT_K) else self.k),
            ("where", self.where),
            *(("is", each.parameter()) for each in self.narrowed),
        ]

    def narrower(self, one: Narrowed) -> Ask:
        """Return it with one condition more."""
        return replace(self, narrowed=(*self.narrowed, one))

    def wider(self, one: Narrowed) -> Ask:
        """Return it without a condition."""
        return replace(self, narrowed=tuple(each for each in self.narrowed if each != one))


def parsed_ask(parameters: Iterable[tuple[str, str]]) -> Ask:
    """Return what was asked for, with what is wrong with it.

    Args:
        parameters: Of the address; what is unknown is passed over.
    """
    given = list(parameters)
    first = dict(reversed(given))
    narrowed, fault = _narrowed([value for name, value in given if name == "is"])
    ask = Ask(
        first.get("q", "").strip(),
        first.get("collection", ""),
        first.get("mode", DEFAULT_MODE),
        first.get("k", str(DEFAULT_K)).strip(),
        first.get("where", ""),
        narrowed,
    )
    problems = {**_problems(ask), **({"where": fault} if fault else {})}
    return replace(ask, problems=problems)


def parsed_filter(typed: str) -> Mapping[str, Any]:
    """Return a filter that was typed.

    Raises:
        FilterError: It is no JSON object.
    """
    if len(typed) > MAX_FILTER:
        raise FilterError(f"the filter is longer than {MAX_FILTER:,} characters")
    parsed = _json(typed, "the filter")
    if not isinstance(parsed, dict):
        raise FilterError('the filter is a JSON object, such as {"meta.year": {"$gte": 2020}}')
    return parsed


def number(text: str | None, name: str) -> int | None:
    """Return a number of an address, or None where it has none.

    Raises:
        SearchError: It is no number that an id or a position can be.
    """
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST_ID:
        raise SearchError(f"{name} is not a number that a document can have")
    return int(text)


def place(text: str | None) -> tuple[int | None, int] | None:
    """Return a place in a source: ``POSITION.ID``, the position left out where there is none.

    Raises:
        SearchError: It has not that form; whether there can be such a place is for the repository to say.
    """
    if text is None:
        return None
    found = _PLACE.fullmatch(text)
    if not found:
        raise SearchError("a place in a source is its position and its id")
    position, identity = found.groups()
    return (int(position) if position else None), int(identity)


def _problems(ask: Ask) -> dict[str, str]:
    problems = {
        "q": _text_fault(ask.question, "the question", MAX_QUESTION),
        "collection": _text_fault(ask.collection, "the name", MAX_NAME),
        "mode": None if ask.mode in MODES else f"expected one of {', '.join(MODES)}",
        "k": None if _is_k(ask.k) else f"expected a number from 1 to {MAX_K}",
        "where": _filter_fault(ask),
    }
    return {name: fault for name, fault in problems.items() if fault}


def _text_fault(text: str, name: str, limit: int) -> str | None:
    if len(text) > limit:
        return f"{name} is longer than {limit:,} characters"
    problem = text_problem(text)
    return f"{name} {problem}" if problem else None


def _is_k(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text)) and 1 <= int(text) <= MAX_K


def _filter_fault(ask: Ask) -> str | None:
    try:
        compile_filter(ask.filter(), Document)
    except FilterError as exc:
        return str(exc)
    return None


def _narrowed(given: Sequence[str]) -> tuple[tuple[Narrowed, ...], str | None]:
    try:
        if len(given) > MAX_NARROWED:
            raise FilterError(f"the search is narrowed more than {MAX_NARROWED} times")
        return tuple(dict.fromkeys(map(_one_narrowed, given))), None
    except FilterError as exc:
        return (), str(exc)


def _one_narrowed(text: str) -> Narrowed:
    fault = FilterError("the address narrows the search to what is no field and value")
    if len(text) > MAX_NAME:
        raise fault
    match _json(text, "what the address narrows the search to"):
        case [str(field), None | str() | bool() | int() | float() as value] if _is_narrowable(field):
            return Narrowed(field, value)
        case _:
            raise fault


def _is_narrowable(field: str) -> bool:
    return field == "source" or (field.startswith("meta.") and field.count(".") == 1)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        said = f": {exc.msg} at character {exc.pos + 1}" if isinstance(exc, json.JSONDecodeError) else ""
        raise FilterError(f"{name} is not JSON{said}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
