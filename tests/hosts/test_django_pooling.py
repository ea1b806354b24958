"""An engine of our own follows Django's settings: where, as whom, and which of its options are libpq's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from pgcorpus.errors import ConfigError
from pgcorpus.services.chunking import Passage
from pgcorpus.services.sources import Source
from pgcorpus.testing import HashEmbedder
from tests.support import django_host
from tests.support.django_host import failing
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("django")

EMBEDDER = HashEmbedder(1536)


@pytest.fixture(autouse=True)
def no_pool_left(django: URL) -> Iterator[None]:
    yield
    from pgcorpus.integrations.django.pooling import dispose

    dispose()


def said(engine: Engine, expression: str) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text(f"SELECT {expression}"))


# The engine


def test_there_is_one_engine_for_an_alias_until_its_database_is_another(django: URL, url: URL) -> None:
    from django.db import connections

    from pgcorpus.integrations.django import engine

    first = engine()
    assert engine("default") is first
    assert engine("replica") is not first
    assert said(first, "current_database()") == django.database
    pool = first.pool
    # What a test run of Django's does.
    connections["default"].settings_dict["NAME"] = url.database
    other = engine()
    assert said(other, "current_database()") == url.database
    assert (other is first, first.pool is pool) == (False, False)


def test_its_connections_are_ours_whatever_djangos_are(django: URL) -> None:
    from pgcorpus.integrations.django import engine

    own = {"pool": True, "server_side_binding": True, "isolation_level": psycopg.IsolationLevel.SERIALIZABLE}
    libpq = {"options": "-c search_path=shop,public -c work_mem=5MB", "sslmode": "disable", "application_name": "shop"}
    with django_host.django_on(django, OPTIONS=own | libpq):
        made = engine()
        assert said(made, "current_setting('transaction_isolation')") == "serializable"
        assert said(made, "current_setting('search_path')") == "shop,public"
        assert said(made, "current_setting('work_mem')") == "5MB"
        assert said(made, "current_setting('application_name')") == "shop"
        assert said(made, "current_setting('hnsw.ef_search')") == "160"
        with made.connect() as connection:
            raw: Any = connection.connection.driver_connection
            assert (raw.cursor_factory, raw.prepare_threshold) == (psycopg.Cursor, 5)
            assert connection.scalar(text("SELECT '[1]'::jsonb")) == [1]


def test_behind_a_pooler_in_transaction_mode_nothing_is_prepared_or_set(django: URL) -> None:
    from pgcorpus.integrations.django import engine

    with django_host.django_on(django, DISABLE_SERVER_SIDE_CURSORS=True):
        made = engine()
        assert said(made, "current_setting('hnsw.ef_search', true)") is None
        with made.connect() as connection:
            raw: Any = connection.connection.driver_connection
            assert raw.prepare_threshold is None


def test_it_takes_on_the_role_that_django_does(django: URL) -> None:
    from pgcorpus.integrations.django import engine, pooled_session

    with pooled_session() as session:
        session.execute(text('CREATE ROLE "a role"'))
    with django_host.django_on(django, OPTIONS={"assume_role": "a role"}):
        assert said(engine(), "current_user") == "a role"
        engine().dispose()
    with pooled_session() as session:
        session.execute(text('DROP ROLE "a role"'))


def test_a_service_names_the_place(django: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    from pgcorpus.integrations.django import engine

    place = settings.DATABASES["default"]
    (tmp_path / "services").write_text(
        f"[shop]\nhost={place['HOST']}\nport={place['PORT']}\ndbname={place['NAME']}\nuser={place['USER']}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    nameless = {"NAME": "", "USER": "", "PASSWORD": "", "HOST": "", "PORT": ""}
    with django_host.django_on(django, OPTIONS={"service": "shop"}, **nameless):
        assert said(engine(), "current_database()") == django.database


def test_the_url_names_a_host_and_hides_the_password(django: URL) -> None:
    from pgcorpus.integrations.django import engine

    with django_host.django_on(django, HOST="db.example", PORT="6432", USER="shop", PASSWORD="s3cret", NAME="shop"):
        assert str(engine().url) == "postgresql+psycopg://shop:***@db.example:6432/shop"
        assert "s3cret" not in repr(engine())


def test_a_pooled_session_commits_in_the_end_and_rolls_back_on_an_error() -> None:
    from django.db import transaction

    from pgcorpus.integrations.django import pooled_session

    with transaction.atomic():
        with pooled_session() as session:
            session.execute(text("INSERT INTO pgcorpus.collections (name) VALUES ('kept')"))
        transaction.set_rollback(True)
    with failing(pooled_session()) as session:
        session.execute(text("INSERT INTO pgcorpus.collections (name) VALUES ('lost')"))
    with pooled_session("replica") as session:
        assert session.scalars(text("SELECT name FROM pgcorpus.collections")).all() == ["kept"]


def test_a_test_database_that_django_is_to_drop_is_let_go(django: URL) -> None:
    from django.db import connection

    from pgcorpus.integrations.django import engine

    backend = said(engine(), "pg_backend_pid()")
    connection.close()
    with connection._nodb_cursor() as cursor:  # as create_test_db() and destroy_test_db() do

        def is_gone() -> bool:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [backend])
            return cursor.fetchone()[0] == 0

        wait_until(is_gone)


# settings.PGCORPUS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"COLECTION": "a"}, r"settings.PGCORPUS: .*COLECTION.*COLLECTION"),
        ({"DATABASE_URL": "postgresql://u:s3cret@h/d"}, "name an alias of settings.DATABASES"),
        ({"DATABASE": "nowhere"}, "no alias 'nowhere'"),
        ({"EMBEDDER": "tests.support.nothing.here"}, "EMBEDDER: No module named 'tests.support.nothing'"),
        ({"ENGINE_OPTIONS": 5}, "ENGINE_OPTIONS"),
        (["COLLECTION"], "is a dictionary, not list"),
    ],
)
def test_a_wrong_setting_is_named(given: Any, message: str) -> None:
    from django.test import override_settings

    from pgcorpus.integrations.django import host

    with override_settings(PGCORPUS=given), pytest.raises(ConfigError, match=message) as caught:
        host()
    assert "s3cret" not in str(caught.value)


def test_settings_are_read_again_where_a_test_overrides_them(django: URL) -> None:
    from django.test import override_settings

    from pgcorpus.integrations.django import engine, host, session

    assert host().settings.collection == "default"
    given = {"DATABASE": "replica", "COLLECTION": "help", "ENGINE_OPTIONS": {"connect_args": {"application_name": "a"}}}
    with override_settings(PGCORPUS=given):
        assert host().settings.collection == "help"
        assert host() is host("replica")
        assert said(engine(), "current_setting('application_name')") == "a"
        with session() as shared:
            raw: Any = shared.connection().connection.driver_connection
            assert not raw.autocommit
    assert host().settings.collection == "default"


def test_what_the_settings_name_is_used_in_the_session_around_or_on_the_pool() -> None:
    from django.db import transaction
    from django.test import override_settings

    from pgcorpus.integrations.django import answerer, ingestor, repository, retriever, session

    path = f"{__name__}.EMBEDDER"
    texts = {"a": "How to return a parcel", "b": "How to pay"}
    sources = [Source(name, len(body), lambda body=body: [Passage(body)]) for name, body in texts.items()]
    with override_settings(PGCORPUS={"EMBEDDER": path, "COLLECTION": "help"}):
        with transaction.atomic(), session() as shared:
            assert ingestor().ingest(sources).passages == 2
            assert repository().count() == 2
            assert retriever().retrieve("return a parcel", 1)[0].document.source == "a"
            assert answerer(extractive=True).answer("return a parcel").text
            with failing(shared.begin_nested()):
                repository().delete(everything=True)
        assert retriever().retrieve("pay", 1)[0].document.source == "b"
        EMBEDDER.texts.clear()
        with failing(session()):
            assert ingestor("other").ingest(sources).cached == 2
        assert EMBEDDER.texts == []
