"""Filters to measure with: those that are typical of a collection's documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import log
from typing import Any, NamedTuple

from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.hits import Facet

# What a filter lets pass, as a share of the documents: of each kind the nearest one is taken, if it is within a factor
# of FAR. The rarer the matches, the further an index scan has to go on; the most frequent ones it hardly notices.
SHARES = (0.01, 0.1, 0.5)
FAR = 3.0

# Documents and keys looked at, and the values of a key that are counted, each by a pass over the collection.
_SAMPLE = 1_000
_KEYS = 5
_VALUES = 100
# A key with a value for each document is a name.
_MOST_DISTINCT = 0.5


class Typical(NamedTuple):
    """A filter and how much it lets pass.

    Attributes:
        where: As JSON has it.
        share: Of the documents, 0 to 1.
    """

    where: Mapping[str, Any]
    share: float


def typical_filters(repository: DocumentRepository, documents: int, least: int = 1) -> list[Typical]:
    """Return up to three filters, by the metadata, the source and the language, the rarest first.

    Args:
        repository: Of the collection.
        documents: How many it has.
        least: Documents that a filter lets pass: of fewer than ``k``, any search finds all.
    """
    if not documents:
        return []
    counted = ((field, repository.facets(field, limit=_VALUES)) for field in _fields(repository))
    offered = [one for field, facets in counted for one in _offered(field, facets, documents, least)]
    return [one for one in nearest_shares(offered) if repository.count(one.where) == round(one.share * documents)]


def nearest_shares(offered: Sequence[Typical]) -> list[Typical]:
    """Return for each of the shares the filter that comes nearest to it, if one is near."""
    chosen: dict[float, Typical] = {}
    for share in SHARES:
        near = min(offered, key=lambda one: _distance(one.share, share), default=None)
        if near is not None and _distance(near.share, share) <= log(FAR):
            chosen.setdefault(near.share, near)
    return list(chosen.values())


def _distance(one: float, other: float) -> float:
    return abs(log(one / other))


def _fields(repository: DocumentRepository) -> Iterator[str]:
    """Fields with few values; a dot in a key would be read as a path."""
    keys = [key for key in repository.fields(_SAMPLE) if 1 < key.distinct <= max(2, _MOST_DISTINCT * key.count)]
    yield from ("meta." + key.key for key in keys[:_KEYS] if key.key and "." not in key.key)
    yield from ("source", "language")


def _offered(field: str, facets: Sequence[Facet], documents: int, least: int) -> Iterator[Typical]:
    for facet in facets:
        if isinstance(facet.value, str | int | float) and max(1, least) <= facet.count < documents:
            yield Typical({field: facet.value}, facet.count / documents)
