"""The private PostgreSQL of a run: one database a set, in each our table and the peers' own, and one for writing."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy.engine import make_url

from benchmarks.target import Target
from benchmarks.terms import COLLECTION, DEFAULTS_ROLE, EF_CONSTRUCTION, OWN_ROLE, PEER_ROLE, M
from pgcorpus import schema
from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer

# The indexes of all peers and sets fit, so that no search pays for what another evicted; a build fits into its
# memory; and neither vacuum nor checkpoints come in between. Costs and durability are the server's defaults.
SETTINGS = {
    "shared_buffers": "2GB",
    "maintenance_work_mem": "512MB",
    "max_parallel_maintenance_workers": str(min(os.cpu_count() or 1, 4)),
    "autovacuum": "off",
    "max_connections": "300",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
}
OWN_INDEX = "pgcorpus.ix_documents_embedding"
OWN_TABLE = "pgcorpus.documents"
PINGS = 200

SCANS = """
    SELECT seq_scan, coalesce((
        SELECT sum(s.idx_scan) FROM pg_stat_user_indexes s
        JOIN pg_class c ON c.oid = s.indexrelid JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw'
        WHERE s.relid = t.relid
    ), 0)
    FROM pg_stat_user_tables t WHERE relid = %s::regclass
"""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        host: Folder of its socket.
        port: Its port.
        ef_search: ``hnsw.ef_search`` for all.
    """

    host: Path
    port: int
    ef_search: int

    def target(self, database: str, user: str = OWN_ROLE, host: Path | None = None) -> Target:
        """Say where to connect.

        Args:
            database: The database.
            user: The role.
            host: Another folder, of a proxy's socket.
        """
        return Target(str(host or self.host), self.port, database, user, self.ef_search)

    @contextmanager
    def connection(self, database: str) -> Iterator[psycopg.Connection[Any]]:
        """Connect in autocommit."""
        with psycopg.connect(
            host=str(self.host), port=self.port, dbname=database, user=OWN_ROLE, autocommit=True
        ) as connection:
            yield connection

    def add_roles(self) -> None:
        """Make the roles of the peers with tables of their own."""
        with self.connection("pgcorpus") as connection:
            for role in map(Identifier, (PEER_ROLE, DEFAULTS_ROLE)):
                connection.execute(SQL("CREATE ROLE {} SUPERUSER LOGIN").format(role))
                connection.execute(SQL("ALTER ROLE {} SET hnsw.ef_search = {}").format(role, self.ef_search))
            connection.execute(SQL("ALTER ROLE {} SET enable_seqscan = off").format(Identifier(PEER_ROLE)))

    def add_database(self, name: str) -> None:
        """Make a database with our schema, without the vector index, and one empty collection."""
        with self.connection("pgcorpus") as connection:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        engine = create_engine(self.target(name).url("psycopg"))
        schema.upgrade(engine)
        engine.dispose()
        with self.connection(name) as connection:
            connection.execute("INSERT INTO pgcorpus.collections (name) VALUES (%s)", [COLLECTION])
            connection.execute(SQL("DROP INDEX {}").format(_name(OWN_INDEX)))

    def fill(self, database: str, table: str, statement: str, parameters: Sequence[Any]) -> bool:
        """Fill a peer's table from ours; return False where another peer has."""
        with self.connection(database) as connection:
            if connection.execute(SQL("SELECT FROM {} LIMIT 1").format(_name(table))).fetchone() is not None:
                return False
            connection.execute(statement.encode(), parameters or None)
        return True

    def build_index(self, database: str, table: str) -> None:
        """Build the vector index of a table, the same for all, and gather the planner's statistics."""
        options = SQL("m = {}, ef_construction = {}").format(M, EF_CONSTRUCTION)
        name = SQL("ix_documents_embedding" if table == OWN_TABLE else "")
        with self.connection(database) as connection:
            connection.execute(
                SQL("CREATE INDEX {} ON {} USING hnsw (embedding vector_cosine_ops) WITH ({})").format(
                    name, _name(table), options
                )
            )
            connection.execute(SQL("VACUUM ANALYZE {}").format(_name(table)))
            connection.execute("SELECT pg_stat_reset()")

    def truncate(self, database: str, table: str) -> None:
        """Empty a table."""
        with self.connection(database) as connection:
            connection.execute(SQL("TRUNCATE {}").format(_name(table)))

    def scans(self, database: str, table: str) -> tuple[int, int]:
        """Return how often a table was scanned in full, and how often by its HNSW index, as ended sessions tell."""
        with self.connection(database) as connection:
            row = connection.execute(SCANS, [table]).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def round_trip(self, host: Path | None = None) -> float:
        """Return the seconds that ``SELECT 1`` takes, at the median.

        Args:
            host: Another folder, of a proxy's socket.
        """
        seconds = []
        with psycopg.connect(
            host=str(host or self.host), port=self.port, dbname="easy", user=OWN_ROLE, autocommit=True
        ) as connection:
            for _ in range(PINGS):
                start = time.perf_counter()
                connection.execute("SELECT 1").fetchall()
                seconds.append(time.perf_counter() - start)
        return median(seconds)

    def description(self) -> str:
        """Return the versions of PostgreSQL and pgvector."""
        with self.connection("easy") as connection:
            row = connection.execute(
                "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
            ).fetchone()
        return "PostgreSQL {}, pgvector {}".format(*row) if row else "unknown"


@contextmanager
def private_server(folder: Path, ef_search: int, settings: Mapping[str, str] = SETTINGS) -> Iterator[Server]:
    """Start a server, stopped in the end.

    Args:
        folder: For its data.
        ef_search: ``hnsw.ef_search`` for all.
        settings: Of the server.
    """
    with EmbeddedServer(folder / "server", settings) as running:
        query = make_url(running.url).query
        server = Server(Path(str(query["host"])), int(str(query["port"])), ef_search)
        server.add_roles()
        yield server


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder that the server's account can reach also when root runs this; deleted in the end."""
    folder = Path(tempfile.mkdtemp(prefix="pgcorpus-bench-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name(name: str) -> Identifier:
    return Identifier(*name.split("."))
