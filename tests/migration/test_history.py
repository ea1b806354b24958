"""The migrations: up and down and up, in any order of events, they end where the models are."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from sqlalchemy import Engine, NullPool, text
from sqlalchemy.engine import URL

from pgcorpus import migrating, schema
from pgcorpus.database import create_engine, session_factory
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.errors import DatabaseError, ExtensionError, MigrationLockError, SchemaError, UnreachableError
from pgcorpus.locks import advisory_lock
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository
from tests.migration import freeze
from tests.support.hosts import execute_script
from tests.support.vectors import unit
from tests.support.waiting import wait_until

EXTENSION = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
INDEXES = """
    SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = 'pgcorpus.documents'::regclass
"""


def value(engine: Engine, sql: str, **parameters: object) -> object:
    with engine.begin() as connection:
        return connection.scalar(text(sql), parameters)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.fixture
def role(empty_engine: Engine) -> Iterator[str]:
    """An ordinary role that may connect and nothing else."""
    name = f"plain_{empty_engine.url.database}"
    run(empty_engine, f"CREATE ROLE {name}")
    yield name
    run(empty_engine, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def as_role(engine: Engine, role: str) -> Engine:
    return create_engine(engine.url, poolclass=NullPool, connect_args={"options": f"-c role={role}"})


# Up and down


def test_up_down_and_up_again_equals_the_models(empty_engine: Engine) -> None:
    assert schema.current(empty_engine) is None
    for _ in range(2):
        schema.upgrade(empty_engine)
        assert schema.current(empty_engine) == schema.head()
        schema.check(empty_engine)
        schema.downgrade(empty_engine, "base")
        assert schema.current(empty_engine) is None
        assert value(empty_engine, "SELECT to_regclass('pgcorpus.documents')") is None


def test_every_step_goes_up_and_down(empty_engine: Engine) -> None:
    for revision in schema.history():
        schema.upgrade(empty_engine, "+1")
        assert schema.current(empty_engine) == revision.id
        schema.downgrade(empty_engine, "-1")
        schema.upgrade(empty_engine, "+1")


def test_an_upgrade_over_data_keeps_it(engine: Engine) -> None:
    with session_factory(engine).begin() as session:
        DocumentRepository(session).add_many([Document(content=str(i), embedding=unit(i)) for i in range(20)])
    schema.downgrade(engine, "pgcorpus_0002")
    schema.upgrade(engine)
    with session_factory(engine)() as session:
        assert DocumentRepository(session).search(unit(7), 1)[0].document.content == "7"


def test_the_table_stores_vectors_in_the_row(engine: Engine) -> None:
    """Out of line, a table of vectors looks tiny to the planner, which then scans it all rather than use HNSW."""
    assert value(
        engine,
        "SELECT attstorage FROM pg_attribute WHERE attrelid = 'pgcorpus.documents'::regclass AND attname = 'embedding'",
    ) in ("m", b"m")
    assert value(engine, "SELECT reloptions FROM pg_class WHERE oid = 'pgcorpus.documents'::regclass") == [
        "toast_tuple_target=8160"
    ]
    with session_factory(engine).begin() as session:
        DocumentRepository(session).add(Document(content="x", embedding=unit(0) + 0.1))
    toasted = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = 'pgcorpus.documents'::regclass"
    assert value(engine, toasted) == 0


def test_a_long_text_in_any_language_is_indexed(engine: Engine) -> None:
    """A tsvector holds one megabyte; a million different words are cut, and an unknown language is not stemmed."""
    words = " ".join(f"word{i}" for i in range(300_000))
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session)
        repository.add(Document(content=words))
        for language in ("english", "german", "klingon"):
            repository.add(Document(content="running houses", language=language))
    counts = "SELECT count(*) FROM pgcorpus.documents WHERE tsv @@ to_tsquery('simple', :word)"
    assert value(engine, counts, word="run") == 1
    assert value(engine, counts, word="running") == 2


def test_the_databases_own_defaults_let_other_tools_insert(engine: Engine) -> None:
    run(
        engine,
        "INSERT INTO pgcorpus.collections (name) VALUES ('c')",
        "INSERT INTO pgcorpus.documents (collection_id, content) SELECT id, 'x' FROM pgcorpus.collections",
    )
    with session_factory(engine)() as session:
        row = session.query(Document).one()
    assert (row.meta, row.language, row.version) == ({}, "english", 1)
    assert row.key


def test_a_role_named_like_our_schema_is_no_trap(empty_engine: Engine) -> None:
    """Its "$user" puts our schema first on the path: the extension must not land there, nor Alembic be misled."""
    name = "pgcorpus"
    run(empty_engine, f"CREATE ROLE {name} SUPERUSER")
    engine = as_role(empty_engine, name)
    try:
        schema.upgrade(engine)
        engine = as_role(empty_engine, name)
        schema.check(engine)
        home = "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
        assert value(engine, home) == "public"
        assert engine.dialect.default_schema_name == "pgcorpus"
    finally:
        run(empty_engine, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


# What Alembic sees


def test_a_change_of_the_table_is_found(engine: Engine) -> None:
    run(engine, "ALTER TABLE pgcorpus.documents DROP COLUMN position")
    with pytest.raises(SchemaError, match="position"):
        schema.check(engine)


def test_the_hosts_tables_are_none_of_our_business(engine: Engine) -> None:
    run(engine, "CREATE TABLE public.users (id int)", "CREATE SCHEMA app", "CREATE TABLE app.things (id int)")
    schema.check(engine)


def test_a_database_behind_or_ahead_of_the_code_says_what_to_run(engine: Engine) -> None:
    schema.downgrade(engine, "pgcorpus_0003")
    words = f"is at pgcorpus_0003, this pgcorpus needs {schema.head()}: run `pgcorpus migrate upgrade`"
    with pytest.raises(SchemaError, match=words):
        schema.require_current(engine)
    run(engine, "UPDATE pgcorpus.alembic_version SET version_num = 'pgcorpus_9999'")
    with pytest.raises(SchemaError, match="pgcorpus_9999, which this pgcorpus does not know: upgrade the package"):
        schema.require_current(engine)
    with pytest.raises(SchemaError, match="pgcorpus_9999"):
        schema.upgrade(engine)


def test_an_unknown_revision_is_named(empty_engine: Engine) -> None:
    with pytest.raises(SchemaError, match="nonsense"):
        schema.upgrade(empty_engine, "nonsense")


def test_looking_writes_nothing(empty_engine: Engine) -> None:
    assert schema.current(empty_engine) is None
    assert [revision.applied for revision in schema.history(empty_engine)] == [False] * len(schema.history())
    with pytest.raises(SchemaError, match="no pgcorpus schema yet"):
        schema.check(empty_engine)
    assert value(empty_engine, "SELECT to_regnamespace('pgcorpus')") is None


def test_an_unreachable_server_is_one_line() -> None:
    engine = create_engine("postgresql://u:secret@127.0.0.1:1/d")
    with pytest.raises(UnreachableError) as caught:
        schema.upgrade(engine)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


# Offline


def test_the_printed_sql_does_what_the_upgrade_does(empty_engine: Engine) -> None:
    script = schema.sql()
    assert "%" not in script
    execute_script(empty_engine, script)
    schema.check(empty_engine)
    down = schema.sql(f"{schema.head()}:base", downgrade=True)
    execute_script(empty_engine, down)
    assert value(empty_engine, "SELECT to_regclass('pgcorpus.documents')") is None


STEPS = list(pairwise(["base", *(revision.id for revision in schema.history())]))


@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
@pytest.mark.parametrize(("lower", "upper"), STEPS, ids=[upper for _, upper in STEPS])
def test_the_printed_sql_of_every_step_does_what_the_step_does(
    server: EmbeddedServer, make_database: Callable[..., URL], lower: str, upper: str, down: bool
) -> None:
    before, after = (upper, lower) if down else (lower, upper)
    start = make_database()
    if before != "base":
        freeze.restore(server, start, (freeze.DUMPS / f"{before}.sql").read_text())
    online, offline = (make_database(start.database) for _ in range(2))
    freeze.restore(server, offline, schema.sql(f"{before}:{after}", downgrade=down))
    engine = create_engine(online, poolclass=NullPool)
    (schema.downgrade if down else schema.upgrade)(engine, after)
    if after == "base":  # where an older Alembic prints that its table goes, which it leaves online
        for url in (offline, online):
            run(create_engine(url, poolclass=NullPool), "DROP TABLE IF EXISTS pgcorpus.alembic_version")
    assert freeze.dump(server, offline) == freeze.dump(server, online)


def test_a_downgrade_as_sql_needs_a_range() -> None:
    with pytest.raises(SchemaError, match="<fromrev>:<torev>"):
        schema.sql("base", downgrade=True)


# The extension


def test_an_extension_we_created_goes_with_us(empty_engine: Engine) -> None:
    schema.upgrade(empty_engine)
    schema.downgrade(empty_engine, "base")
    assert value(empty_engine, EXTENSION) is None


def test_an_extension_we_found_stays(empty_engine: Engine) -> None:
    run(empty_engine, "CREATE EXTENSION vector")
    schema.upgrade(empty_engine)
    schema.downgrade(empty_engine, "base")
    assert value(empty_engine, EXTENSION) is not None


def test_an_extension_that_the_host_uses_by_now_stays(empty_engine: Engine) -> None:
    schema.upgrade(empty_engine)
    run(empty_engine, "CREATE TABLE public.items (embedding vector(3))")
    schema.downgrade(empty_engine, "base")
    assert value(empty_engine, "SELECT count(*) FROM items") == 0


def test_a_role_without_any_right_gets_the_statement_for_the_administrator(empty_engine: Engine, role: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        schema.upgrade(as_role(empty_engine, role))
    assert f"CREATE SCHEMA pgcorpus AUTHORIZATION {role};" in str(caught.value)


def test_a_role_that_may_not_create_the_extension_gets_the_exact_statement(empty_engine: Engine, role: str) -> None:
    run(empty_engine, f"CREATE SCHEMA pgcorpus AUTHORIZATION {role}")
    with pytest.raises(ExtensionError) as caught:
        schema.upgrade(as_role(empty_engine, role))
    statement = f"Ask a superuser to run in the database {empty_engine.url.database}: CREATE EXTENSION vector;"
    assert f"{role} may not create the pgvector extension. {statement}" in str(caught.value)
    run(empty_engine, "CREATE EXTENSION vector")
    schema.upgrade(as_role(empty_engine, role))
    schema.check(as_role(empty_engine, role))


def test_an_extension_that_is_too_old_is_refused(empty_engine: Engine) -> None:
    run(
        empty_engine, "CREATE EXTENSION vector", "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'"
    )
    with pytest.raises(ExtensionError, match=r"0\.7\.4; 0\.8\.0 or later is needed.*ALTER EXTENSION vector UPDATE"):
        schema.upgrade(empty_engine)


# One at a time


def test_upgrades_at_once_are_serialised_between_threads(empty_engine: Engine) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        engine = create_engine(empty_engine.url, poolclass=NullPool)
        try:
            barrier.wait()
            schema.upgrade(engine)
        except BaseException as exc:  # noqa: BLE001 -- handed to the test
            failures.append(exc)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    schema.check(empty_engine)


def test_upgrades_at_once_are_serialised_between_processes(empty_engine: Engine) -> None:
    url = empty_engine.url.render_as_string(hide_password=False)
    code = "import sys; from pgcorpus import database, schema; schema.upgrade(database.create_engine(sys.argv[1]))"
    processes = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    schema.check(empty_engine)


def test_a_lock_that_cannot_be_had_says_who_holds_it(empty_engine: Engine) -> None:
    with (
        advisory_lock(empty_engine, "migration", 0),
        pytest.raises(MigrationLockError, match=r"waited 0\.3 s.*server process \d+ \(pgcorpus"),
    ):
        schema.upgrade(empty_engine, lock_wait=0.3)


def test_a_table_in_use_makes_a_migration_give_up_rather_than_queue(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT", "200ms")
    schema.downgrade(engine, "pgcorpus_0002")
    with engine.connect() as reader:
        reader.execute(text("LOCK TABLE pgcorpus.documents IN ACCESS SHARE MODE"))
        with pytest.raises(DatabaseError, match="lock timeout"):
            schema.downgrade(engine, "pgcorpus_0001")
    assert value(engine, "SELECT to_regclass('pgcorpus.documents')") is not None


# The index


def test_an_invalid_leftover_of_a_killed_build_is_replaced(engine: Engine) -> None:
    schema.downgrade(engine, "pgcorpus_0002")
    run(
        engine,
        "CREATE INDEX ix_documents_embedding ON pgcorpus.documents (id)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pgcorpus.ix_documents_embedding'::regclass",
        "CREATE INDEX ix_documents_tsv ON pgcorpus.documents (id)",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pgcorpus.ix_documents_tsv'::regclass",
    )
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert all(valid for _, valid in connection.execute(text(INDEXES)))
    schema.check(engine)


def test_a_build_that_was_cut_off_is_taken_up_again(engine: Engine) -> None:
    """The concurrent build waits for an older transaction; killed there, it leaves an invalid index."""
    schema.downgrade(engine, "pgcorpus_0002")
    older = engine.connect()
    older.execute(text("LOCK TABLE pgcorpus.documents IN ROW EXCLUSIVE MODE"))
    building = create_engine(engine.url, connect_args={"application_name": "building"}, poolclass=NullPool)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            schema.upgrade(building)
        except BaseException as exc:  # noqa: BLE001 -- handed to the test
            failures.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    kill = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'building' AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
    )
    wait_until(lambda: bool(value(engine, str(kill))))
    thread.join(60)
    older.close()
    assert len(failures) == 1
    assert isinstance(failures[0], DatabaseError)
    assert value(engine, f"{INDEXES} AND NOT indisvalid") == "ix_documents_embedding"
    schema.upgrade(engine)
    schema.check(engine)


def test_a_pool_of_one_connection_is_enough(empty_url: URL) -> None:
    engine = create_engine(empty_url, pool_size=1, max_overflow=0, pool_timeout=5)
    schema.upgrade(engine)
    assert schema.current(engine) == schema.head()
    engine.dispose()


def test_a_migration_leaves_no_setting_in_the_hosts_pool(empty_url: URL) -> None:
    host = create_engine(empty_url, pool_size=1, max_overflow=1)
    schema.upgrade(host)
    with host.connect() as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "0"
        assert connection.scalar(text("SHOW search_path")) == '"$user", public'
    host.dispose()
