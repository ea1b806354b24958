"""The figures of a database are those that are in it, read without writing anything."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, MetaData, Table, text
from sqlalchemy.engine import URL, make_url

from pgcorpus import schema
from pgcorpus.cli.stats import stats
from pgcorpus.database import create_async_engine, create_engine, session_factory
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.errors import ConfigError, SchemaError
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.repositories.embedding_cache import EmbeddingCache
from pgcorpus.services.statistics import CollectionFigures, counting, read_statistics, read_statistics_async
from pgcorpus.services.statistics.catalog import read_statements
from pgcorpus.services.statistics.counting import split
from tests.conftest import DRIVER

CONTENTS = ["one", "zwölf", "three"]  # 3, 6 and 5 bytes
INDEX = (
    "CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops) "
    "WITH (m='16', ef_construction='64')"
)
NEAREST = text("""
    SELECT id FROM pgcorpus.documents
    ORDER BY embedding <=> (SELECT embedding FROM pgcorpus.documents WHERE content = 'one') LIMIT 2
""")


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Two collections of two tenants, one waiting document, and two embeddings kept."""
    with session_factory(engine).begin() as session:
        handbook = DocumentRepository(session, "handbook", "acme", embedding_model="m")
        drafts = [
            {"content": c, "source": f"s{i % 2}", "embedding": v}
            for i, (c, v) in enumerate(zip(CONTENTS, np.eye(3, 1536), strict=True))
        ]
        handbook.add_many([*drafts, {"content": "waits"}])
        DocumentRepository(session, "notes").ensure_collection()
        EmbeddingCache(session).store("m", {bytes([i]) * 32: np.ones(4, np.float32) for i in range(2)})
    return engine


def handbook_of(engine: Engine, **options: Any) -> CollectionFigures:
    (found,) = read_statistics(engine, "handbook", **options).collections
    return found


def test_a_collection_has_what_was_put_into_it(filled: Engine) -> None:
    found = handbook_of(filled)
    assert (found.tenant, found.embedding_model, found.distance, found.shadow_of) == ("acme", "m", "cosine", None)
    assert (found.documents, found.embedded, found.sources, found.content_bytes) == (4, 3, 2, 3 + 6 + 5 + 5)
    assert found.estimated is False
    with filled.connect() as connection:
        assert found.changed_at == connection.scalar(text("SELECT max(updated_at) FROM pgcorpus.documents"))


def test_collections_are_chosen_by_name_and_tenant_and_an_empty_one_has_nothing(filled: Engine) -> None:
    everything = read_statistics(filled).collections
    assert [(each.tenant, each.name) for each in everything] == [("acme", "handbook"), ("default", "notes")]
    assert [each.name for each in read_statistics(filled, tenant="default").collections] == ["notes"]
    notes = everything[1]
    assert (notes.documents, notes.embedded, notes.sources, notes.content_bytes, notes.changed_at) == (0, 0, 0, 0, None)
    assert read_statistics(filled, "nobody's").collections == ()


def test_an_empty_database_has_statistics_too(engine: Engine) -> None:
    found = read_statistics(engine)
    assert (found.collections, found.cache) == ((), ())
    assert [each.name for each in found.indexes] == ["pgcorpus.ix_documents_embedding"]


def test_the_last_calibration_is_told_with_the_recall_of_a_search_that_asks_for_nothing(filled: Engine) -> None:
    id_ = handbook_of(filled).id
    point = {"p50_ms": 1.0, "p95_ms": 2.0, "scanned": 100.0}
    points: Any = [
        {"ef_search": 160, "recall": 0.5, "filter": {"source": "s1"}, **point},
        {"ef_search": 160, "recall": 0.6, "form": "halfvec", **point},
        {"ef_search": 40, "recall": 0.8, **point},
        {"ef_search": 160, "recall": 0.97, **point},
    ]
    with session_factory(filled).begin() as session:
        save = Calibrations(session).save
        save(id_, points[:1], index_definition=INDEX, documents=4, k=10)
        save(id_, points, index_definition=INDEX, documents=4, k=10)
    found = handbook_of(filled).calibration
    assert found is not None
    assert (found.documents, found.k, found.recall, found.stale) == (4, 10, 0.97, None)
    with session_factory(filled).begin() as session:
        Calibrations(session).save(id_, points[:3], index_definition=INDEX, documents=1, k=10)
    found = handbook_of(filled).calibration
    assert found is not None
    assert (found.recall, found.stale is None) == (None, False)


def test_an_index_tells_its_size_and_every_scan_of_it(filled: Engine) -> None:
    (before,) = read_statistics(filled).indexes
    assert (before.method, before.form, before.metric, before.valid) == ("hnsw", "vector", "cosine", True)
    assert before.bytes > 8192
    with session_factory(filled)() as session:
        for setting in ("enable_seqscan", "enable_sort"):
            session.execute(text(f"SET LOCAL {setting} = off"))
        session.execute(NEAREST).all()
        session.commit()
        session.execute(text("SELECT pg_stat_force_next_flush()"))
        session.commit()
    (after,) = read_statistics(filled).indexes
    assert after.scans == before.scans + 1
    assert after.hit_ratio is not None
    assert 0 <= after.hit_ratio <= 1


def test_a_table_tells_its_sizes_and_what_was_done_for_it(filled: Engine) -> None:
    documents = read_statistics(filled).tables[0]
    assert documents.name == "pgcorpus.documents"
    assert (documents.rows, documents.vacuumed_at, documents.analyzed_at) == (None, None, None)
    with filled.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM (ANALYZE) pgcorpus.documents"))
        sizes = connection.execute(
            text("SELECT pg_table_size('pgcorpus.documents'), pg_indexes_size('pgcorpus.documents')")
        ).one()
    after = read_statistics(filled).tables
    assert after[0].rows == 4
    assert after[0].vacuumed_at is not None
    assert after[0].analyzed_at is not None
    assert after[0].index_bytes == sizes[1]
    assert 0 < after[0].heap_bytes + after[0].toast_bytes <= sizes[0]
    assert {"pgcorpus.collections", "pgcorpus.embedding_cache", "pgcorpus.calibrations"} < {each.name for each in after}


def test_the_cache_tells_what_is_kept_of_each_model(filled: Engine) -> None:
    (found,) = read_statistics(filled).cache
    assert (found.model, found.entries, found.bytes, found.estimated) == ("m", 2, 2 * 4 * 4, False)


def test_the_server_tells_its_version_and_memory(filled: Engine) -> None:
    server = read_statistics(filled).server
    with filled.connect() as connection:
        for name in ("shared_buffers", "maintenance_work_mem", "work_mem", "effective_cache_size"):
            assert server.settings[name] == connection.scalar(text(f"SHOW {name}"))
        assert server.pgvector == connection.scalar(
            text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        )
    assert server.settings["hnsw.ef_search"] == "160"
    assert server.version.split(".")[0].isdigit()
    assert server.standby is False


# Estimates


def test_the_smallest_collections_are_counted_and_the_others_estimated() -> None:
    assert split([1, 2, 3, 4], {1: 900, 2: 10, 3: 50, 4: 30}, 100) == ([2, 4, 3], [1])
    assert split([2, 1], {}, 0) == ([1, 2], [])


def test_a_large_collection_is_estimated_unless_it_is_to_be_counted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "COUNTED_ROWS", 50)
    monkeypatch.setattr(split, "__defaults__", (50,))
    with session_factory(engine).begin() as session:
        vector = np.eye(1, 1536)[0]
        for name, number in (("handbook", 400), ("small", 20)):
            documents = [
                {"content": "x" * 10, "source": f"s{i}", "embedding": vector if i % 4 else None} for i in range(number)
            ]
            DocumentRepository(session, name).bulk_load(documents)
        EmbeddingCache(session).store("m", {bytes([i]) * 32: vector for i in range(100)})
    with engine.begin() as connection:
        connection.execute(text("ANALYZE pgcorpus.documents, pgcorpus.embedding_cache"))
    found = {each.name: each for each in read_statistics(engine).collections}
    assert (found["small"].estimated, found["small"].documents, found["small"].sources) == (False, 20, 20)
    large = found["handbook"]
    assert (large.estimated, large.sources, large.changed_at) == (True, None, None)
    assert large.documents == pytest.approx(400, rel=0.05)
    assert large.embedded == pytest.approx(300, rel=0.1)
    assert large.content_bytes == pytest.approx(4000, rel=0.05)
    counted = handbook_of(engine, exact=True)
    assert (counted.estimated, counted.documents, counted.embedded, counted.sources) == (False, 400, 300, 400)
    (cache,) = read_statistics(engine).cache
    assert (cache.estimated, cache.model) == (True, "m")
    assert (cache.entries, cache.bytes) == pytest.approx((100, 614_400), rel=0.05)
    assert read_statistics(engine, exact=True).cache[0].estimated is False


# Where it is read


def test_in_the_callers_transaction_it_sees_what_that_wrote_and_leaves_it_open(filled: Engine) -> None:
    with session_factory(filled)() as session:
        DocumentRepository(session, "handbook", "acme").add({"content": "new"})
        assert read_statistics(session, "handbook").collections[0].documents == 5
        assert read_statistics(session.connection(), "handbook").collections[0].documents == 5
        session.rollback()
    assert handbook_of(filled).documents == 4


def test_a_transaction_that_may_not_write_is_enough(filled: Engine) -> None:
    with filled.connect() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        assert len(read_statistics(connection, exact=True).collections) == 2
        assert connection.scalar(text("SELECT pg_current_xact_id_if_assigned()")) is None


@pytest.mark.skipif(DRIVER == "psycopg2", reason="psycopg2 is not async")
def test_awaited_it_is_the_same(filled: Engine) -> None:
    async def read() -> Any:
        engine = create_async_engine(filled.url)
        try:
            return await read_statistics_async(engine, "handbook")
        finally:
            await engine.dispose()

    assert asyncio.run(read()).collections == read_statistics(filled, "handbook").collections


def test_what_is_no_bind_of_its_kind_is_refused(filled: Engine) -> None:
    with pytest.raises(ConfigError, match="give an Engine"):
        read_statistics("postgresql://")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give an AsyncEngine"):
        asyncio.run(read_statistics_async(filled))  # type: ignore[arg-type]


def test_a_database_without_our_tables_is_told_what_to_do(empty_engine: Engine) -> None:
    with pytest.raises(SchemaError, match="migrate upgrade"):
        read_statistics(empty_engine)


# Statements


@pytest.fixture(scope="module")
def counting_url(reachable_directory: Path) -> Iterator[URL]:
    """A server that was started with the library of pg_stat_statements."""
    with EmbeddedServer(reachable_directory / "counting", {"shared_preload_libraries": "pg_stat_statements"}) as server:
        yield make_url(server.url).set(drivername=f"postgresql+{DRIVER}")


def test_statements_on_the_documents_are_told_where_the_server_counts_them(counting_url: URL) -> None:
    engine = create_engine(counting_url)
    try:
        schema.upgrade(engine)
        with engine.begin() as connection:
            connection.execute(text('CREATE SCHEMA "Odd place"'))
            connection.execute(text('CREATE EXTENSION pg_stat_statements SCHEMA "Odd place"'))
        with engine.connect() as connection:
            for number in range(3):
                connection.execute(text("SELECT count(*)  FROM pgcorpus.documents WHERE id > :n"), {"n": number}).all()
        with engine.connect() as connection:
            found = {each.text: each for each in read_statistics(connection).statements or ()}
            assert connection.scalar(text("SELECT 1")) == 1
        with engine.begin() as connection:
            connection.execute(text('CREATE TABLE "Odd place"."Odd documents" AS SELECT 1 AS n'))
            odd: Any = type("Odd", (), {"__table__": Table("Odd documents", MetaData(), schema="Odd place")})
            assert read_statements(connection, odd)
    finally:
        engine.dispose()
    ours = next(
        each for words, each in found.items() if words.startswith("SELECT count(*) FROM pgcorpus.documents WHERE")
    )
    assert (ours.calls, ours.rows) == (3, 3)
    assert ours.total_ms >= ours.max_ms >= ours.mean_ms > 0


def test_without_the_extension_or_its_library_there_are_no_statements(filled: Engine) -> None:
    assert read_statistics(filled).statements is None
    with filled.begin() as connection:
        connection.execute(text("CREATE EXTENSION pg_stat_statements"))
    with filled.connect() as connection:
        connection.execute(text("CREATE TEMPORARY TABLE mine (n int)"))
        assert read_statistics(connection).statements is None
        assert connection.scalar(text("SELECT count(*) FROM mine")) == 0


# The command

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(filled: Engine) -> Run:
    """Run the command on the database of the test."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        url = filled.url.render_as_string(hide_password=False)
        done = CliRunner().invoke(stats, ["--database-url", url, *arguments], catch_exceptions=False)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


def test_people_read_tables(run: Run) -> None:
    done = run()
    assert done.returncode == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    titles = ["collections", "vector indexes", "tables", "embedding cache", "server"]
    assert [line for line in lines if line in titles] == titles
    assert any(line.startswith("acme handbook 4 3 2 19 bytes ") and line.endswith(" never") for line in lines)
    assert any(line.startswith("pgcorpus.ix_documents_embedding hnsw vector cosine ") for line in lines)
    assert "m 2 32 bytes" in lines
    assert "pg_stat_statements" in done.stderr


def test_programs_read_the_same_figures(run: Run, filled: Engine) -> None:
    answer = json.loads(run("--json", "--collection", "handbook", "--tenant", "acme").stdout)
    assert [(each["name"], each["documents"]) for each in answer["collections"]] == [("handbook", 4)]
    assert set(answer) == {"server", "collections", "tables", "indexes", "cache", "statements"}
    assert answer["statements"] is None


def test_a_name_that_steers_a_terminal_is_printed_without_that(run: Run, filled: Engine) -> None:
    with session_factory(filled).begin() as session:
        DocumentRepository(session, "evil\x1b[2J").ensure_collection()
    assert "\x1b" not in run().stdout
