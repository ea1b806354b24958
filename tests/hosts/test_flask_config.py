"""What a Flask app says of pgcorpus: read once, checked when it is read, and each app's own."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.engine import URL

from pgcorpus.errors import ConfigError
from pgcorpus.integrations.flask import PgCorpus
from pgcorpus.testing import HashEmbedder

# Never connected to.
NOWHERE = "postgresql://nobody:hunter2@127.0.0.1:1/none"


def app_with(**config: Any) -> Flask:
    app = Flask("app")
    app.config |= config
    return app


@pytest.fixture
def here(url: URL) -> Iterator[Flask]:
    app = app_with(PGCORPUS_DATABASE_URL=url)
    yield app
    with app.app_context():
        app.extensions["pgcorpus"].dispose()


def test_an_app_given_to_the_constructor_is_initialized(here: Flask) -> None:
    corpus = PgCorpus(here)
    with here.app_context():
        assert corpus.session.scalar(text("SELECT 1")) == 1
        assert here.extensions["pgcorpus"] is corpus.host


def test_an_app_takes_it_once() -> None:
    app = app_with(PGCORPUS_DATABASE_URL=NOWHERE)
    PgCorpus(app)
    with pytest.raises(ConfigError, match="has a PgCorpus already"):
        PgCorpus().init_app(app)


def test_a_misspelt_setting_is_told_when_the_app_is_made() -> None:
    with pytest.raises(ConfigError, match="PGCORPUS_DATABSE_URL: did you mean PGCORPUS_DATABASE_URL"):
        PgCorpus(app_with(PGCORPUS_DATABSE_URL=NOWHERE))
    with pytest.raises(ConfigError, match="PGCORPUS_BINDKEY: did you mean PGCORPUS_BIND_KEY"):
        PgCorpus(app_with(PGCORPUS_BINDKEY="docs"))
    with pytest.raises(ConfigError, match="name a database each"):
        PgCorpus(app_with(PGCORPUS_BIND_KEY="docs", PGCORPUS_DATABASE_URL=NOWHERE))


def test_what_others_read_from_the_environment_is_left_to_them() -> None:
    """Who loads a whole .env file as configuration has the names of the private server and of the tests in it."""
    PgCorpus(app_with(PGCORPUS_DATA_DIR="/data", PGCORPUS_TEST_DATABASE_URL=NOWHERE, PG="mine"))


def test_the_configuration_tells_what_holds_and_is_read_once() -> None:
    app = app_with(PGCORPUS_COLLECTION="handbook", PGCORPUS_EMBEDDER="local")
    corpus = PgCorpus(app)
    assert (app.config["PGCORPUS_COLLECTION"], app.config["PGCORPUS_TENANT"]) == ("handbook", "default")
    app.config["PGCORPUS_COLLECTION"] = "later"
    with app.app_context():
        assert corpus.host.settings.collection == "handbook"


def test_the_collection_and_the_tenant_are_those_of_calls_that_name_none(here: Flask) -> None:
    here.config |= {
        "PGCORPUS_COLLECTION": "notes",
        "PGCORPUS_TENANT": "acme",
        "PGCORPUS_EMBEDDER": lambda: HashEmbedder(1536),
    }
    corpus = PgCorpus(here)
    with here.app_context():
        assert corpus.embedder is corpus.embedder
        corpus.repository().add({"content": "pear", "embedding": corpus.embedder.embed(["pear"])[0]})
        assert [found.name for found in corpus.repository("other").collections()] == ["notes"]
        assert corpus.repository("notes", "acme").count() == corpus.repository().count() == 1
        assert [hit.document.content for hit in corpus.retriever().retrieve("pear", 1)] == ["pear"]
        assert "pear" in corpus.answerer(extractive=True).answer("pear").text


def test_the_environment_names_the_database_where_the_app_does_not(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", url.render_as_string(hide_password=False))
    app = app_with()
    corpus = PgCorpus(app)
    with app.app_context():
        assert corpus.engine.url.database == url.database
        corpus.host.dispose()


def test_without_any_database_its_first_use_says_what_to_set() -> None:
    app = app_with()
    corpus = PgCorpus(app)
    with app.app_context(), pytest.raises(ConfigError, match="set PGCORPUS_DATABASE_URL"):
        _ = corpus.session


def test_an_app_that_was_not_initialized_is_named() -> None:
    with app_with().app_context(), pytest.raises(ConfigError, match="the app 'app' has no PgCorpus: call init_app"):
        _ = PgCorpus().session


def test_a_secret_of_the_configuration_is_in_no_message_and_no_representation() -> None:
    app = app_with(PGCORPUS_DATABASE_URL=NOWHERE, PGCORPUS_OPENAI_API_KEY="hunter2", PGCORPUS_CACHE="hunter2")
    with pytest.raises(ConfigError, match="PGCORPUS_CACHE") as caught:
        PgCorpus(app)
    assert "hunter2" not in str(caught.value)
    del app.config["PGCORPUS_CACHE"]
    corpus = PgCorpus(app)
    with app.app_context():
        assert "hunter2" not in f"{corpus.host.settings!r} {corpus.engine!r}"


WITHOUT = """
import sys
import pgcorpus, pgcorpus.cli, pgcorpus.integrations.hosting
assert "flask" not in sys.modules
sys.modules["flask"] = None
import pgcorpus.integrations.flask
"""


def test_the_package_loads_no_flask_and_names_the_extra_where_it_is_missing() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    said = "pgcorpus.integrations.flask needs an optional install: pip install 'pgcorpus[flask]'"
    assert done.stderr.splitlines()[-1] == f"pgcorpus.errors.MissingExtraError: {said}"


GEVENT = """
from gevent import monkey
{early}
import psycopg2.extensions
from pgcorpus.database import create_engine
from pgcorpus.errors import ConfigError
from pgcorpus.integrations.greenlets import refuse_blocking
{late}
def said_of(driver):
    try:
        refuse_blocking(create_engine(f"postgresql+{{driver}}://127.0.0.1:1/none"))
    except ConfigError as exc:
        return str(exc)

print([said_of("psycopg"), said_of("psycopg2")])
psycopg2.extensions.set_wait_callback(print)
print([said_of("psycopg"), said_of("psycopg2")])
"""
PATCH = "monkey.patch_all()"
LATE, C = "psycopg was imported before gevent patched", "psycopg2 blocks all of its greenlets: use psycopg 3"


@pytest.mark.parametrize(
    ("early", "late", "expected"),
    [
        (PATCH, "", [[None, C], [None, None]]),
        ("", PATCH, [[LATE, C], [LATE, None]]),
    ],
)
def test_under_gevent_a_driver_that_blocks_is_refused(early: str, late: str, expected: list[list[str | None]]) -> None:
    """psycopg2, unless something waits for it; psycopg 3 where it was loaded before gevent."""
    program = GEVENT.format(early=early, late=late)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for line, sayings in zip(done.stdout.splitlines(), expected, strict=True):
        for said, wanted in zip(ast.literal_eval(line), sayings, strict=True):
            assert (said is None) if wanted is None else (wanted in said)
