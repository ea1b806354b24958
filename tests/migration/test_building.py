"""Vector indexes are built, changed and dropped on a running server: whatever happens, none is left half-built."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.autogenerate import building, resources, session
from pgcorpus.autogenerate.building import BuildSettings, create_index, drop_index, replace_index
from pgcorpus.autogenerate.resources import MB, Need, Server
from pgcorpus.autogenerate.site import Site
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.database import create_async_engine, create_engine
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.errors import DatabaseError
from pgcorpus.faults import sqlstate
from tests.support.waiting import wait_until

Build = Callable[[Connection, VectorIndex, BuildSettings], None]

CHOSEN = BuildSettings()
NAME, NEW, OLD = "ix_items", "ix_items__new", "ix_items__old"
INDEX = VectorIndex(NAME, "items", "embedding", "vector_l2_ops", options={"m": 4, "ef_construction": 8})
CHANGED = replace(INDEX, options={"m": 6, "ef_construction": 12})
ROWS = "INSERT INTO {} SELECT i, ARRAY[random(), random(), random()]::{}vector(3) FROM generate_series({}, {}) i"

# What a server without any tuning says.
SERVER = Server(
    memory=64 * MB,
    shared_buffers=128 * MB,
    cache=4096 * MB,
    cache_was_set=False,
    workers=2,
    parallel_workers=8,
    processes=8,
)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def value(engine: Engine, sql: str, **parameters: object) -> object:
    with engine.begin() as connection:
        return connection.scalar(text(sql), parameters)


def indexes(engine: Engine) -> dict[str, tuple[bool, int]]:
    """Return validity and m of every HNSW index, by name."""
    sql = """
        SELECT i.relname, x.indisvalid, split_part(i.reloptions[1], '=', 2)::int
        FROM pg_index x JOIN pg_class i ON i.oid = indexrelid JOIN pg_am a ON a.oid = i.relam
        WHERE amname = 'hnsw' ORDER BY 1
    """
    with engine.begin() as connection:
        return {name: (valid, m) for name, valid, m in connection.execute(text(sql))}


def oid(engine: Engine, name: str) -> object:
    return value(engine, "SELECT to_regclass(:name)::oid::bigint", name=name)


def invalidate(engine: Engine, name: str) -> None:
    run(engine, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass")


def create_sql(index: VectorIndex, engine: Engine) -> str:
    return index.create_sql(concurrently=False)


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def build(
    engine: Engine, index: VectorIndex = INDEX, how: Build = create_index, settings: BuildSettings = CHOSEN
) -> None:
    with autocommit(engine) as connection:
        how(connection, index, settings)


@contextmanager
def writing(engine: Engine, table: str = "items") -> Iterator[Connection]:
    """A transaction that has written to the table, for which every concurrent build waits."""
    with engine.connect() as connection:
        connection.exec_driver_sql(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        yield connection
        connection.rollback()


class Running:
    """Work in a thread, on an engine of its own."""

    def __init__(self, engine: Engine, work: Callable[[Engine], None]) -> None:
        self.failure: BaseException | None = None
        self._engine = create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=5)
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work(self._engine)
        except BaseException as exc:  # noqa: BLE001 -- handed to the test
            self.failure = exc
        finally:
            self._engine.dispose()

    def failed(self) -> BaseException:
        self.succeeded_or_failed()
        assert self.failure is not None
        return self.failure

    def succeeded(self) -> None:
        self.succeeded_or_failed()
        assert self.failure is None, self.failure

    def succeeded_or_failed(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


WAITING = """
    FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE :query
"""
CREATING, DROPPING = "CREATE INDEX CONCURRENTLY%", "DROP INDEX CONCURRENTLY%"


def wait_for_waiting(engine: Engine, query: str = CREATING) -> None:
    wait_until(lambda: value(engine, f"SELECT count(*) {WAITING}", query=query))


def end(engine: Engine, how: str, query: str = CREATING) -> None:
    wait_until(lambda: value(engine, f"SELECT count({how}(pid)) {WAITING}", query=query))


@pytest.fixture
def items(empty_engine: Engine) -> Engine:
    """A database with a table of vectors."""
    run(
        empty_engine,
        "CREATE EXTENSION vector",
        "CREATE TABLE items (id int PRIMARY KEY, embedding vector(3))",
        ROWS.format("items", "", 1, 300),
    )
    return empty_engine


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "alembic.pgcorpus")
    return caplog


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr(session, "POLL_INTERVAL", 0.02)


def warnings_of(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]


# Creating


def test_an_index_is_built_while_others_write(items: Engine) -> None:
    with writing(items):
        builder = Running(items, build)
        wait_for_waiting(items)
        run(items, "INSERT INTO items VALUES (1000, '[1,2,3]')")
    builder.succeeded()
    assert indexes(items) == {NAME: (True, 4)}


def test_what_is_built_is_said(items: Engine, log: pytest.LogCaptureFixture) -> None:
    run(items, "ANALYZE items")
    build(items)
    assert "building ix_items on items: about 300 rows, maintenance_work_mem " in log.text
    assert warnings_of(log) == []


def test_an_index_that_is_there_and_equal_is_left_alone(items: Engine) -> None:
    """A run that was killed between the build and Alembic's own note of it is taken up."""
    build(items)
    before = oid(items, NAME)
    build(items, replace(INDEX, key='"embedding"'))
    assert oid(items, NAME) == before


def test_an_index_that_differs_is_not_touched_and_the_error_says_how_to_change_it(items: Engine) -> None:
    build(items)
    with pytest.raises(DatabaseError, match=r"ix_items exists and differs: m 4 to 6; .* use op\..*replace=True"):
        build(items, CHANGED)
    run(items, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON items (id)")
    with pytest.raises(DatabaseError, match="differs: method 'btree' to 'hnsw'"):
        build(items)


def test_an_invalid_leftover_is_replaced(items: Engine) -> None:
    for leftover in (create_sql(CHANGED, items), f"CREATE INDEX {NAME} ON items (id)"):
        run(items, leftover)
        invalidate(items, NAME)
        build(items)
        assert indexes(items) == {NAME: (True, 4)}
        run(items, f"DROP INDEX {NAME}")


@pytest.mark.parametrize("how", [create_index, replace_index])
@pytest.mark.parametrize(
    "statements",
    [["CREATE TABLE ix_items (id int)"], ["CREATE TABLE other (id int)", "CREATE INDEX ix_items ON other (id)"]],
)
def test_a_name_that_is_taken_is_an_error(items: Engine, statements: list[str], how: Build) -> None:
    run(items, *statements)
    with pytest.raises(DatabaseError, match=r"an index of items cannot be called ix_items: that is (table|index)"):
        build(items, how=how)


def test_a_table_that_is_not_there_is_an_error(items: Engine) -> None:
    with pytest.raises(DatabaseError, match='no table "nothing" to build ix_items on'):
        build(items, replace(INDEX, table="nothing"))


def test_names_may_hold_anything(items: Engine) -> None:
    table, column, name = 'it"ems 50%', "embed:ding %s", "ix 'quoted' %(name)s $$ \\"
    run(
        items,
        'ALTER TABLE items RENAME TO "it""ems 50%"',
        f'ALTER TABLE "it""ems 50%" RENAME embedding TO "{column}"',
    )
    index = replace(INDEX, name=name, table=table, key=f'"{column}"', where="id::text NOT LIKE '%7'")
    changed = replace(CHANGED, name=name, table=table, key=index.key, where=index.where)
    build(items, index)
    run(items, f"""COMMENT ON INDEX "{name}" IS 'it''s $$ 50% \\'""")
    build(items, changed, replace_index)
    assert indexes(items) == {name: (True, 6)}
    assert (
        value(items, "SELECT obj_description(indexrelid) FROM pg_index WHERE indpred IS NOT NULL") == "it's $$ 50% \\"
    )
    with autocommit(items) as connection:
        drop_index(connection, name, None)
    assert indexes(items) == {}


def test_names_are_cut_to_what_the_server_keeps_and_stay_apart() -> None:
    long = ["é" * 31 + "a", "é" * 31 + "b", "x" * 63]
    names = [cut(name) for name in long for cut in (building.new_name, building.old_name)]
    assert len(set(names)) == 6
    assert all(len(name.encode()) <= 63 for name in names)
    assert building.new_name("ix") == "ix__new"


def test_a_table_is_looked_up_on_the_search_path(items: Engine) -> None:
    run(
        items,
        "CREATE SCHEMA app",
        "CREATE TABLE app.things (id int, embedding vector(3))",
        "CREATE TABLE public.ix_things ()",  # the name is free where it counts
    )
    with autocommit(items) as connection:
        connection.exec_driver_sql("SET search_path = app, public")
        create_index(connection, replace(INDEX, name="ix_things", table="things"), CHOSEN)
        connection.exec_driver_sql("RESET search_path")
    assert oid(items, "app.ix_things")


def test_an_extension_off_the_search_path_is_found(empty_engine: Engine) -> None:
    run(
        empty_engine,
        "CREATE SCHEMA extensions",
        "CREATE EXTENSION vector SCHEMA extensions",
        "CREATE TABLE items (id int PRIMARY KEY, embedding extensions.vector(3))",
        ROWS.format("items", "extensions.", 1, 50),
    )
    build(empty_engine)
    build(empty_engine, CHANGED, replace_index)
    assert indexes(empty_engine) == {NAME: (True, 6)}
    for statements in (building.offline_drop(NAME, None), offline(INDEX, empty_engine)):
        with autocommit(empty_engine) as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            assert connection.scalar(text("SHOW search_path")) == '"$user", public'
    assert indexes(empty_engine) == {NAME: (True, 4)}


# The session

SETTINGS = {
    "statement_timeout": "300ms",
    "lock_timeout": "300ms",
    "idle_in_transaction_session_timeout": "7s",
    "search_path": "public",
    "maintenance_work_mem": "10MB",
    "max_parallel_maintenance_workers": "1",
    "client_connection_check_interval": "0",
}


def settings_of(connection: Connection) -> dict[str, str]:
    return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in SETTINGS}


def test_no_timeout_of_the_hosts_ends_a_build_and_all_its_settings_are_put_back(items: Engine) -> None:
    seen: list[dict[str, str]] = []

    def work(engine: Engine) -> None:
        with autocommit(engine) as connection:
            for name, setting in SETTINGS.items():
                connection.exec_driver_sql(f"SET {name} = '{setting}'")
            create_index(connection, INDEX, BuildSettings("20MB", 3))
            replace_index(connection, CHANGED, CHOSEN)
            with pytest.raises(DBAPIError):
                create_index(connection, replace(INDEX, name="broken", key="((embedding::vector(2)))"), CHOSEN)
            drop_index(connection, NAME, None)
            seen.append(settings_of(connection))

    with writing(items):
        builder = Running(items, work)
        wait_until(lambda: value(items, f"SELECT max(now() - query_start) > '600ms' {WAITING}", query=CREATING))
    builder.succeeded()
    assert seen == [SETTINGS]
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert value(items, held) == 0


def test_a_build_in_a_transaction_has_its_settings_for_itself_only(items: Engine) -> None:
    with items.connect() as connection:
        for name, setting in SETTINGS.items():
            connection.exec_driver_sql(f"SET LOCAL {name} = '{setting}'")
        with building.with_build_settings(connection, INDEX, BuildSettings("20MB", 3)):
            inside = settings_of(connection)
            connection.exec_driver_sql(create_sql(INDEX, items))
        assert settings_of(connection) == SETTINGS
        connection.commit()
    assert (inside["maintenance_work_mem"], inside["max_parallel_maintenance_workers"]) == ("20MB", "3")
    assert (inside["statement_timeout"], inside["client_connection_check_interval"]) == ("0", "10s")
    # A plain build has writers queue behind it while it waits for its lock.
    assert inside["lock_timeout"] == "300ms"


def test_a_transaction_that_fails_in_a_build_is_the_callers_to_end(items: Engine) -> None:
    with items.connect() as connection:
        with (
            pytest.raises(DBAPIError, match="division by zero"),
            building.with_build_settings(connection, INDEX, CHOSEN),
        ):
            connection.exec_driver_sql("SELECT 1/0")
        connection.rollback()
        assert connection.scalar(text("SHOW statement_timeout")) == "0"


def test_an_async_engine_builds_as_well(items: Engine) -> None:
    async def work() -> None:
        engine = create_async_engine(items.url.set(drivername="postgresql+psycopg"))
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.run_sync(create_index, INDEX, CHOSEN)
            await connection.run_sync(replace_index, CHANGED, CHOSEN)
        await engine.dispose()

    asyncio.run(work())
    assert indexes(items) == {NAME: (True, 6)}


# Memory and workers


def notices(engine: Engine, settings: BuildSettings, log: pytest.LogCaptureFixture) -> list[str]:
    """Build, and return what the server had to say."""
    log.clear()
    build(engine, SHALLOW, settings=settings)
    dropping(engine)
    return [record.getMessage() for record in log.records if record.name == "sqlalchemy.dialects.postgresql"]


# Wide vectors, few neighbours: much memory, little work.
SHALLOW = replace(INDEX, options={"m": 2, "ef_construction": 4})


def test_the_memory_that_a_graph_is_said_to_need_is_what_the_server_needs(
    items: Engine, log: pytest.LogCaptureFixture
) -> None:
    """A graph of eight megabytes fits into as much as it is said to need, and not into less."""
    log.set_level(logging.INFO, "sqlalchemy.dialects.postgresql")
    run(
        items,
        "DROP TABLE items",
        "CREATE TABLE items (id int, embedding vector(1000))",
        "INSERT INTO items SELECT i, array_fill(i, ARRAY[1000])::vector FROM generate_series(1, 1800) i",
        "ANALYZE items",
    )
    with autocommit(items) as connection:
        need = resources.estimate(connection, SHALLOW)
    assert need.rows == 1800
    graph = resources.in_words(need.memory - resources.OVERHEAD).replace(" ", "")
    assert notices(items, BuildSettings(graph, 0), log) == []
    (notice,) = notices(items, BuildSettings("7MB", 0), log)
    assert "hnsw graph no longer fits" in notice
    (warning,) = warnings_of(log)
    assert "about 1,800 rows need 13 MB, maintenance_work_mem is 7 MB" in warning
    assert "give more with maintenance_work_mem='13MB'" in warning


@pytest.mark.parametrize(
    ("column", "key", "opclass", "element"),
    [
        ("vector(3)", "embedding", "vector_l2_ops", 4 * 3),
        ("vector(3)", "((embedding)::halfvec(3))", "halfvec_l2_ops", 2 * 3),
        ("vector(64)", "((binary_quantize(embedding))::bit(64))", "bit_hamming_ops", 8),
        ("bit(17)", "embedding", "bit_hamming_ops", 3),
    ],
)
def test_the_estimate_goes_by_the_type_that_is_indexed(
    items: Engine, column: str, key: str, opclass: str, element: int
) -> None:
    run(items, "DROP TABLE items", f"CREATE TABLE items (id int, embedding {column})")
    with autocommit(items) as connection:
        need = resources.estimate(connection, replace(INDEX, key=key, opclass=opclass))
    assert need.memory == resources.graph_bytes(need.rows, 8 + element, 4)


def test_a_table_that_was_never_analysed_is_judged_by_its_size(items: Engine) -> None:
    """The planner knows nothing of how wide a vector is, and takes it for one of 32 bytes."""
    run(
        items,
        "DROP TABLE items",
        "CREATE TABLE items (id int, embedding vector(1000)) WITH (autovacuum_enabled = false)",
        "ALTER TABLE items ALTER embedding SET STORAGE PLAIN",
        "INSERT INTO items SELECT i, array_fill(i, ARRAY[1000])::vector FROM generate_series(1, 200) i",
    )
    with autocommit(items) as connection:
        assert 200 <= resources.estimate(connection, INDEX).rows <= 450


def test_rows_that_are_not_indexed_need_no_memory(items: Engine) -> None:
    run(items, "UPDATE items SET embedding = NULL WHERE id > 100", "ANALYZE items")
    with autocommit(items) as connection:
        assert resources.estimate(connection, INDEX).rows == 100
        assert resources.estimate(connection, replace(INDEX, where="id <= 10")).rows < 20


def test_ivfflat_gets_the_memory_without_which_the_server_refuses_to_build(items: Engine) -> None:
    index = replace(INDEX, method="ivfflat", options={"lists": 1000})
    with autocommit(items) as connection:
        need = resources.estimate(connection, index)
        connection.exec_driver_sql("SET maintenance_work_mem = '1MB'")
        with pytest.raises(DBAPIError, match="memory required") as refused:
            connection.exec_driver_sql(create_sql(index, items))
        required = int(str(refused.value).split("memory required is ")[1].split()[0])
        assert required <= need.memory // MB <= required + 2
        create_index(connection, index, CHOSEN)
    assert value(items, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_items'::regclass")


@pytest.mark.parametrize(
    ("server", "need", "expected"),
    [
        (SERVER, 10, 64),  # never below what is set
        (SERVER, 100, 100),  # enough
        (SERVER, 1000, 128),  # no more than shared_buffers, where nothing else is known
        (replace(SERVER, cache_was_set=True), 1000, 1000),
        (replace(SERVER, cache_was_set=True), 5000, 2048),  # half of effective_cache_size
        (replace(SERVER, memory=3000 * MB), 5000, 3000),
    ],
)
def test_memory_is_given_within_what_the_server_says_of_itself(server: Server, need: int, expected: int) -> None:
    chosen = resources.choose(Need(1, need * MB, False), server, CHOSEN)
    assert chosen["maintenance_work_mem"] == f"{expected * 1024}kB"


@pytest.mark.parametrize(
    ("server", "need", "expected"),
    [
        (SERVER, 10, 2),  # a small one is not worth it
        (SERVER, 1000, 4),
        (replace(SERVER, processes=4), 1000, 2),
        (replace(SERVER, workers=6), 1000, 6),
        (replace(SERVER, workers=0), 1000, 0),
    ],
)
def test_workers_are_half_of_what_the_server_has(server: Server, need: int, expected: int) -> None:
    chosen = resources.choose(Need(1, need * MB, False), server, CHOSEN)
    assert chosen["max_parallel_maintenance_workers"] == str(expected)


def test_what_the_caller_says_of_memory_and_workers_counts(items: Engine) -> None:
    wanted = BuildSettings("7MB", 9)
    chosen = resources.choose(Need(1, MB, False), SERVER, wanted)
    assert chosen == {
        "maintenance_work_mem": "7MB",
        "max_parallel_maintenance_workers": "9",
        "max_parallel_workers": "9",
    }
    with pytest.raises(DBAPIError, match='"2 gigs"'):
        build(items, settings=BuildSettings("2 gigs"))


def test_a_parallel_build_that_gets_no_shared_memory_is_done_alone(
    items: Engine, log: pytest.LogCaptureFixture
) -> None:
    """No machine has two terabytes of /dev/shm; a build without workers takes what it needs, not what it may."""
    if value(items, "SHOW dynamic_shared_memory_type") != "posix":
        pytest.skip("this server would write two terabytes to its disk")
    run(items, "ALTER TABLE items SET (parallel_workers = 1)")
    build(items, settings=BuildSettings("2147483647kB", 1))
    assert indexes(items) == {NAME: (True, 4)}
    assert "too little shared memory" in warnings_of(log)[0]


def test_a_disk_that_is_full_is_no_want_of_shared_memory() -> None:
    def raised(source: str) -> DBAPIError:
        fault = Exception("could not extend file: No space left on device")
        fault.diag = SimpleNamespace(sqlstate="53100", source_file=source)  # type: ignore[attr-defined]
        return DBAPIError("CREATE INDEX", None, fault)

    assert not resources.lacks_shared_memory(raised("md.c"))
    assert resources.lacks_shared_memory(raised("dsm_impl.c"))


def test_a_build_with_shared_memory_has_its_workers(items: Engine, log: pytest.LogCaptureFixture) -> None:
    run(items, "ALTER TABLE items SET (parallel_workers = 1)")
    build(items, settings=BuildSettings("16MB", 1))
    assert indexes(items) == {NAME: (True, 4)}
    assert warnings_of(log) == []


# Accidents


@pytest.mark.parametrize(("how", "state"), [("pg_cancel_backend", "57014"), ("pg_terminate_backend", "57P01")])
def test_a_build_that_is_ended_leaves_nothing(items: Engine, how: str, state: str) -> None:
    """Terminated, it is cleaned up on a fresh connection of a pool that has room for one."""
    with writing(items):
        builder = Running(items, build)
        end(items, how)
    failure = builder.failed()
    assert isinstance(failure, DBAPIError)
    assert sqlstate(failure) in (state, None)  # psycopg2 knows no state of a connection that is gone
    assert indexes(items) == {}
    build(items)
    assert indexes(items) == {NAME: (True, 4)}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_what_cannot_be_cleaned_up_is_named_and_taken_up_by_the_next_run(
    items: Engine, log: pytest.LogCaptureFixture, how: str
) -> None:
    with writing(items):
        builder = Running(items, build)
        end(items, how)
        assert isinstance(builder.failed(), DBAPIError)
    assert not indexes(items)[NAME][0]
    (warning,) = warnings_of(log)
    assert "ix_items may be left half-built (canceling statement due to lock timeout)" in warning
    assert "or run DROP INDEX CONCURRENTLY IF EXISTS public.ix_items;" in warning
    build(items)
    assert indexes(items) == {NAME: (True, 4)}


def test_a_build_whose_connection_breaks_is_ended_and_leaves_nothing(items: Engine) -> None:
    """The server does not know yet, and would build on."""
    sockets: list[int] = []

    def work(engine: Engine) -> None:
        with autocommit(engine) as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            sockets.append(driver.fileno())
            create_index(connection, INDEX, CHOSEN)

    with writing(items):
        builder = Running(items, work)
        wait_for_waiting(items)
        with socket.socket(fileno=os.dup(sockets[0])) as line:
            line.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: value(items, f"SELECT count(*) = 0 {WAITING}", query=CREATING), seconds=5)
    assert isinstance(builder.failed(), DBAPIError)
    assert indexes(items) == {}


def test_rows_that_cannot_be_indexed_leave_nothing(items: Engine) -> None:
    run(items, "ALTER TABLE items ALTER embedding TYPE vector", "INSERT INTO items VALUES (1000, '[1,2]')")
    with autocommit(items) as connection:
        with pytest.raises(DBAPIError, match="expected 3 dimensions, not 2"):
            create_index(connection, replace(INDEX, key="((embedding::vector(3)))"), CHOSEN)
        assert connection.scalar(text("SELECT count(*) FROM pg_index WHERE NOT indisvalid")) == 0
        assert connection.scalar(text("SHOW lock_timeout")) == "0"


PROGRAM = """
import sys
import alembic
from pgcorpus.autogenerate import building, session
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.database import create_engine

session.CLIENT_CHECK_INTERVAL = "50ms"
index = VectorIndex("ix_items", "items", "embedding", "vector_l2_ops", options={"m": 4, "ef_construction": 8})
with create_engine(sys.argv[1]).connect() as connection:
    connection.execution_options(isolation_level="AUTOCOMMIT")
    building.create_index(connection, index, building.BuildSettings())
"""


def start_program(engine: Engine) -> subprocess.Popen[str]:
    url = engine.url.render_as_string(hide_password=False)
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url], stderr=subprocess.PIPE, text=True)


def test_a_server_does_not_build_on_for_a_program_that_was_killed(items: Engine) -> None:
    with writing(items):
        process = start_program(items)
        wait_for_waiting(items)
        process.kill()
        process.communicate()
        wait_until(lambda: value(items, f"SELECT count(*) = 0 {WAITING}", query=CREATING))
    assert not indexes(items)[NAME][0]
    build(items)
    assert indexes(items) == {NAME: (True, 4)}


def test_an_interrupt_from_the_keyboard_leaves_nothing_half_built(items: Engine) -> None:
    """psycopg cancels the build; psycopg2 hears of the interrupt when the build is done."""
    with writing(items):
        process = start_program(items)
        wait_for_waiting(items)
        process.send_signal(signal.SIGINT)
        if items.dialect.driver == "psycopg":
            wait_until(lambda: value(items, f"SELECT count(*) = 0 {WAITING}", query=CREATING))
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert all(valid for valid, _ in indexes(items).values())
    if items.dialect.driver == "psycopg":
        assert indexes(items) == {}


def test_a_task_that_is_cancelled_leaves_nothing(items: Engine) -> None:
    async def work() -> None:
        engine = create_async_engine(items.url.set(drivername="postgresql+psycopg"), pool_size=1, max_overflow=0)
        try:
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.run_sync(create_index, INDEX, CHOSEN)
        finally:
            await engine.dispose()

    async def cancelled() -> None:
        task = asyncio.create_task(work())
        await asyncio.to_thread(wait_for_waiting, items)
        task.cancel()
        await asyncio.to_thread(wait_until, lambda: value(items, f"SELECT count(*) = 0 {WAITING}", query=CREATING))
        await asyncio.to_thread(writer.rollback)
        with pytest.raises(asyncio.CancelledError):
            await task

    with writing(items) as writer:
        asyncio.run(cancelled())
    assert indexes(items) == {}


# Two at once

POLLING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%'"


def test_two_that_build_the_same_index_build_it_once(items: Engine, log: pytest.LogCaptureFixture) -> None:
    with writing(items):
        first = Running(items, build)
        wait_for_waiting(items)
        second = Running(items, build)
        wait_until(lambda: value(items, POLLING))
    first.succeeded()
    second.succeeded()
    assert indexes(items) == {NAME: (True, 4)}
    assert log.text.count("building ix_items") == 1
    assert "waiting for another process that changes the indexes of items" in log.text


@pytest.mark.parametrize("statement", ["CREATE INDEX CONCURRENTLY", "CREATE INDEX"])
def test_an_index_that_somebody_else_is_building_is_waited_for(
    items: Engine, log: pytest.LogCaptureFixture, statement: str
) -> None:
    """An administrator by hand, that is: invalid until it is done, and not to be dropped under their hands."""
    by_hand = create_sql(INDEX, items).replace("CREATE INDEX", statement)

    def administer(engine: Engine) -> None:
        with autocommit(engine) as connection:
            connection.exec_driver_sql(by_hand)

    with writing(items):
        other = Running(items, administer)
        wait_for_waiting(items, "CREATE INDEX%")
        builder = Running(items, build)
        wait_until(
            lambda: value(items, POLLING) or value(items, f"SELECT count(*) > 1 {WAITING}", query="CREATE INDEX%")
        )
    other.succeeded()
    builder.succeeded()
    assert indexes(items) == {NAME: (True, 4)}
    assert "building ix_items" not in log.text or statement == "CREATE INDEX"


def test_a_build_that_loses_a_deadlock_with_somebody_elses_is_done_again(
    items: Engine, log: pytest.LogCaptureFixture
) -> None:
    """Who comes second waits for the table with a snapshot, for which the first waits before it is done."""
    run(items, f"ALTER DATABASE {items.url.database} SET deadlock_timeout = '50ms'")
    by_hand = INDEX.named("by_hand").create_sql(concurrently=True)

    def administer(engine: Engine) -> None:
        with autocommit(engine) as connection:
            connection.exec_driver_sql("SET deadlock_timeout = '10min'")
            connection.exec_driver_sql(by_hand)

    with writing(items):
        builder = Running(items, build)
        wait_for_waiting(items)
        other = Running(items, administer)
        wait_until(lambda: value(items, f"SELECT count(*) = 2 {WAITING}", query=CREATING))
    other.succeeded()
    builder.succeeded()
    assert indexes(items) == {NAME: (True, 4), "by_hand": (True, 4)}
    assert "somebody else is building on items: looking again" in log.text


def test_clearing_up_does_not_get_in_the_way_of_somebody_elses_build(
    items: Engine, log: pytest.LogCaptureFixture
) -> None:
    """To wait for the table, it would hold the snapshot for which that build waits."""
    run(items, create_sql(INDEX, items))
    invalidate(items, NAME)

    def administer(engine: Engine) -> None:
        with autocommit(engine) as connection:
            connection.exec_driver_sql(INDEX.named("by_hand").create_sql(concurrently=True))

    with writing(items):
        other = Running(items, administer)
        wait_for_waiting(items)
        with autocommit(items) as connection:
            site = Site(connection, int(str(oid(items, "items"))), "items", "public", False, NAME)
            site._clean_up(NAME, session.backend_of(connection))
    other.succeeded()
    assert "ix_items may be left half-built (the server process" in warnings_of(log)[0]


def test_a_build_of_another_role_is_waited_for(items: Engine, log: pytest.LogCaptureFixture) -> None:
    """The progress view hides from us what it builds on."""
    role = f"owner_{items.url.database}"
    run(items, f"CREATE ROLE {role}", f"GRANT CREATE ON SCHEMA public TO {role}", f"ALTER TABLE items OWNER TO {role}")

    def administer(engine: Engine) -> None:
        with autocommit(engine) as connection:
            connection.exec_driver_sql(INDEX.create_sql(concurrently=True))

    def work(engine: Engine) -> None:
        with autocommit(engine) as connection:
            connection.exec_driver_sql(f"SET ROLE {role}")
            create_index(connection, INDEX, CHOSEN)
            connection.exec_driver_sql("RESET ROLE")

    try:
        with writing(items):
            other = Running(items, administer)
            wait_for_waiting(items)
            builder = Running(items, work)
            wait_until(lambda: value(items, POLLING))
        other.succeeded()
        builder.succeeded()
        assert indexes(items) == {NAME: (True, 4)}
        assert "building ix_items" not in log.text
    finally:
        run(items, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


# Changing an index that serves


class Searching:
    """Searches all the time, and sees that each has an index to use.

    Attributes:
        used: The indexes that were used.
    """

    def __init__(self, engine: Engine) -> None:
        self.used: set[str] = set()
        self._engine = engine
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._search()
        except BaseException as exc:  # noqa: BLE001 -- handed to the test
            self._failures.append(exc)

    def _search(self) -> None:
        with self._engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
            plan = "\n".join(
                connection.exec_driver_sql(
                    "EXPLAIN SELECT id FROM items ORDER BY embedding <-> '[1,2,3]' LIMIT 5"
                ).scalars()
            )
        assert "Index Scan using " in plan, plan
        self.used |= {line.split("using ")[1].split()[0] for line in plan.splitlines() if "Index Scan using" in line}

    def __enter__(self) -> Searching:
        self._thread.start()
        wait_until(lambda: self.used or self._failures)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert self._failures == []


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that has read the table: no build waits for it, but an index is not dropped before it ends."""
    with engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE items IN ACCESS SHARE MODE")
        yield connection
        connection.rollback()


def test_an_index_is_changed_while_searches_use_it(items: Engine) -> None:
    build(items)
    with Searching(items) as searching:
        with writing(items):
            builder = Running(items, lambda engine: build(engine, CHANGED, replace_index))
            wait_for_waiting(items)
            assert indexes(items) == {NAME: (True, 4), NEW: (False, 6)}
        builder.succeeded()
    assert indexes(items) == {NAME: (True, 6)}
    assert NAME in searching.used


def test_the_comment_and_the_tablespace_are_kept(items: Engine) -> None:
    space = f"space_{items.url.database}"
    with autocommit(items) as connection:
        connection.exec_driver_sql("SET allow_in_place_tablespaces = true")
        connection.exec_driver_sql(f"CREATE TABLESPACE {space} LOCATION ''")
        connection.exec_driver_sql("RESET allow_in_place_tablespaces")
    build(items)
    run(items, f"ALTER INDEX {NAME} SET TABLESPACE {space}", f"COMMENT ON INDEX {NAME} IS 'by and for the search'")
    build(items, CHANGED, replace_index)
    assert value(items, f"SELECT tablespace FROM pg_indexes WHERE indexname = '{NAME}'") == space
    assert value(items, f"SELECT obj_description('{NAME}'::regclass)") == "by and for the search"
    run(items, f"DROP INDEX {NAME}")
    with autocommit(items) as connection:
        connection.exec_driver_sql(f"DROP TABLESPACE {space}")


def test_a_change_to_what_is_there_changes_nothing(items: Engine) -> None:
    build(items)
    before = oid(items, NAME)
    build(items, INDEX, replace_index)
    assert oid(items, NAME) == before


def test_where_there_is_no_index_or_an_invalid_one_it_is_built(items: Engine) -> None:
    build(items, CHANGED, replace_index)
    assert indexes(items) == {NAME: (True, 6)}
    invalidate(items, NAME)
    build(items, INDEX, replace_index)
    assert indexes(items) == {NAME: (True, 4)}


# What a run can leave behind: the indexes in order of their names, and which of them are invalid.
LEFT = {
    "the new one half-built": ([INDEX, CHANGED.named(NEW)], [NEW]),
    "the new one built": ([INDEX, CHANGED.named(NEW)], []),
    "the new one of a run that wanted another": ([INDEX, replace(INDEX, options={"m": 5}).named(NEW)], []),
    "the old one after the swap": ([CHANGED, INDEX.named(OLD)], []),
    "the old one half-dropped": ([CHANGED, INDEX.named(OLD)], [OLD]),
    "the new one beside an equal one": ([CHANGED, CHANGED.named(NEW)], []),
    "the old one of a change before": ([INDEX, replace(INDEX, options={"m": 5}).named(OLD)], []),
    "an invalid one, the new one built": ([INDEX, CHANGED.named(NEW)], [NAME]),
    "the new one only": ([CHANGED.named(NEW)], []),
    "an invalid one and the old one": ([CHANGED, INDEX.named(OLD)], [NAME]),
}


@pytest.mark.parametrize("left", list(LEFT))
def test_a_change_that_was_cut_off_is_finished(items: Engine, left: str) -> None:
    there, invalid = LEFT[left]
    run(items, *(create_sql(index, items) for index in there))
    built = oid(items, NEW)
    for name in invalid:
        invalidate(items, name)
    if NAME in invalid or there == [CHANGED.named(NEW)]:
        build(items, CHANGED, replace_index)
    else:
        with Searching(items):
            build(items, CHANGED, replace_index)
    assert indexes(items) == {NAME: (True, 6)}
    if left in ("the new one built", "an invalid one, the new one built", "the new one only"):
        assert oid(items, NAME) == built


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_change_that_is_ended_while_it_builds_leaves_the_old_index_alone(items: Engine, how: str) -> None:
    build(items)
    with Searching(items):
        with writing(items):
            builder = Running(items, lambda engine: build(engine, CHANGED, replace_index))
            end(items, how)
        assert isinstance(builder.failed(), DBAPIError)
    assert indexes(items) == {NAME: (True, 4)}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_change_that_is_ended_after_the_swap_is_finished_by_the_next(items: Engine, how: str) -> None:
    build(items)
    with Searching(items):
        with reading(items):
            builder = Running(items, lambda engine: build(engine, CHANGED, replace_index))
            wait_for_waiting(items, DROPPING)
            end(items, how, DROPPING)
            assert isinstance(builder.failed(), DBAPIError)
            assert indexes(items)[NAME] == (True, 6)
            assert OLD in indexes(items)
        build(items, CHANGED, replace_index)
    assert indexes(items) == {NAME: (True, 6)}


@contextmanager
def holding(engine: Engine, index: str) -> Iterator[Connection]:
    """A transaction that holds the lock on an index that a rename needs."""
    with engine.connect() as connection:
        connection.exec_driver_sql(f"COMMENT ON INDEX {index} IS 'held'")
        yield connection
        connection.rollback()


@pytest.mark.usefixtures("impatient")
def test_the_swap_is_tried_until_it_gets_its_lock(items: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LOCK_TRIES", 1000)
    build(items)
    with Searching(items):
        with holding(items, NAME):
            builder = Running(items, lambda engine: build(engine, CHANGED, replace_index))
            wait_for_waiting(items, "DO $$%RENAME%")
            assert indexes(items) == {NAME: (True, 4), NEW: (True, 6)}
            wait_until(lambda: value(items, POLLING))
        builder.succeeded()
    assert indexes(items) == {NAME: (True, 6)}


@pytest.mark.usefixtures("impatient")
def test_a_swap_that_gets_no_lock_leaves_the_new_index_for_the_next_run(
    items: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOCK_TRIES", 2)
    build(items)
    with holding(items, NAME), pytest.raises(DBAPIError, match="lock timeout"):
        build(items, CHANGED, replace_index)
    assert indexes(items) == {NAME: (True, 4), NEW: (True, 6)}
    built = oid(items, NEW)
    build(items, CHANGED, replace_index)
    assert indexes(items) == {NAME: (True, 6)}
    assert oid(items, NAME) == built


# Dropping


def dropping(engine: Engine) -> None:
    with autocommit(engine) as connection:
        drop_index(connection, NAME, None)


def test_an_index_is_dropped_while_others_read_and_write(items: Engine) -> None:
    build(items)
    with reading(items) as reader:
        dropper = Running(items, dropping)
        wait_for_waiting(items, DROPPING)
        run(items, "INSERT INTO items VALUES (1000, '[1,2,3]')")
        assert reader.exec_driver_sql("SELECT count(*) FROM items").scalar_one() == 301
    dropper.succeeded()
    assert indexes(items) == {}


def test_what_is_not_there_or_invalid_is_dropped_as_well(items: Engine) -> None:
    dropping(items)
    build(items)
    invalidate(items, NAME)
    dropping(items)
    assert indexes(items) == {}


def test_a_table_is_no_index_to_drop(items: Engine) -> None:
    with autocommit(items) as connection, pytest.raises(DatabaseError, match="items is no index to drop: it is table"):
        drop_index(connection, "items", "public")


def test_an_index_that_is_being_built_is_dropped_when_it_is_done(items: Engine) -> None:
    with writing(items):
        builder = Running(items, build)
        wait_for_waiting(items)
        dropper = Running(items, dropping)
        wait_until(lambda: value(items, POLLING))
    builder.succeeded()
    dropper.succeeded()
    assert indexes(items) == {}


# Partitions

LEAVES = {"part_1", "part_2_low", "part_2_high"}


@pytest.fixture
def parts(empty_engine: Engine) -> Engine:
    """A database with a partitioned table, one of whose partitions is partitioned itself."""
    run(
        empty_engine,
        "CREATE EXTENSION vector",
        "CREATE TABLE items (id int, embedding vector(3)) PARTITION BY RANGE (id)",
        "CREATE TABLE part_1 PARTITION OF items FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE part_2 PARTITION OF items FOR VALUES FROM (100) TO (300) PARTITION BY RANGE (id)",
        "CREATE TABLE part_2_low PARTITION OF part_2 FOR VALUES FROM (100) TO (200)",
        "CREATE TABLE part_2_high PARTITION OF part_2 FOR VALUES FROM (200) TO (300)",
        ROWS.format("items", "", 1, 299),
    )
    return empty_engine


def leaves(engine: Engine) -> dict[str, tuple[int, int]]:
    """Return oid and m of the valid indexes under the index, by the partition."""
    sql = f"""
        SELECT x.indrelid::regclass::text, i.oid::bigint, split_part(i.reloptions[1], '=', 2)::int
        FROM pg_partition_tree('{NAME}') JOIN pg_index x ON x.indexrelid = relid JOIN pg_class i ON i.oid = relid
        WHERE isleaf AND x.indisvalid
    """
    with engine.begin() as connection:
        return {table: (number, m) for table, number, m in connection.execute(text(sql))}


@pytest.mark.parametrize("how", [create_index, replace_index])
def test_a_partitioned_table_gets_its_index_part_by_part_while_others_write(parts: Engine, how: Build) -> None:
    with writing(parts, "part_2_low"):
        builder = Running(parts, lambda engine: build(engine, how=how))
        wait_for_waiting(parts)
        run(parts, "INSERT INTO items VALUES (150, '[1,2,3]')")
    builder.succeeded()
    assert set(leaves(parts)) == LEAVES
    assert set(indexes(parts).values()) == {(True, 4)}
    built = leaves(parts)
    build(parts, how=how)
    assert leaves(parts) == built


def test_a_partitioned_index_that_differs_is_not_touched(parts: Engine) -> None:
    build(parts)
    with pytest.raises(DatabaseError, match=r"exists and differs: m 4 to 6"):
        build(parts, CHANGED)


def test_a_build_on_partitions_goes_on_where_it_was_ended(parts: Engine) -> None:
    with writing(parts, "part_2_low"):
        builder = Running(parts, build)
        end(parts, "pg_terminate_backend")
    assert isinstance(builder.failed(), DBAPIError)
    before = leaves(parts)
    assert before
    assert set(before) < LEAVES
    build(parts)
    assert leaves(parts).items() > before.items()
    assert {valid for valid, _ in indexes(parts).values()} == {True}


def test_the_index_of_a_partitioned_table_is_changed_while_searches_use_it(parts: Engine) -> None:
    build(parts)
    with Searching(parts):
        for index in (CHANGED, INDEX, CHANGED):
            build(parts, index, replace_index)
            assert {m for _, m in leaves(parts).values()} == {index.options["m"]}
            assert len(indexes(parts)) == 5
        with writing(parts, "part_2_low"):
            builder = Running(parts, lambda engine: build(engine, INDEX, replace_index))
            end(parts, "pg_cancel_backend")
        assert isinstance(builder.failed(), DBAPIError)
        assert {m for _, m in leaves(parts).values()} == {6}
        build(parts, INDEX, replace_index)
    assert set(indexes(parts).values()) == {(True, 4)}
    assert len(indexes(parts)) == 5


def test_half_an_index_of_another_definition_on_partitions_makes_room(parts: Engine) -> None:
    run(parts, CHANGED.create_sql(concurrently=False, only=True))
    build(parts)
    assert set(indexes(parts).values()) == {(True, 4)}


@pytest.mark.usefixtures("impatient")
def test_the_index_of_a_partitioned_table_is_dropped_with_a_short_lock(parts: Engine) -> None:
    build(parts)
    with reading(parts):
        dropper = Running(parts, dropping)
        wait_until(lambda: value(parts, POLLING))
    dropper.succeeded()
    assert indexes(parts) == {}


def test_a_partition_on_another_server_is_an_error_before_anything_is_built(parts: Engine) -> None:
    run(
        parts,
        "CREATE FOREIGN DATA WRAPPER elsewhere",
        "CREATE SERVER far FOREIGN DATA WRAPPER elsewhere",
        "CREATE FOREIGN TABLE part_3 PARTITION OF items FOR VALUES FROM (300) TO (400) SERVER far",
    )
    with pytest.raises(DatabaseError, match="ix_items cannot become valid: part_3 has its rows on another server"):
        build(parts)
    assert indexes(parts) == {}


# Offline


def offline(index: VectorIndex, engine: Engine, settings: BuildSettings = CHOSEN) -> list[str]:
    return building.offline_create(index, settings)


def one_by_one(engine: Engine, statements: list[str]) -> None:
    with autocommit(engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.fixture
def psql(server: EmbeddedServer, items: Engine) -> Callable[..., str]:
    """Runs statements with psql, and returns what the last one printed."""
    url = items.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def run(statements: list[str], last: str) -> str:
        script = "".join(f"{statement.strip()};\n" for statement in statements)
        assert "%" not in script
        command = [str(server.binary("psql")), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url]
        done = subprocess.run(command, input=f"{script}{last};\n", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    return run


SETTINGS_SQL = """
    SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN (
        'statement_timeout', 'lock_timeout', 'search_path', 'maintenance_work_mem', 'max_parallel_maintenance_workers'
    )
"""


def test_psql_does_what_is_printed_and_has_its_settings_back(items: Engine, psql: Callable[..., str]) -> None:
    before = ["SET statement_timeout = '50s'", "SET lock_timeout = '50s'"]
    usual = psql(before, SETTINGS_SQL)
    run(items, create_sql(CHANGED, items))
    invalidate(items, NAME)
    assert psql([*before, *offline(INDEX, items, BuildSettings("20MB", 1))], SETTINGS_SQL) == usual
    assert indexes(items) == {NAME: (True, 4)}
    for _ in range(2):
        statements = building.offline_replace(CHANGED, BuildSettings("20MB", 1))
        assert psql([*before, *statements], SETTINGS_SQL) == usual
        assert indexes(items) == {NAME: (True, 6)}
    assert psql([*before, *building.offline_drop(NAME, "public")], SETTINGS_SQL) == usual
    assert indexes(items) == {}


def test_printed_memory_and_workers_are_those_that_the_caller_named(items: Engine) -> None:
    printed = "\n".join(offline(INDEX, items, BuildSettings("20MB", 1)))
    assert "'20MB'" in printed
    assert "'20MB'" not in "\n".join(offline(INDEX, items))


def test_a_printed_build_takes_no_index_that_may_be_another(items: Engine) -> None:
    run(items, create_sql(CHANGED, items))
    with pytest.raises(DBAPIError, match="already exists"):
        one_by_one(items, offline(INDEX, items))
    assert indexes(items) == {NAME: (True, 6)}


def test_printed_statements_may_hold_any_name(items: Engine, psql: Callable[..., str]) -> None:
    name = "ix '$$' $d$ \\"
    for statements in (
        offline(INDEX.named(name), items),
        building.offline_replace(CHANGED.named(name)),
    ):
        psql(statements, "SELECT 1")
    assert indexes(items) == {name: (True, 6)}


@pytest.mark.parametrize("taken", [NEW, OLD])
def test_a_printed_change_drops_nothing_of_another_table(items: Engine, taken: str) -> None:
    run(items, "CREATE TABLE other (id int)", f"CREATE INDEX {taken} ON other (id)")
    with pytest.raises(DBAPIError, match=f"{taken} is no index of items to drop: it is btree index of other"):
        one_by_one(items, building.offline_replace(CHANGED))
    assert oid(items, taken)


@pytest.mark.parametrize(
    "left",
    [
        "the new one half-built",
        "the new one of a run that wanted another",
        "the old one after the swap",
        "the new one only",
    ],
)
def test_a_printed_change_that_failed_can_be_run_again(items: Engine, psql: Callable[..., str], left: str) -> None:
    there, invalid = LEFT[left]
    run(items, *(create_sql(index, items) for index in there))
    for name in invalid:
        invalidate(items, name)
    psql(building.offline_replace(CHANGED), "SELECT 1")
    assert indexes(items) == {NAME: (True, 6)}
