"""A connection of psycopg or psycopg2 knows vectors after one call, and its page says nothing that does not run."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pgvector
import psycopg
import psycopg2
import psycopg2.extras
import pytest
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import Engine
from sqlalchemy.engine import URL

import pgcorpus
from pgcorpus.errors import DatabaseError, ExtensionError

PAGE = Path(__file__).parents[2] / "docs" / "psycopg.md"
IDLE, IN_TRANSACTION, FAILED = TransactionStatus.IDLE, TransactionStatus.INTRANS, TransactionStatus.INERROR


def dsn_of(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def dsn(url: URL) -> str:
    return dsn_of(url)


@pytest.fixture
def empty_dsn(empty_url: URL) -> str:
    return dsn_of(empty_url)


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn) as connection:
        pgcorpus.register(connection)
        yield connection
        connection.rollback()


def test_the_page_runs_from_top_to_bottom(dsn: str) -> None:
    names: dict[str, Any] = {"dsn": dsn}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE.name, "exec", dont_inherit=True), names)  # noqa: S102 -- our own text
    assert names["nearest"][1].tolist() == [0, 1, 0]
    assert names["distances"] == pytest.approx((1 - 0.5**0.5, 1, -1, 1))
    assert [hit[0] for hit in names["hits"]] == [1, 2]
    assert names["count"] == 1_002
    assert len(names["found"]) == 5
    assert names["row"][0] == names["found"][0]


def test_importing_the_package_loads_no_driver() -> None:
    code = "import sys, pgcorpus; print(sorted({'psycopg', 'psycopg2', 'sqlalchemy', 'numpy'} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


VALUES: list[tuple[str, Any, Callable[[Any], Any]]] = [
    ("vector", np.array([1, 2, 3]), lambda value: value.tolist()),
    ("vector", pgvector.Vector([1, 2, 3]), lambda value: value.tolist()),
    ("halfvec", pgvector.HalfVector([1, 2, 3]), lambda value: value.to_list()),
    ("sparsevec", pgvector.SparseVector([1, 2, 3]), lambda value: value.to_list()),
    ("bit(3)", pgvector.Bit([True, False, True]), list),
]
EXPECTED = {"bit(3)": ["1", "0", "1"]}


@pytest.mark.parametrize(("type_", "value", "plain"), VALUES)
@pytest.mark.parametrize("binary", [False, True])
def test_values_go_and_come_back(
    connection: psycopg.Connection[Any], type_: str, value: Any, plain: Callable[[Any], Any], binary: bool
) -> None:
    connection.execute(f"CREATE TABLE t (v {type_})")
    connection.execute("INSERT INTO t VALUES (%s), (NULL)", [value])
    if type_ == "bit(3)" and binary:
        pytest.skip("psycopg reads bits as text only")
    rows = connection.cursor(binary=binary).execute("SELECT v FROM t ORDER BY v NULLS LAST").fetchall()
    assert plain(rows[0][0]) == EXPECTED.get(type_, [1, 2, 3])
    assert rows[1][0] is None


@pytest.mark.parametrize("binary", [False, True])
def test_lists_of_vectors_go_and_come_back(connection: psycopg.Connection[Any], binary: bool) -> None:
    given = [np.array([1, 2]), np.array([3, 4])]
    cursor = connection.cursor(binary=binary)
    (found,) = cursor.execute("SELECT %s::vector[]", [given]).fetchone() or ()
    assert [each.tolist() for each in found] == [[1, 2], [3, 4]]
    assert all(each.dtype == np.float32 for each in found)
    found = cursor.execute("SELECT v FROM unnest(%s) v", [given]).fetchall()
    assert len(found) == 2


def test_psycopg2_knows_the_same_types(dsn: str) -> None:
    connection = psycopg2.connect(dsn, cursor_factory=psycopg2.extras.RealDictCursor)
    pgcorpus.register(connection)
    assert connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    with connection.cursor() as cursor:
        for type_, value, plain in VALUES:
            cursor.execute(f"SELECT %s::{type_} AS v, NULL::{type_} AS n", [value])
            row = cursor.fetchone()
            assert row is not None
            assert plain(row["v"]) == EXPECTED.get(type_, [1, 2, 3])
            assert row["n"] is None
        cursor.execute("SELECT %s::vector[] AS v", [[np.array([1, 2]), np.array([3, 4])]])
        assert [each.tolist() for each in (cursor.fetchone() or {})["v"]] == [[1, 2], [3, 4]]
        pgcorpus.register(connection)  # inside a transaction, which goes on
        assert connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_INTRANS
    connection.rollback()
    connection.close()


def test_the_transaction_is_as_it_was(dsn: str) -> None:
    for autocommit in (False, True):
        with psycopg.connect(dsn, autocommit=autocommit, row_factory=dict_row) as connection:
            pgcorpus.register(connection)
            assert (connection.info.transaction_status, connection.autocommit) == (IDLE, autocommit)
            with connection.transaction():
                connection.execute("CREATE TEMPORARY TABLE t (n int)")
                pgcorpus.register(connection)
                assert connection.info.transaction_status == IN_TRANSACTION
                assert connection.execute("SELECT count(*) AS n FROM t").fetchone() == {"n": 0}
            assert connection.info.transaction_status == IDLE


def test_an_extension_off_the_search_path_is_found(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "my types"; CREATE EXTENSION vector SCHEMA "my types"')
        pgcorpus.register(connection)
        row = connection.execute("""SELECT %s OPERATOR("my types".<=>) %s, %s""", [np.ones(2)] * 3).fetchone()
        assert row is not None
        assert row[0] == pytest.approx(0)
        assert row[1].tolist() == [1, 1]


def test_a_database_without_the_extension_says_what_to_do(empty_dsn: str) -> None:
    async def asynchronous() -> None:
        async with await psycopg.AsyncConnection.connect(empty_dsn) as connection:
            with pytest.raises(ExtensionError, match="CREATE EXTENSION vector"):
                await pgcorpus.register_async(connection)
            assert connection.info.transaction_status == IDLE

    with psycopg.connect(empty_dsn) as connection:
        with pytest.raises(ExtensionError, match=r"no pgvector in the database 'test_\w+'.*pgcorpus migrate upgrade"):
            pgcorpus.register(connection)
        assert connection.info.transaction_status == IDLE
    older = psycopg2.connect(empty_dsn)
    with pytest.raises(ExtensionError):
        pgcorpus.register(older)
    older.close()
    asyncio.run(asynchronous())


def test_what_is_no_usable_connection_is_refused(dsn: str, engine: Engine) -> None:
    async def asynchronous() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(DatabaseError, match=r"await pgcorpus\.register_async"):
                pgcorpus.register(connection)
        with pytest.raises(DatabaseError, match="closed"):
            await pgcorpus.register_async(connection)
        with pytest.raises(DatabaseError, match="expected a connection"):
            await pgcorpus.register_async(psycopg)  # type: ignore[arg-type]

    asyncio.run(asynchronous())
    with psycopg.connect(dsn) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute("nonsense")
        with pytest.raises(DatabaseError, match="roll it back"):
            pgcorpus.register(connection)
        assert connection.info.transaction_status == FAILED
    for closed in (connection, psycopg2.connect(dsn)):
        closed.close()
        with pytest.raises(DatabaseError, match="closed"):
            pgcorpus.register(closed)
    with pytest.raises(DatabaseError, match="not Engine"):
        pgcorpus.register(engine)


def test_a_pool_gets_its_connections_idle(dsn: str) -> None:
    with ConnectionPool(dsn, configure=pgcorpus.register, min_size=2, timeout=20) as pool:
        pool.wait(20)
        for _ in range(4):
            with pool.connection() as connection:
                row = connection.execute("SELECT %s <-> %s", [np.zeros(2), np.array([3, 4])]).fetchone()
                assert row == (5,)


def test_an_async_pool_gets_its_connections_idle(dsn: str) -> None:
    async def main() -> Any:
        pool = AsyncConnectionPool(dsn, configure=pgcorpus.register_async, min_size=2, timeout=20, open=False)
        async with pool:
            await pool.wait(20)
            async with pool.connection() as connection:
                cursor = await connection.execute("SELECT %s::vector(2)", [pgvector.Vector([3, 4])])
                return await cursor.fetchone()

    assert asyncio.run(main())[0].tolist() == [3, 4]
