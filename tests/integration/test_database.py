"""Engines know vectors on both drivers, in any schema, with and without the extension."""

import asyncio
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pgvector
import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, NullPool, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pgcorpus import schema
from pgcorpus.database import (
    async_autocommit,
    async_session_factory,
    autocommit,
    create_async_engine,
    create_engine,
    register_vector_types,
    session_factory,
)
from pgcorpus.errors import VectorError
from pgcorpus.models import Collection, Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.search import settings as transactions
from tests.support.vectors import random_vectors, unit

SQL_DISTANCE = "SELECT '[1,0,0]'::vector <=> %s"


def asynchronous(url: URL, **options: object) -> AsyncEngine:
    return create_async_engine(url.set(drivername="postgresql+psycopg"), **options)  # type: ignore[arg-type]


def test_a_raw_cursor_takes_and_returns_vectors(engine: Engine) -> None:
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        for value in (np.array([1, 0, 0], np.float32), pgvector.Vector([1, 0, 0])):
            cursor.execute(SQL_DISTANCE, (value,))
            assert cursor.fetchone()[0] == 0  # type: ignore[index]
        cursor.execute("SELECT '[1,2,3]'::vector, NULL::vector, ARRAY['[1,2,3]'::vector]")
        vector, null, array = cursor.fetchone()  # type: ignore[misc]
        assert vector.dtype == np.float32
        assert vector.tolist() == array[0].tolist() == [1, 2, 3]
        assert null is None


def test_the_orm_sends_binary_on_psycopg_3_and_text_on_psycopg2(engine: Engine) -> None:
    statement = select(Document.id).order_by(Document.embedding.cosine_distance(unit(0)))
    processor = statement.compile(engine)._bind_processors.popitem()[1]  # type: ignore[attr-defined]
    sent = processor(unit(0))
    assert isinstance(sent, str) == (engine.dialect.driver == "psycopg2")


def test_an_engine_older_than_our_import_still_works(url: URL) -> None:
    """SQLAlchemy copies psycopg's adapters when an engine is made; without ours the vector goes as text."""
    engine = sqlalchemy.create_engine(url)
    if engine.dialect.driver == "psycopg":
        from psycopg.adapt import AdaptersMap
        from psycopg.postgres import adapters

        pristine = AdaptersMap(types=adapters.types)
        for source, target in zip(adapters._dumpers.values(), pristine._dumpers.values(), strict=True):
            target.update({key: dumper for key, dumper in source.items() if "pgcorpus" not in str(key)})
        engine.dialect._psycopg_adapters_map = pristine  # type: ignore[attr-defined]
    processor = select(Document.embedding.cosine_distance(unit(0))).compile(engine)
    assert processor._bind_processors.popitem()[1](unit(0)).startswith("[1,0")  # type: ignore[attr-defined]


def test_a_wrong_length_is_refused_before_the_server_is_asked(engine: Engine) -> None:
    with session_factory(engine)() as session, pytest.raises(VectorError, match="expected 1536"):
        session.scalars(select(Document).order_by(Document.embedding.l2_distance([1.0, 2.0]))).all()


def test_every_distance_is_that_of_pgvector(engine: Engine) -> None:
    left, right = random_vectors(2)
    with session_factory(engine).begin() as session:
        DocumentRepository(session).add(Document(content="x", embedding=left))
        row = session.execute(
            select(
                Document.embedding.cosine_distance(right),
                Document.embedding.l2_distance(right),
                Document.embedding.max_inner_product(right),
                Document.embedding.l1_distance(right),
            )
        ).one()
    cosine = 1 - left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    expected = [cosine, np.linalg.norm(left - right), -(left @ right), np.abs(left - right).sum()]
    assert np.allclose(row, expected, rtol=1e-4)


def test_a_database_without_the_extension_can_be_connected_to(empty_engine: Engine) -> None:
    with empty_engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_the_extension_may_live_off_the_search_path(empty_url: URL) -> None:
    admin = create_engine(empty_url, poolclass=NullPool)
    with admin.begin() as connection:
        connection.execute(text('CREATE SCHEMA "my extensions"'))
        connection.execute(text('CREATE EXTENSION vector SCHEMA "my extensions"'))
    schema.upgrade(admin)
    schema.check(admin)
    engine = create_engine(empty_url)
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session)
        repository.add_many([Document(content=str(i), embedding=unit(i)) for i in range(5)])
        for metric in ("cosine", "l2", "inner_product", "l1"):
            assert repository.search(unit(3), 1, metric=metric)[0].document.content == "3"
        cursor = session.connection().connection.cursor()
        cursor.execute("""SELECT '[1,0,0]'::"my extensions".vector""")
        assert cursor.fetchone()[0].tolist() == [1, 0, 0]  # type: ignore[index]
    engine.dispose()
    schema.downgrade(admin, "base")
    schema.upgrade(admin)


def test_the_autocommit_view_reads_without_a_transaction_and_searches(engine: Engine) -> None:
    with session_factory(engine).begin() as session:
        DocumentRepository(session).add(Document(content="x", embedding=unit(0)))
    with session_factory(autocommit(engine))() as session:
        hits = DocumentRepository(session).search(unit(0), 1)
        assert hits[0].document.content == "x"
        cursor = session.connection().connection.cursor()
        DocumentRepository(session).search(unit(0), 1, ef_search=321)
        cursor.execute("SELECT now() = statement_timestamp(), current_setting('hnsw.ef_search', true)")
        assert cursor.fetchone() == (True, "160"), "the search's settings outlived it"


NAMES = ("hnsw.ef_search", "hnsw.iterative_scan", "plan_cache_mode", "statement_timeout")


def settings(connection: Connection) -> list[str]:
    return [connection.scalar(text("SELECT current_setting(:name, true)"), {"name": name}) or "" for name in NAMES]


def test_our_connections_carry_the_defaults_so_a_search_sends_none(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with session_factory(engine)() as session:
        repository = DocumentRepository(session)
        repository.add(Document(content="x", embedding=unit(0)))
        assert settings(session.connection()) == ["160", "relaxed_order", "auto", "0"]
        sent: list[Any] = []
        execute = transactions.execute_batch
        monkeypatch.setattr(
            transactions, "execute_batch", lambda c, commands: (sent.append(commands), execute(c, commands))
        )
        repository.search(unit(0), 1)
        assert sent == []
        repository.search(unit(0), 1, ef_search=1)
        repository.search(unit(0), 1)
        assert len(sent) == 2, "after a search with settings of its own the next one sets the defaults"
        assert settings(session.connection())[0] == "160"


def test_a_reconnect_loses_no_setting(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("RESET ALL"))
        assert settings(connection)[0] == "160"
        connection.invalidate()
        connection.rollback()
        assert settings(connection)[:3] == ["160", "relaxed_order", "auto"]


@pytest.mark.parametrize("options", [{}, {"ef_search": 321}, {"timeout": 60}])
def test_a_search_leaves_no_setting_in_a_hosts_pool(url: URL, options: dict[str, Any]) -> None:
    host = sqlalchemy.create_engine(url, pool_size=1)
    with session_factory(host)() as session:
        DocumentRepository(session).ensure_collection()
        DocumentRepository(session).search(unit(0), 1, **options)
    with host.connect() as connection:
        assert settings(connection) == ["40", "off", "auto", "0"]
    host.dispose()


def test_a_callers_own_options_stay(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = "-c work_mem=7MB -c hnsw.ef_search=77"
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=9MB")
    for engine, expected in (
        (create_engine(url.update_query_dict({"options": mine})), ["77", "7MB"]),
        (create_engine(url, connect_args={"options": mine}), ["77", "7MB"]),
        (create_engine(url), ["160", "9MB"]),
    ):
        with engine.connect() as connection:
            assert [connection.scalar(text(f"SHOW {name}")) for name in ("hnsw.ef_search", "work_mem")] == expected
        with session_factory(engine)() as session:
            DocumentRepository(session).add(Document(content="x", embedding=unit(0)))
            DocumentRepository(session).search(unit(0), 1)
            assert settings(session.connection())[0] == "160", "a default search has the default recall"
        engine.dispose()


def test_behind_a_pooler_nothing_is_asked_for_at_connect(url: URL) -> None:
    engine = create_engine(url, pgbouncer=True)
    with session_factory(engine)() as session:
        DocumentRepository(session).add(Document(content="x", embedding=unit(0)))
        DocumentRepository(session).search(unit(0), 1)
        assert settings(session.connection())[0] == "160"
    with engine.connect() as connection:
        assert settings(connection)[0] == "40"
    engine.dispose()


def test_the_statement_timeout_is_in_seconds(url: URL) -> None:
    engine = create_engine(url, statement_timeout=0.1)
    with engine.connect() as connection, pytest.raises(DBAPIError, match="statement timeout"):
        connection.execute(text("SELECT pg_sleep(5)"))
    engine.dispose()


def test_a_connection_that_the_server_closed_is_replaced(engine: Engine) -> None:
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    killer = create_engine(engine.url, poolclass=NullPool)
    with killer.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != pid


def test_behind_pgbouncer_nothing_is_prepared(url: URL) -> None:
    engine = create_engine(url, pgbouncer=True)
    with session_factory(engine)() as session:
        DocumentRepository(session).ensure_collection()
        for _ in range(8):
            DocumentRepository(session).search(unit(0), 1)
        assert session.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
    engine.dispose()


def test_a_hosts_engine_is_taught_once(url: URL) -> None:
    engine = sqlalchemy.create_engine(url)
    for _ in range(2):
        register_vector_types(engine)
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        cursor.execute(SQL_DISTANCE, (unit(0, 3),))
        assert cursor.fetchone()[0] == 0  # type: ignore[index]
    engine.dispose()


def test_async_sessions_register_search_and_read_without_a_transaction(url: URL) -> None:
    async def main() -> None:
        engine = asynchronous(url, pool_size=2)
        async with async_session_factory(engine).begin() as session:
            session.add(Collection(name="default"))
            await session.flush()
            raw = await session.connection()
            result = await raw.exec_driver_sql(SQL_DISTANCE, (unit(0, 3),))
            assert result.scalar_one() == 0
        async with async_session_factory(async_autocommit(engine))() as session:
            assert (await session.scalars(select(Collection.name))).all() == ["default"]
        await engine.dispose()

    asyncio.run(main())


def test_two_databases_of_one_server_keep_their_own_schema(make_database: Callable[..., URL], template: str) -> None:
    """What one engine learns of its database does not reach another's statements."""
    hidden = create_engine(make_database(), poolclass=NullPool)
    with hidden.begin() as connection:
        connection.execute(text("CREATE SCHEMA extensions"))
        connection.execute(text("CREATE EXTENSION vector SCHEMA extensions"))
    plain = create_engine(make_database(template), poolclass=NullPool)
    statement = select(Document.embedding.cosine_distance(unit(0)))
    for engine, expected in ((hidden, "OPERATOR(extensions.<=>)"), (plain, " <=> ")):
        with engine.connect():
            pass
        assert expected in str(statement.compile(engine))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("own", [True, False], ids=["an engine of ours", "a host's engine"])
def test_a_forked_process_has_connections_of_its_own_and_leaves_those_of_its_parent(url: URL, own: bool) -> None:
    engine = create_engine(url) if own else sqlalchemy.create_engine(url)
    register_vector_types(engine)
    backend = text("SELECT pg_backend_pid()")
    with engine.connect() as held, engine.connect() as pooled:
        before = {held.scalar(backend), pooled.scalar(backend)}
        pooled.close()
        assert _in_child(lambda: _backends(engine).isdisjoint(before))
        assert {held.scalar(backend), *_backends(engine)} == before
    engine.dispose()


def _backends(engine: Engine) -> set[int]:
    with engine.connect() as connection:
        return {connection.execute(text("SELECT pg_backend_pid()")).scalar_one()}


def _in_child(check: Callable[[], bool]) -> bool:
    """Return whether a check holds in a forked process, which ends without the tests' own clearing up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads: the tests' server has some
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
