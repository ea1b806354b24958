"""A database is examined from wherever an app stands: in its transaction, async, as a reader, on a standby, cheaply."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, scoped_session

from pgcorpus import schema
from pgcorpus.database import autocommit, create_async_engine, create_engine, session_factory
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.errors import ConfigError, DatabaseError
from pgcorpus.models import Collection
from pgcorpus.services.doctor import Severity, examine, examine_async
from tests.support.sickness import run, scalar

DROP = "DROP INDEX pgcorpus.ix_documents_embedding"


def codes(findings: list[Any]) -> list[str]:
    return [finding.code for finding in findings]


# In a transaction of the host's


def test_in_a_session_nothing_is_flushed_and_the_transaction_goes_on(engine: Engine) -> None:
    with session_factory(engine)() as session:
        session.add(Collection(name="stored"))
        session.flush()
        session.execute(text(DROP))
        session.add(Collection(name="pending"))
        assert codes(examine(session)) == ["index-missing"]
        assert [each.name for each in session.new] == ["pending"]
        session.commit()
    assert codes(examine(engine)) == ["index-missing"]
    assert scalar(engine, "SELECT count(*) FROM pgcorpus.collections") == 2


def test_a_scoped_session_stands_for_its_session(engine: Engine) -> None:
    sessions = scoped_session(session_factory(engine))
    assert examine(sessions) == []
    assert sessions().in_transaction()
    sessions.remove()


def test_a_connection_is_left_as_it_was(engine: Engine) -> None:
    with engine.connect() as connection:
        assert examine(connection) == []
        assert not connection.in_transaction()
        with connection.begin():
            connection.execute(text(DROP))
            assert codes(examine(connection)) == ["index-missing"]
            assert connection.in_transaction()
    with autocommit(engine).connect() as connection:
        assert codes(examine(connection)) == ["index-missing"]
        assert connection.scalar(text("SELECT pg_current_xact_id_if_assigned()")) is None


FAILING = """
    CREATE VIEW pgcorpus.collections AS
    SELECT id, name, tenant_id, embedding_model, shadow_of, retired_at, retired_at_id, language, created_at,
           CAST(1 / (id - id) AS text) AS distance FROM pgcorpus.hidden
"""


@pytest.fixture
def failing(engine: Engine) -> Engine:
    """A database in which to read the collections is an error."""
    run(
        engine,
        "INSERT INTO pgcorpus.collections (name) VALUES ('one')",
        "ALTER TABLE pgcorpus.collections RENAME TO hidden",
        FAILING,
    )
    return engine


def test_what_fails_inside_leaves_the_hosts_transaction_usable(failing: Engine) -> None:
    run(failing, "CREATE TABLE mine ()", "DROP INDEX pgcorpus.ix_documents_embedding")
    told = ["index-missing", "not-examined"]
    with session_factory(failing)() as session:
        session.execute(text("CREATE TABLE its ()"))
        findings = examine(session)
        assert codes(findings) == told, "one question that fails keeps no other from being answered"
        assert findings[1].severity is Severity.WARNING
        assert "division by zero" in findings[1].evidence
        session.commit()
    with failing.connect() as connection:
        assert codes(examine(connection)) == told
        assert not connection.in_transaction()
        assert connection.scalar(text("SELECT count(*) FROM its")) == 0


def test_a_transaction_that_has_failed_before_is_refused(engine: Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="nonsense"):
            connection.execute(text("SELECT nonsense"))
        with pytest.raises(DatabaseError, match="aborted"):
            examine(connection)


# Async


def test_async_binds_say_the_same(url: URL, tmp_path: Path) -> None:
    asyncio.run(examine_async_binds(url, tmp_path))


async def examine_async_binds(url: URL, tmp_path: Path) -> None:
    target = url.set(drivername="postgresql+psycopg")
    engine = create_async_engine(target)
    nowhere = create_async_engine(target.update_query_dict({"host": str(tmp_path)}))
    assert await examine_async(engine) == []
    async with engine.begin() as connection:
        await connection.execute(text(DROP))
        assert codes(await examine_async(connection)) == ["index-missing"]
    async with AsyncSession(engine) as session:
        assert codes(await examine_async(session)) == ["index-missing"]
    assert codes(await examine_async(nowhere)) == ["server-unreachable"]
    with pytest.raises(ConfigError, match="give an Engine, a Connection or a Session, not AsyncEngine"):
        examine(engine)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give an AsyncEngine"):
        await examine_async(engine.sync_engine)  # type: ignore[arg-type]
    await engine.dispose()


# Who may only read


def test_where_nothing_can_be_written_it_looks_all_the_same(url: URL) -> None:
    engine = create_engine(url, connect_args={"options": "-c default_transaction_read_only=on"})
    assert examine(engine) == []
    with Session(engine) as session:
        assert examine(session) == []
    engine.dispose()


@pytest.fixture(scope="module")
def standby(reachable_directory: Path) -> Iterator[URL]:
    """A hot standby whose schema is behind; it waits for a primary that never comes."""
    server = EmbeddedServer(reachable_directory / "standby", {"fsync": "off", "shared_buffers": "32MB"})
    with server:
        engine = create_engine(server.url)
        schema.upgrade(engine, "pgcorpus_0005")
        data = Path(str(scalar(engine, "SHOW data_directory")))
        engine.dispose()
    (data / "standby.signal").touch()
    os.chown(data / "standby.signal", data.stat().st_uid, data.stat().st_gid)
    with server:
        yield make_url(server.url)


def test_a_standby_is_examined_and_mended_on_its_primary(standby: URL, url: URL) -> None:
    engine = create_engine(standby.set(drivername=url.drivername))
    assert scalar(engine, "SELECT pg_is_in_recovery()")
    (finding,) = examine(engine)
    assert finding.code == "schema-behind"
    assert finding.remedy.startswith("On the primary")
    with Session(engine) as session:
        assert examine(session) == [finding]
        assert session.scalars(select(Collection.name)).all() == []
    engine.dispose()


# What it costs


@pytest.fixture
def sent(engine: Engine) -> list[tuple[str, Any]]:
    """What is sent to the server, with its parameters."""
    statements: list[tuple[str, Any]] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", hear)
    return statements


def test_a_brief_examination_is_two_statements(engine: Engine, sent: list[tuple[str, Any]]) -> None:
    assert examine(engine, brief=True) == []
    assert len(sent) == 2
    assert examine(engine) == []
    assert 2 < len(sent) - 2 < 20


def test_of_a_large_table_some_rows_are_read_by_the_key(engine: Engine, sent: list[tuple[str, Any]]) -> None:
    """No index knows a NULL: to count those without an embedding would be to read the table."""
    run(
        engine,
        "INSERT INTO pgcorpus.collections (name, embedding_model) VALUES ('many', 'm')",
        "INSERT INTO pgcorpus.documents (collection_id, content) SELECT 1, 'x' FROM generate_series(1, 5000)",
        "ANALYZE pgcorpus.documents",
    )
    assert codes(examine(engine)) == ["documents-waiting"]
    statement, parameters = next(each for each in sent if "'waiting'" in each[0])
    with engine.connect() as connection:
        plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
    assert "Index Scan Backward using pk_documents" in plan
    assert "Seq Scan on documents" not in plan


def test_prepared_statements_outlive_an_examination(url: URL) -> None:
    """psycopg forgets all of them after a ROLLBACK."""
    if "psycopg2" in url.drivername:
        pytest.skip("psycopg2 prepares nothing")
    engine = create_engine(url, pool_size=1)
    with engine.connect() as connection:
        for _ in range(7):
            connection.scalar(text("SELECT 1 AS mine"))
        connection.commit()
        assert examine(connection) == []
        with connection.begin():
            assert examine(connection) == []
        found = connection.scalar(text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%mine%'"))
        assert found
    engine.dispose()
