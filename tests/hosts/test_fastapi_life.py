"""The beginning and the end of an app on FastAPI or Starlette, and what its dependencies refuse."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import create_async_engine as sqlalchemy_create_async_engine
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from pgcorpus.database import create_async_engine, create_engine
from pgcorpus.errors import ConfigError, SchemaError, UnreachableError
from pgcorpus.integrations.fastapi import PgCorpus
from pgcorpus.models import Document
from pgcorpus.testing import HashEmbedder
from tests.support.vectors import unit
from tests.support.waiting import wait_until


def asynchronous(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg")


def named(name: str) -> dict[str, Any]:
    return {"connect_args": {"application_name": name}}


def are_closed(engine: Engine, name: str) -> None:
    """Wait until an app has no connection: the server ends one a moment after its client."""
    found = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")

    def none_is_left() -> bool:
        with engine.connect() as connection:
            return connection.scalar(found, {"name": name}) == 0

    wait_until(none_is_left, 20)


def request() -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": []})


async def rows(corpus: PgCorpus) -> int:
    async with corpus.sessions() as session:
        return int(await session.scalar(text("SELECT 1")) or 0)


def route(corpus: PgCorpus) -> Route:
    async def endpoint(_request: Request) -> JSONResponse:
        return JSONResponse(await rows(corpus))

    return Route("/", endpoint)


@pytest.fixture(scope="module")
def migrated(make_database: Callable[..., URL], template: str) -> URL:
    return asynchronous(make_database(template))


def test_a_database_without_the_schema_stops_the_start_and_leaves_no_connection(
    empty_engine: Engine, empty_url: URL
) -> None:
    corpus = PgCorpus(asynchronous(empty_url), engine_options=named("not migrated"))
    with pytest.raises(SchemaError, match="pgcorpus migrate upgrade"), TestClient(FastAPI(lifespan=corpus.lifespan)):
        pass
    are_closed(empty_engine, "not migrated")
    with pytest.raises(ConfigError, match="not started"):
        _ = corpus.engine


def test_the_check_of_the_schema_can_be_left_out(empty_url: URL) -> None:
    corpus = PgCorpus(asynchronous(empty_url), check_schema=False)
    with TestClient(Starlette(routes=[route(corpus)], lifespan=corpus.lifespan)) as client:
        assert client.get("/").json() == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"database_url": "postgresql://localhost:1/none"}, UnreachableError),
        ({"database_url": "postgresql+psycopg2://localhost/none"}, ConfigError),
        ({"embedder": "nobody"}, ConfigError),
        ({"embedder": "openai"}, ConfigError),
        ({}, ConfigError),
    ],
)
def test_what_is_wrong_with_the_settings_stops_the_start(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error), TestClient(FastAPI(lifespan=PgCorpus(**settings).lifespan)):
        pass


def test_a_setting_of_the_wrong_kind_is_named_without_its_value() -> None:
    with pytest.raises(ConfigError) as caught:
        PgCorpus(openai_api_key=["secret"])  # type: ignore[arg-type]
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_engine_and_a_url_are_not_given_both() -> None:
    with pytest.raises(ConfigError, match="not both"):
        PgCorpus("postgresql://localhost/x", engine=create_async_engine("postgresql://localhost/x"))


def test_an_engine_is_refused_at_once_that_is_not_async_or_not_on_psycopg() -> None:
    asyncpg = sqlalchemy_create_async_engine("postgresql+asyncpg://localhost/x")
    for engine in (create_engine("postgresql://localhost/x"), asyncpg):
        with pytest.raises(ConfigError, match=r"an AsyncEngine on psycopg"):
            PgCorpus(engine=engine)  # type: ignore[arg-type]


def test_an_app_on_trio_is_told_that_asyncio_is_needed() -> None:
    app = Starlette(lifespan=PgCorpus("postgresql://localhost/x").lifespan)
    with pytest.raises(ConfigError, match="asyncio"), TestClient(app, backend="trio"):
        pass


@pytest.mark.parametrize("tenant", ["", 5])
def test_a_tenant_that_is_no_name_is_refused_at_once(tenant: Any) -> None:
    with pytest.raises(ConfigError, match="must"):
        PgCorpus().scoped(tenant)


def test_before_and_after_the_lifespan_the_error_says_how_to_start(migrated: URL) -> None:
    corpus = PgCorpus(migrated)

    async def use() -> None:
        with pytest.raises(ConfigError, match=r"lifespan=corpus\.lifespan"):
            await anext(corpus.session(request()))
        async with corpus.lifespan():
            assert await rows(corpus) == 1
        with pytest.raises(ConfigError, match="TestClient"):
            await anext(corpus.repository(request()))

    asyncio.run(use())


def test_one_object_serves_several_apps_loops_and_threads(migrated: URL, engine: Engine) -> None:
    corpus = PgCorpus(migrated, engine_options=named("many"))

    def client(_number: int) -> tuple[int, int]:
        with TestClient(Starlette(routes=[route(corpus)], lifespan=corpus.lifespan)) as client:
            return client.get("/").json(), client.get("/").json()

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(client, range(6))) == [(1, 1)] * 6
    are_closed(engine, "many")


def test_a_mounted_app_has_the_engine_of_the_outer_one(migrated: URL) -> None:
    corpus = PgCorpus(migrated)
    inner = Starlette(routes=[route(corpus)])
    with TestClient(Starlette(routes=[Mount("/inner", inner)], lifespan=corpus.lifespan)) as client:
        assert client.get("/inner/").json() == 1


def test_the_engine_stays_until_the_last_lifespan_of_a_loop_has_ended(migrated: URL, engine: Engine) -> None:
    corpus = PgCorpus(migrated, engine_options=named("nested"))

    async def use() -> None:
        async with corpus.lifespan():
            outer = corpus.engine
            async with corpus.lifespan():
                assert corpus.engine is outer
            assert await rows(corpus) == 1

    asyncio.run(use())
    are_closed(engine, "nested")


def test_it_is_part_of_a_lifespan_of_the_apps_own(migrated: URL, engine: Engine) -> None:
    corpus = PgCorpus(migrated, engine_options=named("own lifespan"))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        async with corpus.lifespan(app):
            yield {"answer": await rows(corpus)}
            raise RuntimeError("the app's own end is at fault")

    with pytest.raises(RuntimeError), TestClient(Starlette(lifespan=lifespan)) as client:
        assert client.app_state["answer"] == 1
    are_closed(engine, "own lifespan")


def test_an_engine_of_the_apps_own_is_used_and_left_open(migrated: URL) -> None:
    async def use() -> None:
        own = create_async_engine(migrated)
        corpus = PgCorpus(engine=own)
        async with corpus.lifespan():
            assert corpus.engine is own
            assert await rows(corpus) == 1
        assert own.pool.checkedin() == 1  # type: ignore[attr-defined]
        await own.dispose()

    asyncio.run(use())


def test_the_sessions_of_a_request_are_one_until_the_last_is_given_back(migrated: URL) -> None:
    async def use() -> None:
        corpus = PgCorpus(migrated)
        async with corpus.lifespan():
            connection = request()
            first, second = corpus.session(connection), corpus.session(connection)
            session = await anext(first)
            assert await anext(second) is session
            await session.scalar(text("SELECT 1"))
            await first.aclose()
            assert session.in_transaction()
            await second.aclose()
            with pytest.raises(InvalidRequestError, match="closed"):
                await session.scalar(text("SELECT 1"))
            assert corpus.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
            assert await anext(corpus.session(request())) is not session

    asyncio.run(use())


def test_a_request_that_is_cancelled_gives_its_connection_back(migrated: URL, engine: Engine) -> None:
    async def slow(corpus: PgCorpus) -> None:
        async for session in corpus.session(request()):
            await session.execute(text("SELECT pg_sleep(600)"))

    async def use() -> None:
        corpus = PgCorpus(migrated, engine_options=named("cancelled") | {"pool_size": 1, "max_overflow": 0})
        async with corpus.lifespan():
            for _ in range(3):
                work = asyncio.create_task(slow(corpus))
                await asyncio.to_thread(wait_until, lambda: sleeping(engine))
                work.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await work
                await asyncio.to_thread(wait_until, lambda: not sleeping(engine))
            assert await rows(corpus) == 1

    def sleeping(engine: Engine) -> bool:
        with engine.connect() as connection:
            found = "SELECT true FROM pg_stat_activity WHERE application_name = 'cancelled' AND state = 'active'"
            return bool(connection.scalar(text(found)))

    asyncio.run(use())


def test_scripts_have_transactions_of_their_own(migrated: URL) -> None:
    """`sessions.begin()` commits what a block did, or nothing of it."""

    async def use() -> list[int]:
        corpus, counts = PgCorpus(migrated, collection="scripts"), []
        async with corpus.lifespan():
            for fails in (False, True):
                try:
                    async with corpus.sessions.begin() as session:
                        await corpus.host.repository(session).add(Document(content="x", embedding=unit(1)))
                        assert not fails
                except AssertionError:
                    pass
                async with corpus.sessions() as session:
                    counts.append(await corpus.host.repository(session).count())
        return counts

    assert asyncio.run(use()) == [1, 1]


def test_a_dependency_that_is_no_coroutine_finds_the_host_from_its_thread(migrated: URL) -> None:
    async def use() -> None:
        corpus = PgCorpus(migrated, embedder=HashEmbedder())
        async with corpus.lifespan():
            assert await asyncio.to_thread(lambda: corpus.host) is corpus.host

    asyncio.run(use())


def test_starlette_is_enough_and_what_is_missing_is_named() -> None:
    program = """
import sys
from pgcorpus.errors import MissingExtraError
sys.modules["fastapi"] = None
from pgcorpus.integrations.fastapi import PgCorpus
try:
    PgCorpus().scoped("acme")
except MissingExtraError as error:
    print(error)
del sys.modules["pgcorpus.integrations.fastapi"]
sys.modules["starlette.requests"] = None
try:
    import pgcorpus.integrations.fastapi
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.count("pip install 'pgcorpus[fastapi]'") == 2, done.stderr
