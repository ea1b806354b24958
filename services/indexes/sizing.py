"""What an index will take, before it is built: bytes, memory, seconds; and from how many rows on it pays.

Sizes follow from how pgvector lays out its pages. Times are coefficients that benchmarks/indexes.py has measured
(docs/indexes.md says on what, and how far off they are).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log

from pgcorpus.autogenerate.resources import BITS, MIN_SAMPLES, SAMPLES_PER_LIST, clusters_bytes, graph_bytes
from pgcorpus.indexing import IndexForm, with_defaults

PAGE = 8192
# What a page has for tuples beside its header, its item pointers (4 bytes each) and pgvector's 8 bytes.
_USABLE, _POINTER = PAGE - 24 - 8, 4
# hnsw.h: HnswElementTupleData without the value, HnswNeighborTupleData without the neighbours, one of those.
_ELEMENT_TUPLE, _NEIGHBOUR_TUPLE, _NEIGHBOUR = 72, 4, 6
_INDEX_TUPLE = 8

# Header and dimensions: of a vector as it is in memory, of what a tuple keeps.
_VALUE_HEADER = 8

# docs/indexes.md, "The coefficients": microseconds of a core to add a row to a graph with m = 16 and
# ef_construction = 64, by (BUILD + BUILD_DIMENSION * dimensions) * (ln(rows) - BUILD_FROM).
BUILD, BUILD_FROM = 38.0, 4.8
BUILD_DIMENSION = {IndexForm.VECTOR: 0.134, IndexForm.HALFVEC: 0.106, IndexForm.BINARY: 0.0055}
BUILD_EF_CONSTRUCTION, BUILD_M = 0.5, 1.0  # exponents of ef_construction / 64 and m / 16

# docs/indexes.md: nanoseconds of a core for each dimension of a sampled row, of which IVFFlat learns its lists, and
# for each dimension and list of any row.
SAMPLE, COMPARED = 137.0, 0.24

# docs/indexes.md: milliseconds of a core for a row of an exact search, and for each dimension of it; and of HNSW's with
# ef_search = 160, by (HNSW + HNSW_DIMENSION * dimensions) * (ln(rows) - HNSW_FROM).
EXACT, EXACT_DIMENSION = 0.000265, 0.00000054
HNSW, HNSW_DIMENSION, HNSW_FROM = 0.33, 0.00086, 6.4

# docs/indexes.md: where the two were measured to take as long, by CROSSOVER + CROSSOVER_DIMENSION * dimensions rows.
CROSSOVER, CROSSOVER_DIMENSION = 1_500, 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an index will take.

    Attributes:
        bytes: On disk, and in memory when it is searched.
        memory: Bytes of ``maintenance_work_mem`` to build it at full speed; of IVFFlat, to build it at all.
        seconds: To build it with one core.
    """

    bytes: int
    memory: int
    seconds: float


def estimate_index(
    form: IndexForm, method: str, rows: int, dimensions: int, options: Mapping[str, int] | None = None
) -> Estimate:
    """Return what an index will take.

    Args:
        form: What it keeps of an embedding.
        method: ``hnsw`` or ``ivfflat``.
        rows: To index.
        dimensions: Of the embeddings.
        options: Its parameters; the method's defaults otherwise.
    """
    given = with_defaults(method, options or {})
    width = _VALUE_HEADER + ceil(dimensions * BITS[form.type] / 8)
    if method == "hnsw":
        return Estimate(
            _graph_pages(rows, width, given["m"]) * PAGE,
            graph_bytes(rows, width, given["m"]),
            _graph_seconds(form, rows, dimensions, given),
        )
    lists = given["lists"]
    return Estimate(
        _list_pages(rows, width, lists) * PAGE,
        clusters_bytes(rows, width, dimensions, lists),
        _lists_seconds(rows, dimensions, lists),
    )


def _aligned(size: int) -> int:
    return -(-size // 8) * 8


def _graph_pages(rows: int, width: int, m: int) -> int:
    """Element and neighbours share a page: of 1,536 numbers there is room for one of them, of halved ones for two."""
    element = _aligned(_ELEMENT_TUPLE + width)
    # Twice m on the lowest layer, and m on each of those above, of which an element has 1 / (m - 1) at the mean.
    neighbours = _aligned(ceil(_NEIGHBOUR_TUPLE + _NEIGHBOUR * m * (2 + 1 / (m - 1))))
    each = element + neighbours + 2 * _POINTER
    return 1 + _pages(rows, each) if each <= _USABLE else 1 + rows + _pages(rows, neighbours + _POINTER)


def _list_pages(rows: int, width: int, lists: int) -> int:
    """A list begins on a page of its own; its centre is kept as well."""
    each = _aligned(_INDEX_TUPLE + width) + _POINTER
    return 1 + _pages(lists, each) + lists + _pages(rows, each)


def _pages(rows: int, each: int) -> int:
    return ceil(rows / max(_USABLE // each, 1))


def _graph_seconds(form: IndexForm, rows: int, dimensions: int, options: Mapping[str, int]) -> float:
    each = (BUILD + BUILD_DIMENSION[form] * dimensions) * _grown(rows, BUILD_FROM)
    work: float = (options["ef_construction"] / 64) ** BUILD_EF_CONSTRUCTION * (options["m"] / 16) ** BUILD_M
    return rows * each * work / 1e6


def _lists_seconds(rows: int, dimensions: int, lists: int) -> float:
    """Of the sampled rows the lists are learned, then every row is compared with each list."""
    sampled = min(max(SAMPLES_PER_LIST * lists, MIN_SAMPLES), rows)
    return dimensions * (sampled * (SAMPLE + COMPARED * lists) + rows * COMPARED * lists) / 1e9


def _grown(rows: int, start: float) -> float:
    return max(log(max(rows, 1)) - start, 0.1)


def exact_milliseconds(rows: int, dimensions: int) -> float:
    """Return the milliseconds of a core that an exact search of so many rows takes, from memory."""
    return rows * (EXACT + EXACT_DIMENSION * dimensions)


def hnsw_milliseconds(rows: int, dimensions: int) -> float:
    """Return the milliseconds of a core that a search by HNSW takes, with ``ef_search`` 160, from memory."""
    return min((HNSW + HNSW_DIMENSION * dimensions) * _grown(rows, HNSW_FROM), exact_milliseconds(rows, dimensions))


def crossover(dimensions: int) -> int:
    """Return below how many rows an exact search is no slower than one by HNSW, and finds everything."""
    return CROSSOVER + CROSSOVER_DIMENSION * dimensions
