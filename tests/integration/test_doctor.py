"""Each sickness is planted in a real database, found, and cured by exactly what the finding prints."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, NullPool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from pgcorpus import schema
from pgcorpus.database import create_engine, session_factory
from pgcorpus.models import Document, Metric
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.services.doctor import Severity, examine
from tests.support.hosts import AlembicHost
from tests.support.sickness import Mend, by_command, by_sql, found, impatient, only, run, scalar, sql_in
from tests.support.vectors import unit
from tests.support.waiting import wait_until

INDEX = "pgcorpus.ix_documents_embedding"


def fill(engine: Engine, name: str = "wiki", metric: Metric = Metric.COSINE, *, documents: int = 3) -> None:
    """Store documents in a collection, with the embeddings of a model."""
    with session_factory(engine)() as session:
        repository = DocumentRepository(session, name, metric=metric, embedding_model="m")
        repository.add_many([Document(key=f"k{n}", content=f"text {n}", embedding=unit(n)) for n in range(documents)])
        session.commit()


# Health


def test_of_a_healthy_database_nothing_is_said_empty_or_not(engine: Engine) -> None:
    assert examine(engine) == []
    fill(engine)
    assert examine(engine) == []


def test_an_extension_off_the_search_path_is_fine_and_the_sql_printed_finds_it(empty_engine: Engine) -> None:
    run(empty_engine, "CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions")
    schema.upgrade(empty_engine)
    fresh = create_engine(empty_engine.url)
    assert examine(fresh) == []
    run(fresh, f"DROP INDEX {INDEX}")
    by_sql(fresh, found(fresh, "index-missing", Severity.WARNING))
    assert examine(fresh) == []
    fresh.dispose()


# The server


def test_a_server_that_does_not_answer_is_a_finding(engine: Engine, tmp_path: Path) -> None:
    nowhere = create_engine(engine.url.update_query_dict({"host": str(tmp_path)}))
    finding = found(nowhere, "server-unreachable", Severity.ERROR)
    assert str(tmp_path) in finding.evidence
    assert "name the right one" in finding.remedy
    assert examine(engine) == []


def test_a_server_that_ends_the_connection_is_a_finding(engine: Engine) -> None:
    with engine.connect() as connection, engine.connect() as killer:
        process = connection.scalar(text("SELECT pg_backend_pid()"))
        killer.execute(text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
        assert [finding.code for finding in examine(connection)] == ["server-unreachable"]
        connection.invalidate()
    assert examine(engine) == []


def test_a_pool_without_a_free_connection_is_a_finding(url: URL) -> None:
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with engine.connect():
        found(engine, "pool-exhausted", Severity.ERROR)
    assert examine(engine) == []
    engine.dispose()


# The extension


def test_a_missing_extension(empty_engine: Engine) -> None:
    extension, tables = examine(empty_engine)
    assert (extension.code, extension.severity) == ("extension-missing", Severity.ERROR)
    assert "the server could create" in extension.evidence
    by_sql(empty_engine, extension)
    assert examine(empty_engine) == [tables]


# What 0.8.0 added (pgvector, sql/vector--0.7.4--0.8.0.sql): without it the database is as 0.7.4 left it.
ADDED = [f"array_to_sparsevec({type_}[], integer, boolean)" for type_ in ("integer", "real", "float8", "numeric")]


def test_an_extension_that_is_too_old(engine: Engine) -> None:
    run(engine, *(f"ALTER EXTENSION vector DROP FUNCTION {function}" for function in ADDED))
    run(
        engine,
        *(f"ALTER EXTENSION vector DROP CAST ({f.partition('(')[2].partition(',')[0]} AS sparsevec)" for f in ADDED),
    )
    run(engine, *(f"DROP FUNCTION {function} CASCADE" for function in ADDED))
    run(engine, "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    by_sql(engine, found(engine, "extension-old", Severity.ERROR))
    assert examine(engine) == []


def test_an_extension_with_known_defects(engine: Engine) -> None:
    run(engine, "UPDATE pg_extension SET extversion = '0.8.1' WHERE extname = 'vector'")
    finding = found(engine, "extension-defects", Severity.WARNING)
    assert "CVE-2026-3172" in finding.consequence
    by_sql(engine, finding)
    assert examine(engine) == []


# The schema


def test_missing_tables(empty_engine: Engine) -> None:
    run(empty_engine, "CREATE EXTENSION vector")
    by_command(empty_engine, found(empty_engine, "schema-missing", Severity.ERROR))
    assert examine(empty_engine) == []


def test_a_migration_that_is_due(engine: Engine) -> None:
    schema.downgrade(engine, "pgcorpus_0004")
    finding = found(engine, "schema-behind", Severity.ERROR)
    assert "pgcorpus_0005, pgcorpus_0006" in finding.summary
    assert finding.revisions == f"pgcorpus_0004:{schema.head()}"
    by_command(engine, finding)
    assert examine(engine) == []


def test_a_schema_that_is_ahead_of_the_code(engine: Engine) -> None:
    run(engine, "UPDATE pgcorpus.alembic_version SET version_num = 'pgcorpus_9999'")
    finding = found(engine, "schema-ahead", Severity.ERROR)
    assert "pgcorpus_9999" in finding.evidence
    assert "or downgrade the database" in finding.remedy
    run(engine, f"UPDATE pgcorpus.alembic_version SET version_num = '{schema.head()}'")
    assert examine(engine) == []


def test_a_schema_in_the_history_of_a_host(tmp_path: Path, empty_engine: Engine) -> None:
    """Our version table is not there; the tables are compared with the models."""
    host = AlembicHost.create(tmp_path / "host", empty_engine.url)
    ini = re.sub(r"(?m)^(version_)?path_separator =.*\n", "", host.ini.read_text())
    locations = "version_locations = pgcorpus:migrations/versions\npath_separator = newline\n"
    host.ini.write_text(ini.replace("prepend_sys_path", f"{locations}prepend_sys_path", 1))
    host.alembic("upgrade", "pgcorpus_0005")
    finding = found(empty_engine, "schema-behind-in-host", Severity.ERROR)
    assert "pgcorpus.calibrations" in finding.evidence
    assert finding.command
    host.alembic(*finding.command.split()[1:])
    assert examine(empty_engine) == []


def test_embeddings_that_went_with_the_extension(engine: Engine) -> None:
    run(engine, "DROP EXTENSION vector CASCADE")
    extension, embeddings = examine(engine)
    assert (extension.code, embeddings.code) == ("extension-missing", "embeddings-missing")
    by_sql(engine, extension)
    by_sql(engine, found(engine, "embeddings-missing", Severity.ERROR))
    by_command(engine, found(engine, "index-missing", Severity.WARNING))
    fresh = create_engine(engine.url)
    assert examine(fresh) == []
    schema.check(fresh)
    fresh.dispose()


def test_a_column_that_somebody_dropped(engine: Engine) -> None:
    run(engine, "ALTER TABLE pgcorpus.documents RENAME content_hash TO hash")
    finding = found(engine, "columns-missing", Severity.ERROR)
    assert "pgcorpus.documents: content_hash" in finding.evidence
    run(engine, "ALTER TABLE pgcorpus.documents RENAME hash TO content_hash")
    assert examine(engine) == []


def test_a_locked_table_is_not_waited_for(engine: Engine) -> None:
    with engine.connect() as loader, loader.begin() as transaction:
        loader.execute(text("LOCK TABLE pgcorpus.documents"))
        process = loader.scalar(text("SELECT pg_backend_pid()"))
        finding = found(engine, "tables-locked", Severity.WARNING)
        assert str(process) in finding.evidence
        transaction.rollback()
    assert examine(engine) == []


def test_an_index_that_is_being_rebuilt_under_a_lock_is_not_waited_for(engine: Engine) -> None:
    """Nobody can plan a statement on its table meanwhile."""
    with engine.connect() as rebuilding:
        rebuilding.execute(text(f"REINDEX INDEX {INDEX}"))
        run(engine, sql_in(found(impatient(engine), "tables-locked", Severity.WARNING), "SELECT"))
        rebuilding.invalidate()
    wait_until(lambda: examine(engine) == [])


# The indexes


@pytest.mark.parametrize("mend", [by_command, by_sql])
def test_a_missing_index(engine: Engine, mend: Mend) -> None:
    definition = f"SELECT pg_get_indexdef('{INDEX}'::regclass)"
    before = scalar(engine, definition)
    run(engine, f"DROP INDEX {INDEX}")
    mend(engine, found(engine, "index-missing", Severity.WARNING))
    assert examine(engine) == []
    assert scalar(engine, definition) == before


BUILD = "CREATE INDEX CONCURRENTLY {} ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops)"


@contextmanager
def writer(engine: Engine) -> Iterator[None]:
    """A transaction that has written to the documents, which a concurrent build waits for."""
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE pgcorpus.documents IN ROW EXCLUSIVE MODE"))
        yield


def fail_to(engine: Engine, statement: str) -> None:
    """Run a concurrent build that gives up halfway."""
    impatient = create_engine(engine.url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=50ms"})
    with writer(engine), pytest.raises(DBAPIError, match="lock timeout"):
        run(impatient, statement)


@pytest.mark.parametrize("mend", [by_command, by_sql])
def test_an_index_that_a_failed_build_left_invalid(engine: Engine, mend: Mend) -> None:
    run(engine, f"DROP INDEX {INDEX}")
    fail_to(engine, BUILD.format("ix_documents_embedding"))
    mend(engine, found(engine, "index-invalid", Severity.WARNING))
    assert examine(engine) == []


def test_what_a_failed_rebuild_left_beside_the_index(engine: Engine) -> None:
    fail_to(engine, f"REINDEX INDEX CONCURRENTLY {INDEX}")
    finding = found(engine, "index-invalid", Severity.WARNING)
    assert finding.sql == "DROP INDEX CONCURRENTLY pgcorpus.ix_documents_embedding_ccnew;"
    by_sql(engine, finding)
    assert examine(engine) == []


def test_an_index_of_any_name_is_named_in_the_sql_as_it_has_to_be(engine: Engine) -> None:
    fail_to(engine, BUILD.format('"My ""index"""'))
    by_sql(engine, found(engine, "index-invalid", Severity.WARNING))
    by_sql(engine, found(engine, "index-duplicate", Severity.WARNING))
    assert examine(engine) == []
    assert not scalar(engine, "SELECT count(*) FROM pg_class WHERE relname LIKE 'My %'")


def test_an_index_that_is_being_built_is_no_invalid_one(engine: Engine) -> None:
    run(engine, f"DROP INDEX {INDEX}")
    builder = threading.Thread(target=run, args=(engine, BUILD.format("ix_documents_embedding")))
    with writer(engine):
        builder.start()
        wait_until(lambda: scalar(engine, "SELECT count(*) FROM pg_stat_progress_create_index WHERE lockers_total > 0"))
        found(engine, "index-building", Severity.NOTE)
    builder.join()
    assert examine(engine) == []


def test_an_index_of_another_metric_than_a_collections(engine: Engine) -> None:
    fill(engine)
    fill(engine, "shapes", Metric.L2)
    assert found(engine, "index-metric", Severity.NOTE), "an exact search of few documents is fast"
    run(engine, "UPDATE pg_class SET reltuples = 10000 WHERE oid = 'pgcorpus.documents'::regclass")
    finding = only(engine, "index-metric", Severity.WARNING)
    assert "has the distance l2" in finding.evidence
    by_sql(engine, finding)
    run(engine, "ANALYZE pgcorpus.documents")
    assert examine(engine) == []
    schema.check(engine)
    run(engine, f"DROP INDEX {INDEX}")
    by_command(engine, found(engine, "index-missing", Severity.WARNING))
    assert examine(engine) == []


@pytest.mark.parametrize("rest", ["WHERE collection_id = 1", "WITH (m = 8)"])
def test_an_index_of_some_documents_does_not_serve_all(engine: Engine, rest: str) -> None:
    run(engine, f"DROP INDEX {INDEX}", BUILD.format("of_some") + f" {rest}")
    codes = [finding.code for finding in examine(engine)]
    assert codes == (["index-missing"] if rest.startswith("WHERE") else [])


@pytest.mark.parametrize(
    "other", ["(embedding vector_cosine_ops) WHERE collection_id = 1", "(embedding vector_l2_ops)"]
)
def test_an_index_whose_name_another_one_has_is_built_beside_it(engine: Engine, other: str) -> None:
    run(engine, f"DROP INDEX {INDEX}", f"CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw {other}")
    finding = found(engine, "index-missing", Severity.WARNING)
    assert finding.command is None, "an upgrade finds an index of that name, and builds none"
    by_sql(engine, finding)
    assert examine(engine) == []


def test_an_invalid_index_of_any_name_is_rebuilt_and_no_second_one_built(engine: Engine) -> None:
    run(engine, f"DROP INDEX {INDEX}")
    fail_to(engine, BUILD.format("renamed"))
    by_sql(engine, found(engine, "index-invalid", Severity.WARNING))
    assert examine(engine) == []


# The role


@pytest.fixture
def role(engine: Engine) -> Iterator[str]:
    """A role of the test's own, whose name needs quotes."""
    name = f'"App of {engine.url.database}"'
    run(engine, f"CREATE ROLE {name}")
    yield name
    run(engine, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.fixture
def app(engine: Engine, role: str) -> Iterator[Engine]:
    """An engine of that role."""
    name = role.strip('"').replace(" ", "\\ ")
    app = create_engine(engine.url, connect_args={"options": f"-c role={name}"})
    yield app
    app.dispose()


def test_a_role_without_rights_is_granted_those_of_reading_and_then_those_of_writing(
    engine: Engine, app: Engine, role: str
) -> None:
    reading = found(app, "rights-reading", Severity.ERROR)
    assert role in reading.summary
    assert "USAGE ON SCHEMA pgcorpus" in reading.evidence
    by_sql(engine, reading)
    writing = found(app, "rights-writing", Severity.NOTE)
    assert "USAGE ON SEQUENCE" in writing.evidence
    with session_factory(app)() as session:
        assert DocumentRepository(session, "wiki").collections() == []
    by_sql(engine, writing)
    assert examine(app) == []
    fill(app)
    assert examine(app) == []


def test_a_role_that_may_write_this_and_not_that_is_a_mistake(engine: Engine, app: Engine, role: str) -> None:
    run(engine, f"GRANT USAGE ON SCHEMA pgcorpus TO {role}", f"GRANT ALL ON ALL TABLES IN SCHEMA pgcorpus TO {role}")
    finding = found(app, "rights-writing", Severity.WARNING)
    with pytest.raises(DBAPIError, match="permission denied for sequence"):
        fill(app)
    by_sql(engine, finding)
    fill(app)
    assert examine(app) == []


def test_a_role_that_may_search_and_read_no_more_than_that(engine: Engine, app: Engine, role: str) -> None:
    fill(engine)
    run(engine, f"GRANT USAGE ON SCHEMA pgcorpus TO {role}")
    run(engine, f"GRANT SELECT ON pgcorpus.collections, pgcorpus.documents TO {role}")
    with session_factory(app)() as session:
        assert DocumentRepository(session, "wiki").search(unit(1), k=2)
    assert {finding.severity for finding in examine(app)} == {Severity.NOTE}
    by_sql(engine, only(app, "rights-reading", Severity.NOTE))
    found(app, "rights-writing", Severity.NOTE)


def test_a_role_that_is_kept_from_a_view_of_the_servers_is_told_what_was_not_looked_at(
    engine: Engine, app: Engine, role: str
) -> None:
    run(engine, f"GRANT USAGE ON SCHEMA pgcorpus TO {role}", f"GRANT ALL ON ALL TABLES IN SCHEMA pgcorpus TO {role}")
    run(engine, f"GRANT ALL ON ALL SEQUENCES IN SCHEMA pgcorpus TO {role}")
    for view in ("pg_stat_activity", "pg_settings"):
        run(engine, f"REVOKE SELECT ON pg_catalog.{view} FROM PUBLIC")
        assert view in found(app, "not-examined", Severity.NOTE).evidence
        run(engine, f"GRANT SELECT ON pg_catalog.{view} TO PUBLIC")
    assert examine(app) == []


def test_a_role_that_a_policy_holds_back_is_not_told_that_nothing_was_analysed(
    engine: Engine, app: Engine, role: str
) -> None:
    run(
        engine,
        "INSERT INTO pgcorpus.collections (name) VALUES ('text')",
        "INSERT INTO pgcorpus.documents (collection_id, content) SELECT 1, 'x' FROM generate_series(1, 1001)",
        "ANALYZE pgcorpus.documents",
        "ALTER TABLE pgcorpus.documents ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON pgcorpus.documents USING (collection_id = 1)",
        f"GRANT USAGE ON SCHEMA pgcorpus TO {role}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA pgcorpus TO {role}",
    )
    found(app, "rights-writing", Severity.NOTE)


def test_a_role_that_may_not_use_the_extensions_schema(engine: Engine, app: Engine, role: str) -> None:
    run(engine, "CREATE SCHEMA extensions", "ALTER EXTENSION vector SET SCHEMA extensions")
    finding = found(app, "rights-reading", Severity.ERROR)
    assert "USAGE ON SCHEMA extensions" in finding.evidence
    by_sql(engine, finding)
    found(app, "rights-writing", Severity.NOTE)


# The documents


def test_documents_that_wait_for_an_embedding(engine: Engine) -> None:
    fill(engine, documents=2)
    with session_factory(engine)() as session:
        DocumentRepository(session, "words only").add(Document(content="no model, no embedding"))
        waiting = [Draft(f"w{n}", f"waiting {n}") for n in range(3)]
        repository = DocumentRepository(session, "wiki", embedding_model="m")
        repository.upsert(waiting)
        session.commit()
        finding = found(engine, "documents-waiting", Severity.NOTE)
        assert finding.evidence == "3 of the 5 documents of 'wiki' (tenant 'default')."
        rows = session.execute(text("SELECT key, content FROM " + finding.remedy.partition("those of ")[2].rstrip(".")))
        repository.upsert([Draft(row.key, row.content, embedding=unit(n)) for n, row in enumerate(rows)])
        session.commit()
    assert examine(engine) == []


def test_of_many_documents_the_newest_are_looked_at(engine: Engine) -> None:
    fill(engine)
    add = (
        "INSERT INTO pgcorpus.documents (collection_id, content)"
        " SELECT id, 'x' FROM pgcorpus.collections, generate_series(1, 400)"
    )
    run(engine, add)
    evidence = found(engine, "documents-waiting", Severity.NOTE).evidence
    assert evidence == "100 of the newest 100 documents of 'wiki' (tenant 'default')."


def test_statistics_that_nobody_made(engine: Engine) -> None:
    add = (
        "INSERT INTO pgcorpus.documents (collection_id, content)"
        " SELECT id, 'x' FROM pgcorpus.collections, generate_series(1, {})"
    )
    run(engine, "ALTER TABLE pgcorpus.documents SET (autovacuum_enabled = off)")
    run(engine, "INSERT INTO pgcorpus.collections (name) VALUES ('text')")
    run(engine, add.format(1_000), "SELECT pg_stat_force_next_flush()")
    assert examine(engine) == []
    run(engine, add.format(1), "SELECT pg_stat_force_next_flush()")
    finding = only(engine, "statistics-missing", Severity.WARNING)
    assert "1,001 rows" in finding.evidence
    by_sql(engine, finding)
    by_sql(engine, found(engine, "autovacuum-off", Severity.WARNING))
    assert examine(engine) == []
