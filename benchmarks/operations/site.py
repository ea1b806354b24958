"""A server with documents, on which benchmarks/operations/ measures, and what its parts share."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, NullPool, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from benchmarks.data import Row, Vectors, make_rows
from pgcorpus import schema
from pgcorpus.database import create_engine, session_factory
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.embedded.account import server_account
from pgcorpus.embedded.settings import ROLE
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.doctor import examine
from pgcorpus.services.indexes import build_index, wanted_index

ROWS, K = 7_000, 10
ASKED = 50  # queries
# At the default of 160 so few rows are found completely, or compared exactly, and nothing can be told apart.
HASTY = {"ef_search": 40}
COLLECTION, INDEX = "operations", "ix_documents_embedding"
MB = 1024 * 1024
PATIENCE = 60.0


def say(what: str, *figures: object) -> None:
    """Print a measurement."""
    print(f"{what}:", *figures, flush=True)  # noqa: T201


def mb(size: float) -> str:
    """Return a size in words."""
    return f"{size / MB:,.0f} MB" if size < 1_000 * MB else f"{size / MB / 1024:,.1f} GB"


class Site:
    """A server with documents, without a vector index until a part builds one.

    Args:
        server: Running.
        folder: That the server's account can reach.
        data: The vectors.
    """

    def __init__(self, server: EmbeddedServer, folder: Path, data: Vectors) -> None:
        self.server, self.folder, self.data = server, folder, data
        self.engine = create_engine(server.url)
        self.account = server_account(server.data_dir / "pgdata")
        self.socket = Path(str(make_url(server.url).query["host"]))

    def program(self, name: str, *arguments: object, database: str = "pgcorpus") -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as a client would."""
        connection = [f"--host={self.socket}", f"--username={ROLE}"]
        given = [*connection, f"--dbname={database}"] if name != "createdb" else [*connection, database]
        command = [str(self.server.binary(name)), *given, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def database(self, name: str) -> Engine:
        """Make an engine on another database of the server."""
        return create_engine(make_url(self.server.url).set(database=name), poolclass=NullPool)

    def own_folder(self, name: str) -> Path:
        """Make a folder that the server's account owns."""
        path = self.folder / name
        path.mkdir(mode=0o700)
        self.account.give(path)
        return path


def ask(engine: Engine, sql: str) -> Any:
    """Return the one value of a statement outside a transaction."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        result = connection.execute(text(sql))
        return result.scalar() if result.returns_rows else None


@contextmanager
def measured(site: Site, what: str, unit: int = 0) -> Iterator[None]:
    """Say how many seconds and bytes of WAL something took, and of that for each of so many rows."""
    before, start = ask(site.engine, "SELECT pg_current_wal_lsn()"), time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    wal = int(ask(site.engine, f"SELECT pg_current_wal_lsn() - '{before}'::pg_lsn"))
    each = f", {wal / unit / 1024:.1f} KB of WAL and {1000 * seconds / unit:.1f} ms a row" if unit else ""
    say(what, f"{seconds:.1f} s, {mb(wal)} of WAL{each}")


def repository(session: Session) -> DocumentRepository:
    """Return the collection."""
    return DocumentRepository(session, COLLECTION, embedding_model="drawn")


def load(engine: Engine, rows: Iterator[Row]) -> None:
    """Load documents, whatever indexes there are."""
    with session_factory(engine).begin() as session:
        documents = [
            {"key": str(row.number), "content": row.content, "source": row.source, "position": row.position,
             "meta": row.metadata, "embedding": row.vector}
            for row in rows
        ]  # fmt: skip
        repository(session).bulk_load(documents, index="keep")


def answers(engine: Engine, queries: Any, **options: Any) -> list[list[str]]:
    """Return the keys that searches find."""
    with session_factory(engine)() as session:
        documents = repository(session)
        return [[hit.document.key for hit in documents.search(query, K, **options)] for query in queries]


def same(found: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> float:
    """Return the share of the wanted that was found, on average."""
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found, wanted, strict=True)]))


def wait_until(condition: Callable[[], object]) -> float:
    """Return after how many seconds something holds."""
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > PATIENCE:
            raise TimeoutError("it did not come about")
        time.sleep(0.02)
    return time.perf_counter() - start


def codes(engine: Engine) -> list[str]:
    """Return what the doctor finds."""
    return [finding.code for finding in examine(engine)]


def size(engine: Engine, name: str) -> int:
    """Return the bytes of a table or an index, with what belongs to it."""
    return int(ask(engine, f"SELECT pg_total_relation_size('pgcorpus.{name}')"))


def require_index(site: Site) -> None:
    """Have the index that searches go by."""
    build_index(site.engine, wanted_index())
    ask(site.engine, "VACUUM ANALYZE pgcorpus.documents")


def prepared(server: EmbeddedServer, folder: Path, data: Vectors) -> Site:
    """Load the documents, without a vector index."""
    site = Site(server, folder, data)
    schema.upgrade(site.engine)
    ask(site.engine, f"DROP INDEX pgcorpus.{INDEX}")
    with measured(site, f"load {ROWS:,} rows without a vector index", ROWS):
        load(site.engine, make_rows(data.rows))
    ask(site.engine, "VACUUM ANALYZE pgcorpus.documents")
    return site
