"""On Django's connection a session has all that it has on one of ours, and changes nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import text
from sqlalchemy.engine import URL

from pgcorpus.errors import ConfigError, SearchTimeoutError
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.search.cursors import kept_cursor
from pgcorpus.vectors import Array
from tests.support import django_host
from tests.support.django_shop import add, article, documents, settings
from tests.support.vectors import random_vectors

pytestmark = pytest.mark.usefixtures("django")


@pytest.fixture(scope="module")
def vectors() -> Array:
    return random_vectors(20, 1536)


# The guest's manners


def state_of(connection: Any) -> Any:
    return (
        connection.autocommit,
        connection.isolation_level,
        connection.prepare_threshold,
        connection.row_factory,
        connection.cursor_factory,
        connection.adapters.types.get("vector"),
        connection.adapters.get_loader(3802, 0),
        connection.adapters.get_loader(1184, 0),
        len(connection._notice_handlers),
        connection.closed,
        connection.info.transaction_status,
    )


def test_nothing_of_djangos_connection_is_changed(vectors: Array) -> None:
    from django.db import connection

    from pgcorpus.integrations.django import session

    with connection.cursor() as cursor:
        cursor.execute("SELECT '[1]'::vector")  # loads the extension, and so its settings
    raw, before, set_before = connection.connection, state_of(connection.connection), settings()
    with session() as shared:
        repository = add(shared, vectors)
        repository.search(vectors[0], ef_search=400)
        repository.search(vectors[0], where={"source": "s"})
        assert settings() != set_before
    assert connection.connection is raw
    assert state_of(raw) == before
    assert settings() == set_before
    assert article().extra == {"a": [1]}
    assert type(article()).objects.values_list("extra", flat=True)[0] == {"a": [1]}


@pytest.mark.parametrize(
    "options",
    [{}, {"server_side_binding": True, "prepare_threshold": 0}, {"pool": {"min_size": 1, "max_size": 2}}],
    ids=["plain", "server-side", "pool"],
)
def test_searches_run_on_a_kept_cursor_in_binary_on_any_connection_of_djangos(
    django: URL, vectors: Array, options: dict[str, Any]
) -> None:
    from pgcorpus.integrations.django import session

    with django_host.django_on(django, OPTIONS=options, DISABLE_SERVER_SIDE_CURSORS=True):
        with session() as shared:
            repository = add(shared, vectors, number=20)
            line = kept_cursor(shared.connection())
            assert line is not None
            assert line.format == 1
            for _ in range(7):  # psycopg would prepare what it sees often
                hits = repository.search(vectors[3], k=2, include_embedding=True)
            assert np.allclose(hits[0].document.embedding, vectors[3])
            assert line.rownumber is not None
            assert len(list(repository.export())) == 20
        with session() as shared:
            repository = DocumentRepository(shared, "c")
            assert shared.scalar(text("SELECT embedding FROM pgcorpus.documents WHERE key = 'k1'")).dtype == np.float32
            nearest = "SELECT key FROM pgcorpus.documents ORDER BY embedding <=> :v LIMIT 1"
            assert shared.scalar(text(nearest), {"v": vectors[7]}) == "k7"
            assert repository.search(vectors[4], k=1, entities=True)[0].document.key == "k4"
            assert repository.search_text("c5")[0].document.key == "k5"
            streamed = shared.execute(text("SELECT key FROM pgcorpus.documents").execution_options(yield_per=5))
            assert len(streamed.all()) == 20


def test_a_search_that_takes_too_long_costs_nobody_the_transaction(vectors: Array) -> None:
    from django.db import connection, transaction

    from pgcorpus.integrations.django import session

    slow = "CREATE FUNCTION slow(text) RETURNS bool LANGUAGE sql AS 'SELECT pg_sleep(60) IS NOT NULL'"
    with transaction.atomic():
        with session() as shared:
            repository = add(shared, vectors)
            shared.execute(text(slow))
            shared.execute(text("ALTER TABLE pgcorpus.documents ENABLE ROW LEVEL SECURITY"))
            shared.execute(text("ALTER TABLE pgcorpus.documents FORCE ROW LEVEL SECURITY"))
            shared.execute(text("CREATE POLICY slowly ON pgcorpus.documents USING (slow(key))"))
            shared.execute(text("CREATE ROLE reader"))
            shared.execute(text("GRANT USAGE ON SCHEMA pgcorpus TO reader"))
            shared.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA pgcorpus TO reader"))
            shared.execute(text("SET LOCAL ROLE reader"))
            with pytest.raises(SearchTimeoutError):
                repository.search(vectors[0], timeout=0.05)
            shared.execute(text("RESET ROLE"))
            article()
        assert not connection.needs_rollback
        transaction.set_rollback(True)
    assert connection.connection.info.transaction_status == TransactionStatus.IDLE
    assert settings()[3] == "0"


def test_a_load_goes_by_copy(vectors: Array) -> None:
    from pgcorpus.integrations.django import repository, session

    with session():
        rows = [{"key": str(i), "content": "c", "meta": {"i": i}, "embedding": vectors[i]} for i in range(20)]
        assert repository("c").bulk_load(rows) == 20
        assert repository("c").search(vectors[9], k=1)[0].document.meta == {"i": 9}


def test_an_extension_off_the_search_path_is_found(django: URL, vectors: Array) -> None:
    from django.db import connection

    from pgcorpus.integrations.django import session

    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA elsewhere")
        cursor.execute("ALTER EXTENSION vector SET SCHEMA elsewhere")
    connection.close()
    with session() as shared:
        assert add(shared, vectors).search(vectors[1], k=1)[0].document.key == "k1"


# Which database


@pytest.fixture
def other_engines(django: URL) -> Iterator[None]:
    from tests.support.django_databases import databases_on

    databases = databases_on(django, ENGINE="tests.hosts.django_project.backend")
    databases["lite"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    with django_host.django_on(django, databases):
        yield


def test_any_backend_on_postgresql_serves_and_another_is_refused_by_its_alias(
    other_engines: None, vectors: Array
) -> None:
    from pgcorpus.integrations.django import engine, session

    with session() as shared:
        add(shared, vectors)
    with session("replica") as shared:
        assert add(shared, vectors, "more").count() == 3
    assert documents("replica") == 6
    with pytest.raises(ConfigError, match=r"'lite'.*sqlite.*ENGINE"), session("lite"):
        pytest.fail("it was opened")
    with pytest.raises(ConfigError, match="no alias 'nowhere', but default, replica, lite"):
        engine("nowhere")
