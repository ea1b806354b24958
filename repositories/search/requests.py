"""A search's request: its options by name, checked before the server is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from numbers import Real
from operator import index
from typing import Any, TypedDict

from pgcorpus import vectors
from pgcorpus.errors import SearchError, VectorError
from pgcorpus.indexing import IndexForm, parse_form
from pgcorpus.models import Metric, parse_metric
from pgcorpus.repositories.filters import Where
from pgcorpus.repositories.values import text_problem
from pgcorpus.tuning import DEFAULT_EF_SEARCH, SCANS

# pgvector README, "HNSW": hnsw.ef_search is 1 to 1,000; "IVFFlat": at most 32,768 lists can be probed.
MAX_EF_SEARCH = 1_000
MAX_PROBES = 32_768
MAX_HITS = 1_000_000
MAX_CONTEXT = 100
MAX_TIMEOUT = 86_400.0  # seconds
LARGEST = 1e300
LARGEST_ID = 2**63 - 1

# Candidates looked at for each hit wanted, where hits are chosen among them.
GROUP_CANDIDATES = 10
DIVERSITY_CANDIDATES = 4
MIN_CANDIDATES = 40

# Rows taken from an index of signs for each that is taken from one of whole vectors: with 40 times what is wanted the
# recall was that of whole vectors, with 20 times .02 below (docs/benchmarks.md).
BINARY_CANDIDATES = 20
MIN_BINARY_CANDIDATES = 400


class SearchOptions(TypedDict, total=False):
    """The options of a search; see :meth:`pgcorpus.repositories.vector.VectorRepository.search`."""

    where: Where | None
    metric: Metric | str | None
    min_score: float | None
    ef_search: int | None
    probes: int | None
    exact: bool
    offset: int
    include_embedding: bool
    columns: Sequence[str] | None
    context: int
    timeout: float | None
    group_by: str | None
    diversify: float | None
    entities: bool
    recall: float | None
    form: IndexForm | str | None
    rerank: int | None
    scan: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """A search that can be run; the attributes are those of :class:`SearchOptions`, but for the filter.

    Raises:
        SearchError: A number is out of range, or two options exclude each other.
    """

    k: int = 10
    metric: Metric | None = None
    min_score: float | None = None
    ef_search: int | None = None
    probes: int | None = None
    exact: bool = False
    offset: int = 0
    include_embedding: bool = False
    columns: tuple[str, ...] | None = None
    context: int = 0
    timeout: float | None = None
    group_by: str | None = None
    diversify: float | None = None
    entities: bool = False
    recall: float | None = None
    form: IndexForm | None = None
    rerank: int | None = None
    scan: str | None = None

    def __post_init__(self) -> None:
        check_range("k", self.k, 1, MAX_HITS)
        check_range("offset", self.offset, 0, MAX_HITS)
        check_range("context", self.context, 0, MAX_CONTEXT)
        check_range("ef_search", self.ef_search, 1, MAX_EF_SEARCH)
        check_range("probes", self.probes, 1, MAX_PROBES)
        check_number("diversify", self.diversify, 0.0, 1.0)
        check_number("min_score", self.min_score, -LARGEST, LARGEST)
        check_number("timeout", self.timeout, 0.001, MAX_TIMEOUT)
        check_number("recall", self.recall, 0.0, 1.0)
        check_range("rerank", self.rerank, 1, MAX_HITS)
        if self.scan not in (None, *SCANS):
            raise SearchError(f"scan is one of {', '.join(SCANS)}, not {self.scan!r}")
        if self.group_by is not None and not isinstance(self.group_by, str):
            raise SearchError(f"group_by is the name of a field, not {type(self.group_by).__name__}")
        for one, other in _EXCLUSIVE:
            if getattr(self, one) not in (None, False, 0) and getattr(self, other) not in (None, False, 0):
                raise SearchError(f"a search takes {one} or {other}, not both")

    @property
    def wanted(self) -> int:
        """Hits to find: the skipped ones too."""
        return self.k + self.offset

    @property
    def _candidates(self) -> int:
        """Rows to take from an index of whole vectors: twice what is wanted, for it may go on in a relaxed order."""
        if self.group_by is not None:
            return max(MIN_CANDIDATES, GROUP_CANDIDATES * self.wanted)
        if self.diversify is not None:
            return 2 * self.diverse_among
        return 2 * self.wanted

    @property
    def diverse_among(self) -> int:
        """Hits among which unlike ones are chosen."""
        return max(MIN_CANDIDATES, DIVERSITY_CANDIDATES * self.wanted)

    @property
    def candidates(self) -> int:
        """Rows to take from the index: those that are compared exactly, to be in order."""
        return taken(self.form, self._candidates, self.rerank)

    @property
    def chosen_ef_search(self) -> int:
        """Candidates that HNSW keeps: those asked for, else 160 or as many as rows are taken."""
        return self.ef_search or min(max(DEFAULT_EF_SEARCH, self.candidates), MAX_EF_SEARCH)


_EXCLUSIVE = (
    ("entities", "columns"),
    ("entities", "diversify"),
    ("group_by", "diversify"),
    ("group_by", "entities"),
    ("columns", "context"),
    ("recall", "ef_search"),
    ("recall", "probes"),
    ("recall", "exact"),
    ("recall", "rerank"),
    ("recall", "scan"),
    ("form", "exact"),
)


def taken(form: IndexForm | None, rows: int, rerank: int | None = None) -> int:
    """Return how many rows to take from an index of a form.

    Args:
        form: Of the index.
        rows: To take from one of whole vectors: twice what is wanted, or more.
        rerank: How many are asked for instead.
    """
    if rerank is not None:
        return max(rerank, rows // 2)
    if form is IndexForm.BINARY:
        return max(MIN_BINARY_CANDIDATES, BINARY_CANDIDATES * rows)
    return rows


def make_request(k: int, options: SearchOptions) -> Request:
    """Return a checked request of all but the filter.

    Raises:
        SearchError: A number is out of range, or two options exclude each other.
        DefinitionError: The metric is unknown.
        TypeError: There is no option of that name.
    """
    given = _DEFAULTS | options
    if unknown := given.keys() - _DEFAULTS.keys() - {"where"}:
        raise TypeError(f"there is no option {', '.join(sorted(unknown))}; there are {', '.join(_DEFAULTS)}")
    return request_of(k, *(given[name] for name in _DEFAULTS))


def request_of(k: int, *values: Any) -> Request:
    """Return a checked request of all but the filter.

    Args:
        k: Hits wanted.
        *values: All others, in the order of :class:`Request`.

    Raises:
        SearchError: A number is out of range, or two options exclude each other.
        DefinitionError: The metric is unknown.
    """
    try:
        return _request(k, *values)
    except TypeError:
        return _request.__wrapped__(k, *values)  # a list, or what is then refused by name


@lru_cache(maxsize=512, typed=True)
def _request(k: int, metric: Metric | str | None, *values: Any) -> Request:
    """A program asks for the same few searches again and again: each is checked once."""
    request = Request(k, None if metric is None else parse_metric(metric), *values)
    form = None if request.form is None else parse_form(request.form)
    columns = None if request.columns is None else tuple(request.columns)
    return replace(request, form=form, columns=columns)


_DEFAULTS: dict[str, Any] = {each.name: each.default for each in fields(Request) if each.name != "k"}


def check_queries(queries: Sequence[vectors.VectorLike], dimensions: int | None) -> list[vectors.Array]:
    """Return the query vectors as arrays.

    Raises:
        VectorError: One cannot be compared; the message names its position.
    """
    checked = []
    for position, query in enumerate(queries):
        try:
            checked.append(vectors.as_searchable(query, dimensions))
        except VectorError as exc:
            raise VectorError(f"query {position}: {exc}") from exc
    return checked


def check_text(name: str, value: Any) -> None:
    """Pass if a value is text that PostgreSQL can hold.

    Raises:
        SearchError: It is not.
    """
    if not isinstance(value, str):
        raise SearchError(f"{name} is text, not {type(value).__name__}")
    if problem := text_problem(value):
        raise SearchError(f"{name} {problem}")


def check_range(name: str, value: Any, low: int, high: int) -> None:
    """Pass if a value is a whole number in a range, or None.

    Raises:
        SearchError: It is not.
    """
    if value is None:
        return
    try:
        number = -1 if isinstance(value, bool) else index(value)
    except TypeError:
        raise SearchError(f"{name} must be a whole number, not {type(value).__name__}") from None
    if not low <= number <= high:
        raise SearchError(f"{name} must be {low:,} to {high:,}, not {value}")


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Pass if a value is a number in a range, or None.

    Raises:
        SearchError: It is not.
    """
    if value is not None and not (isinstance(value, Real) and low <= float(value) <= high):
        raise SearchError(f"{name} must be a number from {low:g} to {high:g}, not {value!r}")
