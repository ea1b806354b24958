"""What a search can be narrowed to: sources, and the commonest values of metadata that has few."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from pgcorpus.errors import PgCorpusError
from pgcorpus.integrations.explorer.asking import Ask, Narrowed
from pgcorpus.integrations.explorer.reading import at_most
from pgcorpus.repositories import DocumentRepository, Facet, SampledKey

SECONDS = 2.5
SAMPLE = 1_000
MOST_FIELDS = 6
MOST_VALUES = 8
# Of a sample: a key with more different values is no way to narrow a search.
FEW_VALUES = 30
_LONGEST_KEY = 100
_LONGEST_VALUE = 1_000


@dataclass(frozen=True, slots=True)
class Value:
    """A value to narrow to.

    Attributes:
        one: The condition.
        count: Documents that have it, of those that the filter leaves.
        chosen: Whether the search is narrowed to it.
    """

    one: Narrowed
    count: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The values of a field, the commonest first."""

    label: str
    values: Sequence[Value]


@dataclass(slots=True)
class Facets:
    """All groups, and the names of those that could not be counted in time."""

    groups: list[Group] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def facets(session: Session, repository: DocumentRepository, ask: Ask, where: Mapping[str, Any] | None) -> Facets:
    """Return what a search can be narrowed to, in bounded time.

    Args:
        session: The repository's.
        repository: The documents'.
        ask: The search.
        where: Its filter, which the counts respect.
    """
    counted, until = Facets(), time.monotonic() + SECONDS
    for name in ["source", *_fields(session, repository)]:
        label = name.removeprefix("meta.")
        try:
            with at_most(session, _left(until)):
                found = repository.facets(name, where, limit=MOST_VALUES)
        except PgCorpusError:
            counted.left_out.append(label)
            continue
        if group := _group(name, label, found, ask):
            counted.groups.append(group)
    return counted


def _fields(session: Session, repository: DocumentRepository) -> list[str]:
    try:
        with at_most(session, SECONDS):
            keys = repository.fields(SAMPLE)
    except PgCorpusError:
        return []
    few = sorted(filter(_is_facet, keys), key=lambda seen: (-seen.count, seen.distinct, seen.key))
    return [f"meta.{seen.key}" for seen in few[:MOST_FIELDS]]


def _is_facet(seen: SampledKey) -> bool:
    # A filter's path is cut at dots, so a key with one cannot be named.
    named = 0 < len(seen.key) <= _LONGEST_KEY and "." not in seen.key
    return named and seen.distinct <= FEW_VALUES and (seen.distinct < seen.count or seen.count == 1)


def _group(name: str, label: str, found: Sequence[Facet], ask: Ask) -> Group | None:
    """Objects, lists in lists and long texts are no values to narrow to; one value that all have narrows nothing."""
    scalars = [each for each in found if not isinstance(each.value, dict | list)]
    conditions = [(Narrowed(name, each.value), each.count) for each in scalars]
    values = [Value(one, count, one in ask.narrowed) for one, count in conditions if _fits(one)]
    narrows = len(found) > 1 or any(value.chosen for value in values)
    return Group(label, values) if values and narrows else None


def _fits(one: Narrowed) -> bool:
    """Servers take addresses of 4,000 characters or little more."""
    return len(one.parameter()) <= _LONGEST_VALUE


def _left(until: float) -> float:
    return max(0.001, until - time.monotonic())
