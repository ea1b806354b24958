"""Tables of our own models for what no peer takes part in: any dimensions, any index, searched by our repository."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import BigInteger, Engine, Text, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, REGCLASS
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from benchmarks.curves import Answers, compare
from benchmarks.data import Array, Row
from benchmarks.noise import shuffled
from benchmarks.server import Server
from benchmarks.terms import EF_CONSTRUCTION, K, M
from pgcorpus.database import autocommit, create_engine, session_factory
from pgcorpus.indexing import IndexForm
from pgcorpus.models import vector_column
from pgcorpus.repositories import VectorRepository
from pgcorpus.repositories.indexes import forget_indexes

Search = Callable[[Array], Sequence[int]]

# What an index of each form holds (pgvector README, "Half-Precision Indexing" and "Binary Quantization").
ELEMENTS = {
    IndexForm.VECTOR: "(embedding vector_cosine_ops)",
    IndexForm.HALFVEC: "((embedding::halfvec({dimensions})) halfvec_cosine_ops)",
    IndexForm.BINARY: "((binary_quantize(embedding)::bit({dimensions})) bit_hamming_ops)",
}


class Built(NamedTuple):
    """A built index.

    Attributes:
        seconds: To build.
        bytes: Its size.
        notice: What the server said of it, where its graph did not fit into the memory.
    """

    seconds: float
    bytes: int
    notice: str | None


def passages(name: str, dimensions: int) -> Any:
    """Make a model of passages with metadata and a vector in the row.

    Args:
        name: Of the table.
        dimensions: Of its vectors.
    """
    columns = {
        "id": mapped_column(BigInteger, primary_key=True, autoincrement=False),
        "content": mapped_column(Text, nullable=False),
        "meta": mapped_column("metadata", JSONB, nullable=False),
        "embedding": vector_column(dimensions),
    }
    # A base of its own: a run makes tables of one name on several servers.
    base = type("Base", (DeclarativeBase,), {})
    return type("Passage", (base,), {"__tablename__": name, **columns})


class Searches:
    """Searches of one table on a session that is held.

    Args:
        session: In AUTOCOMMIT.
        repository: Of the table.
        index: The name of its vector index.
    """

    def __init__(self, session: Session, repository: Any, index: str) -> None:
        self._session, self._repository, self._index = session, repository, index

    def make(self, **options: Any) -> Search:
        """Return a search by its options, which gives the numbers of the rows found."""
        return lambda query: [hit.document.id for hit in self._repository.search(query, K, **options)]

    def asks_index(self, search: Search, queries: Array) -> bool:
        """Return whether the server answers searches by the vector index, as it counts its scans.

        Args:
            search: One that has run a few times, so that its plan is settled.
            queries: Shape (queries, dimensions).
        """
        before = self._scans()
        for query in queries:
            search(query)
        return self._scans() - before >= len(queries)

    def _scans(self) -> int:
        self._session.execute(select(func.pg_stat_force_next_flush()))
        count = select(func.pg_stat_get_numscans(cast(self._index, REGCLASS)))
        return int(self._session.scalar(count) or 0)


class Own:
    """A table of our own, and what is done with it.

    Args:
        server: Where.
        database: In which database, which has pgvector.
        name: Of the table.
        dimensions: Of its vectors.
    """

    def __init__(self, server: Server, database: str, name: str, dimensions: int) -> None:
        self.server, self.database, self.name, self.dimensions = server, database, name, dimensions
        self.model = passages(name, dimensions)
        self.engine: Engine = create_engine(server.target(database).url("psycopg"))
        self.model.metadata.create_all(self.engine)

    def load(self, rows: Iterable[Row], expected: int) -> float:
        """Load rows by ``bulk_load``, gather statistics, and return the seconds of the load up to its commit.

        Args:
            rows: Taken one by one.
            expected: How many there will be.
        """
        start = time.perf_counter()
        with session_factory(self.engine).begin() as session:
            repository = VectorRepository(session, self.model)
            repository.bulk_load(map(_values, rows), index="keep", expected=expected)
        seconds = time.perf_counter() - start
        with self.server.connection(self.database) as connection:
            connection.execute(SQL("VACUUM ANALYZE {}").format(Identifier(self.name)))
        return seconds

    def build(self, method: str, form: IndexForm, lists: int | None = None, memory: int | None = None) -> Built:
        """Build the one vector index of the table, in place of the one before.

        Args:
            method: ``hnsw`` or ``ivfflat``.
            form: What it keeps.
            lists: Of IVFFlat.
            memory: Megabytes of ``maintenance_work_mem``; the server's by default.
        """
        options = SQL("m = {}, ef_construction = {}").format(M, EF_CONSTRUCTION) if lists is None else None
        name, table = Identifier(f"{self.name}_index"), Identifier(self.name)
        element = SQL(ELEMENTS[form].format(dimensions=self.dimensions))
        create = SQL("CREATE INDEX {} ON {} USING {} {} WITH ({})").format(
            name, table, SQL(method), element, options or SQL("lists = {}").format(lists)
        )
        with self.server.connection(self.database) as connection:
            connection.execute(SQL("DROP INDEX IF EXISTS {}").format(name))
            if memory is not None:
                connection.execute(SQL("SET maintenance_work_mem = {}").format(f"{memory}MB"))
            built = _build(connection, create, name.as_string(None))
        with self.engine.connect() as connected:
            forget_indexes(connected)
        return built

    @contextmanager
    def searches(self) -> Iterator[Searches]:
        """Hold a session for searches."""
        with session_factory(autocommit(self.engine))() as session:
            yield Searches(session, VectorRepository(session, self.model), f"{self.name}_index")

    def bytes_of(self, function: str) -> int:
        """Return the table's size by one of PostgreSQL's functions, ``pg_table_size`` or ``pg_indexes_size``."""
        with self.server.connection(self.database) as connection:
            row = connection.execute(SQL("SELECT {}({})").format(SQL(function), self.name)).fetchone()
        return int(row[0]) if row else 0

    def drop(self) -> None:
        """Drop the table and close the connections."""
        self.engine.dispose()
        with self.server.connection(self.database) as connection:
            connection.execute(SQL("DROP TABLE {}").format(Identifier(self.name)))


def ask_in_rounds(
    searches: dict[str, Search], queries: Array, truth: Sequence[Sequence[int]], rounds: int
) -> dict[str, list[Answers]]:
    """Put other queries to all searches in each round, in a new order.

    Args:
        searches: By name.
        queries: Shape (queries, dimensions); each is asked once of each search.
        truth: Of each query the nearest rows.
        rounds: Into how many the queries are divided.
    """
    found: dict[str, list[Answers]] = {name: [] for name in searches}
    for search in searches.values():
        _timed(search, queries[:3])
    count = len(queries) // rounds
    for number in range(rounds):
        part = slice(number * count, (number + 1) * count)
        for name in shuffled(list(searches), number):
            numbers, seconds = _timed(searches[name], queries[part])
            found[name].append(compare(numbers, truth[part], seconds))
    return found


def _timed(search: Search, queries: Array) -> tuple[list[Sequence[int]], list[float]]:
    numbers, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        numbers.append(search(query))
        seconds.append(time.perf_counter() - start)
    return numbers, seconds


def _build(connection: psycopg.Connection[Any], create: Composed, name: str) -> Built:
    notices: list[str] = []
    connection.add_notice_handler(lambda each: notices.append(each.message_primary or ""))
    start = time.perf_counter()
    connection.execute(create)
    seconds = time.perf_counter() - start
    row = connection.execute("SELECT pg_relation_size(%s)", [name]).fetchone()
    return Built(seconds, int(row[0]) if row else 0, next((each for each in notices if "no longer fits" in each), None))


def _values(row: Row) -> dict[str, Any]:
    return {"id": row.number, "content": row.content, "meta": row.metadata, "embedding": row.vector}
