"""Documents to index, and what the tests of the index commands look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from sqlalchemy import Connection, Engine, text

from pgcorpus.database import session_factory
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.vectors import Array

VALID = """
    SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_am a ON a.oid = c.relam AND a.amname IN ('hnsw', 'ivfflat')
    WHERE i.indrelid = to_regclass(:table) ORDER BY 1
"""
WAITING = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
    AND query LIKE :query
"""
CREATING, DROPPING = "CREATE INDEX CONCURRENTLY%", "DROP INDEX CONCURRENTLY%"


def vectors(rows: int, seed: int = 0, dimensions: int = 1536) -> Array:
    """Vectors about ten directions, such that nearest neighbours are near."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((10, dimensions))
    made = centres[random.integers(0, 10, rows)] + 0.7 * random.standard_normal((rows, dimensions))
    found: Array = made.astype(np.float32)
    return found


def fill(engine: Engine, **collections: int) -> None:
    """Store collections with so many documents each."""
    with session_factory(engine).begin() as session:
        for name, rows in collections.items():
            drafts = [Draft(f"{n}", f"{name} {n}", embedding=row) for n, row in enumerate(vectors(rows, len(name)))]
            DocumentRepository(session, name).bulk_load(drafts, index="keep")
    run(engine, "ANALYZE pgcorpus.documents")


def run(engine: Engine, *statements: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def value(engine: Engine, sql: str, **parameters: object) -> object:
    with engine.connect() as connection:
        return connection.scalar(text(sql), parameters)


def indexes(engine: Engine, table: str = Document.__table__.fullname) -> dict[str, bool]:
    """Return the vector indexes of a table and whether they are valid."""
    with engine.connect() as connection:
        return {row.relname: row.indisvalid for row in connection.execute(text(VALID), {"table": table})}


def oid(engine: Engine, name: str) -> object:
    return value(engine, "SELECT CAST(to_regclass(:name) AS oid)::bigint", name=f"pgcorpus.{name}")


def invalidate(engine: Engine, name: str) -> None:
    run(engine, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pgcorpus.{name}'::regclass")


def is_waiting(engine: Engine, query: str = CREATING) -> bool:
    return bool(value(engine, WAITING, query=query))


@contextmanager
def writing(engine: Engine, table: str = Document.__table__.fullname) -> Iterator[Connection]:
    """A transaction that has written to the table, for which every concurrent build waits."""
    with engine.connect() as connection:
        connection.exec_driver_sql(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        yield connection
        connection.rollback()
