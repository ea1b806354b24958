"""Requests, threads, async views, Django's own test runner and its commands."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from sqlalchemy import Engine, NullPool, text
from sqlalchemy.engine import URL

from pgcorpus.database import create_engine
from tests.support import django_host

REQUESTS, THREADS = 200, 8


def answer(path: str) -> tuple[int, Any]:
    """Have a request answered as a WSGI server would, up to the signal of its end."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import RequestFactory

    status: list[str] = []
    response = WSGIHandler()(RequestFactory().get(path).environ, lambda said, _headers: status.append(said))
    body = b"".join(response)
    response.close()
    return int(status[0].split()[0]), json.loads(body) if status[0].startswith("200") else None


def in_threads(paths: list[str], last: Any = lambda: None) -> list[Any]:
    """Answer requests in threads, each of which does something last; return what those did."""

    def work(mine: list[str]) -> Any:
        assert {answer(path)[0] for path in mine} == {200, 500}
        return last()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, [paths[i::THREADS] for i in range(THREADS)]))


def requests() -> list[str]:
    """Every third fails."""
    return [f"/remember/{'x' * i}/" + ("?fail" if i % 3 == 0 else "") for i in range(1, REQUESTS + 1)]


def connections_to(url: URL) -> int:
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    return one(url, f"SELECT count(*) FROM pg_stat_activity WHERE {others}")


def one(url: URL, statement: str) -> Any:
    engine: Engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return connection.scalar(text(statement))


@pytest.mark.parametrize("keep", [0, None], ids=["closed", "kept"])
def test_two_hundred_requests_on_eight_threads_leave_no_connection_and_no_setting(
    django_url: URL, keep: int | None
) -> None:
    def last() -> Any:
        from django.db import connections

        status, settings = answer("/settings/")
        assert status == 200
        connections.close_all()
        return settings

    with django_host.django_on(django_url, ATOMIC_REQUESTS=True, CONN_MAX_AGE=keep):
        found = in_threads(requests(), last)
    default = {"hnsw.ef_search": "40", "hnsw.iterative_scan": "off", "plan_cache_mode": "auto"}
    assert found == [default | {"statement_timeout": "0", "role": "none"}] * THREADS
    assert connections_to(django_url) == 0
    failed = sum("fail" in path for path in requests())
    assert one(django_url, "SELECT count(*) FROM pgcorpus.documents") == REQUESTS - failed
    assert one(django_url, "SELECT count(*) FROM shop_article") == REQUESTS - failed


def test_an_async_view_uses_it_in_a_thread_and_not_in_the_loop(django: URL) -> None:
    from django.core.exceptions import SynchronousOnlyOperation

    from pgcorpus.integrations.django import session

    def work() -> Any:
        with session() as shared:
            return shared.scalar(text("SELECT pg_backend_pid()"))

    async def view() -> tuple[Any, Any]:
        with pytest.raises(SynchronousOnlyOperation), session():
            pass
        return await sync_to_async(work)(), await sync_to_async(work)()

    with django_host.django_on(django, CONN_MAX_AGE=None):
        first, second = async_to_sync(view)()
        assert first == second == work()


def test_a_session_is_of_use_in_its_own_thread_only(django: URL) -> None:
    from django.db import DatabaseError

    from pgcorpus.integrations.django import session

    with session() as shared, ThreadPoolExecutor(1) as pool, pytest.raises(DatabaseError, match="thread"):
        pool.submit(shared.execute, text("SELECT 1")).result()


def test_djangos_own_test_runner_rolls_back_and_drops_its_database(django_url: URL, django_template: str) -> None:
    tests = "tests.hosts.django_project.shop.tests"
    done = django_host.manage(django_url, "test", tests, SHOP_TEST_TEMPLATE=django_template)
    assert "Ran 6 tests" in done.stderr
    assert "OK" in done.stderr
    assert one(django_url, f"SELECT count(*) FROM pg_database WHERE datname = 'test_{django_url.database}'") == 0
    assert one(django_url, "SELECT count(*) FROM pgcorpus.documents") == 0


def test_djangos_commands_see_nothing_of_ours(url: URL) -> None:
    ours = "relnamespace = 'pgcorpus'::regnamespace"
    tables = f"SELECT array_agg(oid::regclass::text ORDER BY 1) FROM pg_class WHERE {ours}"
    before = one(url, tables)
    with django_host.django_on(url):
        from io import StringIO

        from django.core.management import call_command
        from django.test import override_settings

        with override_settings(DATABASE_ROUTERS=["tests.hosts.test_django_requests.NoRouter"]):
            call_command("makemigrations", check=True, dry_run=True, verbosity=0)
            call_command("migrate", verbosity=0)
            call_command("check", stdout=StringIO())
            from pgcorpus.integrations.django import session

            with session() as shared:
                assert shared.scalar(text("SELECT 1")) == 1
    assert one(url, tables) == before
    assert one(url, "SELECT array_agg(DISTINCT app) FILTER (WHERE app LIKE 'pg%') FROM django_migrations") is None


class NoRouter:
    """Knows Django's own apps only."""

    def __getattr__(self, name: str) -> Any:
        def asked(*args: Any, **hints: Any) -> None:
            assert "pgcorpus" not in map(str, args)

        return asked
