"""Which index a collection should have, if any, by its size and the server's memory; nothing is built or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from pgcorpus.autogenerate.extension import extension_home
from pgcorpus.autogenerate.resources import Server, read_server
from pgcorpus.database import autocommit
from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import METHODS, IndexForm
from pgcorpus.models import Document
from pgcorpus.models.index import INDEX_DIMENSIONS
from pgcorpus.models.vector import MAX_DIMENSIONS
from pgcorpus.services.indexes.listing import table_exists
from pgcorpus.services.indexes.planning import Place, extension_required, rows_of
from pgcorpus.services.indexes.sizing import (
    Estimate,
    crossover,
    estimate_index,
    exact_milliseconds,
    hnsw_milliseconds,
)
from pgcorpus.services.indexes.wanted import WantedIndex, dimensions_of, lists_for

# About what a table can hold: 2^32 pages of at most 291 rows (PostgreSQL manual, "PostgreSQL Limits").
MAX_ROWS = 10**12


@dataclass(frozen=True, slots=True)
class Choice:
    """A form and a method, and what an index of them takes.

    Attributes:
        form: What it keeps of an embedding.
        method: ``hnsw`` or ``ivfflat``.
        possible: Whether pgvector indexes so many dimensions so.
        estimate: What it takes; None where it is not possible.
        fits_cache: Whether the server's memory holds it while it is searched.
        fits_build: Whether it needs no more memory than the server's settings show; of a graph, what a build is given.
    """

    form: IndexForm
    method: str
    possible: bool
    estimate: Estimate | None = None
    fits_cache: bool = False
    fits_build: bool = False


@dataclass(frozen=True, slots=True)
class Advice:
    """What to build, and what that is concluded from.

    Attributes:
        rows: To be indexed.
        dimensions: Of an embedding.
        form: Of the HNSW index that is advised; None where no index is needed, or none is possible.
        because: Why, in one sentence.
        crossover: Below so many rows an exact search is no slower than HNSW, and finds everything.
        exact_ms: Milliseconds of a core that an exact search takes.
        hnsw_ms: Of one by HNSW, with ``ef_search`` 160.
        cache: Bytes of the server's memory that an index can be searched from.
        build_memory: Bytes that a build is given unasked.
        choices: All forms and methods.
    """

    rows: int
    dimensions: int
    form: IndexForm | None
    because: str
    crossover: int
    exact_ms: float
    hnsw_ms: float
    cache: int
    build_memory: int
    choices: tuple[Choice, ...]


def advise(
    engine: Engine,
    *,
    rows: int | None = None,
    dimensions: int | None = None,
    collection_id: int | None = None,
    model: type[Any] = Document,
    column: str = "embedding",
) -> Advice:
    """Return which index to build, if any; it only reads, on an empty database and on a standby too.

    Args:
        engine: The database, whose memory counts.
        rows: To plan for; those that are there by default.
        dimensions: To plan for; the column's by default.
        collection_id: Of a partial index for one collection: only its rows.
        model: The mapped class.
        column: Its vector column.

    Raises:
        DefinitionError: A number is impossible.
    """
    place: Any = model.__table__
    wanted = WantedIndex(collection_id=collection_id)
    with autocommit(engine).connect() as connection:
        if rows is None:
            rows = _rows(connection, Place(place, connection.schema_for_object(place), column), wanted)
        server = read_server(connection)
    return advice_for(rows, dimensions or dimensions_of(place, column), server)


def _rows(connection: Connection, place: Place, wanted: WantedIndex) -> int:
    if extension_home(connection) is None or not table_exists(connection, place.schema, place.table.name):
        return 0
    with extension_required(connection):
        return rows_of(connection, place, wanted)


def advice_for(rows: int, dimensions: int, server: Server) -> Advice:
    """Return which index to build for so many rows on such a server.

    Raises:
        DefinitionError: A number is impossible.
    """
    if not 0 <= rows <= MAX_ROWS or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise DefinitionError(f"advice is for 0 to {MAX_ROWS:,} rows, of 1 to {MAX_DIMENSIONS:,} dimensions")
    cache = cache_of(server)
    choices = tuple(_choices(rows, dimensions, cache, server.limit))
    form, because = _best(rows, dimensions, choices)
    return Advice(
        rows=rows,
        dimensions=dimensions,
        form=form,
        because=because,
        crossover=crossover(dimensions),
        exact_ms=exact_milliseconds(rows, dimensions),
        hnsw_ms=hnsw_milliseconds(rows, dimensions),
        cache=cache,
        build_memory=server.limit,
        choices=choices,
    )


def cache_of(server: Server) -> int:
    """Return the memory that an index can be searched from: what was said of the machine, else PostgreSQL's own."""
    return max(server.shared_buffers, server.cache if server.cache_was_set else 0)


def _choices(rows: int, dimensions: int, cache: int, build_memory: int) -> Iterator[Choice]:
    for form in IndexForm:
        for method in METHODS:
            if dimensions > INDEX_DIMENSIONS[form.type]:
                yield Choice(form, method, possible=False)
                continue
            options = {"lists": lists_for(rows)} if method == "ivfflat" else {}
            estimate = estimate_index(form, method, rows, dimensions, options)
            yield Choice(form, method, True, estimate, estimate.bytes <= cache, estimate.memory <= build_memory)


def _best(rows: int, dimensions: int, choices: Sequence[Choice]) -> tuple[IndexForm | None, str]:
    """Prefer what needs no second look at the rows, as long as it stays in memory."""
    if rows < crossover(dimensions):
        return None, "so few rows are compared exactly in the time that an index takes, and nothing is missed"
    possible = [choice for choice in choices if choice.possible and choice.method == "hnsw"]
    if not possible:
        return None, f"pgvector indexes no {dimensions:,} dimensions: shorten the vectors, or search exactly"
    fitting = next((choice for choice in possible if choice.fits_cache), None)
    if fitting is None:
        return possible[-1].form, "none fits into the server's memory: this one is the smallest"
    if fitting is possible[0]:
        return fitting.form, "it is the most exact that so many dimensions allow, and fits into the server's memory"
    return fitting.form, "it is the most exact that fits into the server's memory; searches compare its rows exactly"
