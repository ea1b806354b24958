"""What vector indexes take: bytes, seconds of a core to build, and to search beside an exact scan.

``python -m benchmarks.indexes`` takes about eight minutes on one core. It prints what it measures, the coefficients
that ``services/indexes/sizing.py`` has as constants (docs/indexes.md), and how far off they are where none was fitted.
What is timed is the server process's own CPU time, as Linux counts it: other work on the machine hardly shows in it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector
from sqlalchemy.engine import make_url

from benchmarks.server import SETTINGS, private_folder
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.indexing import IndexForm
from pgcorpus.services.indexes import estimate_index

Array = NDArray[np.float32]
Connection = psycopg.Connection[Any]

FITTED_ROWS, FITTED_DIMENSIONS = (1_000, 2_000, 5_000, 10_000, 20_000), (64, 384, 1536)
HELD_OUT, LARGE = (12_000, 768), (100_000, 384)
# Below so many rows of the fitted ones the processor's cache holds them all, and they tell little of more.
ENOUGH = 5_000
QUERIES, K, EF_SEARCH, SEED = 40, 10, 160, 3
# How many of the vectors' dimensions matter, and the noise in all of them: as hard as benchmarks/data.py's hard set.
INTRINSIC, NOISE = 44, 0.1
# As a document's: 60 words of text beside the vector, which lies in the row.
CONTENT = "a passage of text that was found again " * 8

KEYS = {
    "vector": "embedding vector_cosine_ops",
    "halfvec": "(embedding::halfvec({dimensions})) halfvec_cosine_ops",
    "binary": "(binary_quantize(embedding)::bit({dimensions})) bit_hamming_ops",
}
# HNSW's m and ef_construction, and IVFFlat's lists; all of them at one number of rows, of one form.
PARAMETERS, SEVERAL = ((16, 64), (16, 128), (32, 128)), (5_000, "vector")
LISTS, SEVERAL_LISTS = (50, 200), (20_000, "vector")


@dataclass(frozen=True)
class Built:
    """An index that was built, by a core alone: its CPU seconds and its bytes."""

    form: str
    method: str
    rows: int
    dimensions: int
    options: dict[str, int]
    seconds: float
    size: int


@dataclass(frozen=True)
class Searched:
    """CPU milliseconds of a search, exact and by HNSW, and the recall@10 of the latter."""

    rows: int
    dimensions: int
    exact: float
    hnsw: float
    recall: float


def draw(rows: int, dimensions: int) -> tuple[Array, Array]:
    """Draw vectors to store and queries of the same distribution, of length 1."""
    random = np.random.default_rng(SEED)
    surface = random.standard_normal((INTRINSIC, dimensions), dtype=np.float32) / np.float32(np.sqrt(dimensions))
    vectors = _unit(random.standard_normal((rows + QUERIES, INTRINSIC), dtype=np.float32) @ surface)
    vectors += random.standard_normal(vectors.shape, dtype=np.float32) * np.float32(NOISE / np.sqrt(dimensions))
    return _unit(vectors)[:rows], _unit(vectors)[rows:]


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def cpu(connection: Connection) -> float:
    """Return the CPU seconds that a connection's server process has used."""
    fields = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(connection: Connection, vectors: Array) -> None:
    """Make the table, with the vectors in its rows as pgcorpus keeps them."""
    connection.execute("DROP TABLE IF EXISTS items")
    connection.execute(
        f"CREATE TABLE items (collection_id bigint, id bigint, content text, embedding vector({vectors.shape[1]}) "
        "STORAGE MAIN, PRIMARY KEY (collection_id, id)) WITH (toast_tuple_target = 8160)"
    )
    copy = "COPY items FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(copy) as rows:
        rows.set_types(["int8", "int8", "text", "vector"])
        for number, vector in enumerate(vectors):
            rows.write_row((1, number, CONTENT, vector))
    connection.execute("VACUUM ANALYZE items")


def build(connection: Connection, form: str, method: str, shape: tuple[int, int], options: dict[str, int]) -> Built:
    """Build an index and measure it."""
    key = KEYS[form].format(dimensions=shape[1])
    given = ", ".join(f"{name} = {value}" for name, value in options.items())
    connection.execute("DROP INDEX IF EXISTS items_index")
    before = cpu(connection)
    connection.execute(f"CREATE INDEX items_index ON items USING {method} ({key}) WITH ({given})".encode())
    seconds = cpu(connection) - before
    row = connection.execute("SELECT pg_relation_size('items_index')").fetchone()
    assert row is not None  # noqa: S101 -- one row always
    return Built(form, method, *shape, options, seconds, int(row[0]))


def search(connection: Connection, queries: Array, shape: tuple[int, int]) -> Searched:
    """Search with the index and without; what is in the cache is the same for both."""
    exact, truth = _timed(connection, queries, "ORDER BY (embedding <=> %s) + 0")
    connection.execute(f"SET hnsw.ef_search = {EF_SEARCH}".encode())
    connection.execute("SET enable_seqscan = off")
    hnsw, found = _timed(connection, queries, "ORDER BY embedding <=> %s")
    connection.execute("RESET enable_seqscan")
    recall = float(np.mean([len({*a} & {*b}) / K for a, b in zip(truth, found, strict=True)]))
    return Searched(*shape, exact, hnsw, recall)


def _timed(connection: Connection, queries: Array, order: str) -> tuple[float, list[list[int]]]:
    """Return the milliseconds of a search, in batches until a clock of hundredths of a second can tell, and answers."""
    statement = f"SELECT id FROM items WHERE collection_id = 1 {order} LIMIT {K}"  # noqa: S608 -- our own words
    answers = [[row[0] for row in connection.execute(statement.encode(), (query,))] for query in queries]
    before, times = cpu(connection), 0
    while cpu(connection) - before < 1.0:
        for query in queries:
            connection.execute(statement.encode(), (query,)).fetchall()
        times += len(queries)
    return (cpu(connection) - before) * 1000 / times, answers


def lists_for(rows: int) -> int:
    """Return what pgvector's README advises for IVFFlat."""
    return max(1, round(rows / 1000 if rows <= 1_000_000 else rows**0.5))


def measure(connection: Connection, rows: int, dimensions: int) -> Iterator[Built | Searched]:
    """Measure all forms and methods on a table of so many vectors."""
    vectors, queries = draw(rows, dimensions)
    fill(connection, vectors)
    shape = (rows, dimensions)
    for form in KEYS:
        for m, ef_construction in PARAMETERS if (rows, form) == SEVERAL else PARAMETERS[:1]:
            yield build(connection, form, "hnsw", shape, {"m": m, "ef_construction": ef_construction})
        for lists in (lists_for(rows), *(LISTS if (rows, form) == SEVERAL_LISTS else ())):
            yield build(connection, form, "ivfflat", shape, {"lists": lists})
    build(connection, "vector", "hnsw", shape, {"m": 16, "ef_construction": 64})
    yield search(connection, queries, shape)


def measure_large(connection: Connection) -> Iterator[Built | Searched]:
    """Measure on five times the rows of any fitted case."""
    vectors, queries = draw(*LARGE)
    fill(connection, vectors)
    yield build(connection, "binary", "hnsw", LARGE, {"m": 16, "ef_construction": 64})
    yield build(connection, "vector", "ivfflat", LARGE, {"lists": lists_for(LARGE[0])})
    yield build(connection, "vector", "hnsw", LARGE, {"m": 16, "ef_construction": 64})
    yield search(connection, queries, LARGE)


def measure_all(connection: Connection, shapes: Sequence[tuple[int, int]], file: Path) -> None:
    """Measure, print and keep each result."""
    with file.open("w") as out:
        for result in chain(*(measure(connection, *shape) for shape in shapes), measure_large(connection)):
            line = json.dumps({"kind": type(result).__name__, **asdict(result)})
            print(line, flush=True)  # noqa: T201
            out.write(line + "\n")


def fit(columns: Sequence[Sequence[float]], wanted: Sequence[float]) -> tuple[Any, float]:
    """Return the coefficients of least relative squares, and the root of their mean."""
    scaled = np.array(columns) / np.array(wanted)[:, None]
    found = np.linalg.lstsq(scaled, np.ones(len(wanted)), rcond=None)[0]
    return found.round(6), float(np.sqrt(np.mean((scaled @ found - 1) ** 2)))


def fit_grown(rows: Sequence[int], columns: Sequence[Sequence[float]], wanted: Sequence[float]) -> tuple[Any, ...]:
    """Return as :func:`fit` what grows with ln(rows) - start, best start first."""
    starts = np.arange(3, log(min(rows)) - 0.3, 0.1)
    fits = [
        (fit([[x * (log(n) - s) for x in c] for n, c in zip(rows, columns, strict=True)], wanted), s) for s in starts
    ]
    (found, error), start = min(fits, key=lambda each: each[0][1])
    return round(float(start), 1), found, error


def coefficients(results: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield what services/indexes/sizing.py has as constants, fitted to results."""
    fitted = [each for each in results if (each["rows"], each["dimensions"]) not in (HELD_OUT, LARGE)]
    graphs = [
        each for each in fitted
        if each.get("options") == {"m": 16, "ef_construction": 64} and each["rows"] >= ENOUGH
    ]  # fmt: skip
    sizes = [[1.0, *(each["dimensions"] * (each["form"] == form) for form in KEYS)] for each in graphs]
    micros = [each["seconds"] / each["rows"] * 1e6 for each in graphs]
    yield "BUILD_FROM, (BUILD, BUILD_DIMENSION), error", fit_grown([each["rows"] for each in graphs], sizes, micros)
    lists = [
        each for each in fitted if each.get("method") == "ivfflat" and (each["rows"], each["form"]) == SEVERAL_LISTS
    ]
    work = [[each["dimensions"] * 10_000, each["dimensions"] * 30_000 * each["options"]["lists"]] for each in lists]
    yield "SAMPLE, COMPARED, error", fit(work, [each["seconds"] * 1e9 for each in lists])
    searches = [each for each in fitted if each["kind"] == "Searched"]
    large = [each for each in searches if each["rows"] >= ENOUGH]
    scans = [[each["rows"], each["rows"] * each["dimensions"]] for each in large]
    yield "EXACT, EXACT_DIMENSION, error", fit(np.array(scans) / 1e6, [each["exact"] for each in large])
    sizes = [[1.0, each["dimensions"]] for each in searches]
    hnsw = [each["hnsw"] for each in searches]
    yield "HNSW_FROM, (HNSW, HNSW_DIMENSION), error", fit_grown([each["rows"] for each in searches], sizes, hnsw)
    yield (
        "crossover by dimensions",
        {d: crossing([s for s in searches if s["dimensions"] == d]) for d in FITTED_DIMENSIONS},
    )


def crossing(searches: Sequence[dict[str, Any]]) -> int | None:
    """Return at how many rows an exact search begins to take longer, between two that were measured."""
    gaps = [(log(each["rows"]), log(each["exact"] / each["hnsw"])) for each in searches]
    for (rows, gap), (more, wider) in pairwise(gaps):
        if gap <= 0 < wider:
            return round(exp(rows - gap * (more - rows) / (wider - gap)))
    return None


def report(file: Path) -> None:
    """Print the coefficients, and how far off the estimates are where nothing was fitted."""
    results = [json.loads(line) for line in file.read_text().splitlines()]
    for name, found in coefficients(results):
        print(f"{name}: {found}")  # noqa: T201
    for each in results:
        if each["kind"] == "Built" and (each["rows"], each["dimensions"]) in (HELD_OUT, LARGE):
            form, method, options = IndexForm(each["form"]), each["method"], each["options"]
            told = estimate_index(form, method, each["rows"], each["dimensions"], options)
            off = f"{told.seconds / each['seconds'] - 1:+.0%} seconds, {told.bytes / each['size'] - 1:+.1%} bytes"
            print(f"{method} {form} {each['rows']} x {each['dimensions']}: {off}")  # noqa: T201


def main() -> None:
    """Measure everything on a private server."""
    file = Path(sys.argv[1] if sys.argv[1:] else "benchmarks/out/indexes.jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    shapes = [(rows, dimensions) for dimensions in FITTED_DIMENSIONS for rows in FITTED_ROWS]
    own = {"max_parallel_maintenance_workers": "0", "max_parallel_workers_per_gather": "0"}
    with private_folder() as folder, EmbeddedServer(folder / "server", SETTINGS | own) as server:
        url = make_url(server.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
            measure_all(connection, [*shapes, HELD_OUT], file)
    report(file)


if __name__ == "__main__":
    main()
