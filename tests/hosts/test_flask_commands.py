"""`flask pgcorpus`: the commands of pgcorpus on the app's own database and models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from sqlalchemy.engine import URL

from pgcorpus.integrations.flask import PgCorpus
from pgcorpus.testing import HashEmbedder
from tests.support.flask_host import KINDS, Shop, own_shop, shared_shop


@pytest.fixture(params=KINDS)
def app(request: pytest.FixtureRequest, empty_url: URL) -> Iterator[Shop]:
    """An app on an empty database, with a collection and a tenant of its own."""
    config = {"PGCORPUS_COLLECTION": "handbook", "PGCORPUS_TENANT": "acme"}
    made = own_shop(empty_url, **config) if request.param == "own" else shared_shop(empty_url, **config)
    yield made
    made.close()


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["pgcorpus", *arguments])


def test_they_use_the_apps_database_embedder_collection_and_tenant(app: Shop, tmp_path: Path) -> None:
    (tmp_path / "keys.md").write_text("# Keys\n\nA key is turned twice.\n")
    assert run(app.app, "migrate", "upgrade").exit_code == 0
    assert run(app.app, "ingest", str(tmp_path)).exit_code == 0
    found = json.loads(run(app.app, "search", "a key is turned", "--json").stdout)
    assert [hit["content"] for hit in found["hits"]] == ["Keys\n\nA key is turned twice."]
    answered = run(app.app, "ask", "Which key is turned twice?", "--extractive")
    assert "A key is turned twice" in answered.stdout
    (collection,) = json.loads(run(app.app, "collections", "--json").stdout)["collections"]
    assert (collection["name"], collection["embedding_model"]) == ("handbook", "testing-hash-64")
    assert run(app.app, "cache", "stats").exit_code == 0
    assert run(app.app, "doctor").exit_code == 0
    with app.app.app_context():
        assert app.corpus.repository().count() == app.corpus.repository("handbook", "acme").count() == 1
        assert app.corpus.repository("handbook", "default").collections() == []


def test_another_collection_and_tenant_can_be_named(app: Shop) -> None:
    assert run(app.app, "migrate", "upgrade").exit_code == 0
    missing = run(app.app, "search", "keys", "-c", "nowhere", "--tenant", "zoo")
    assert (missing.exit_code, "nowhere" in missing.stderr) == (1, True)


def test_what_fails_is_told_in_a_line_as_the_app_would_type_it(app: Shop) -> None:
    unmigrated = run(app.app, "search", "keys")
    assert unmigrated.exit_code == 3
    assert "flask pgcorpus migrate upgrade" in unmigrated.stderr
    assert run(app.app, "search").exit_code == 2
    assert run(app.app, "migrate", "check").exit_code == 3


def test_they_run_where_a_context_of_the_app_is_open_already(app: Shop) -> None:
    with app.app.app_context():
        session = app.corpus.session
        assert run(app.app, "migrate", "upgrade").exit_code == 0
        assert app.corpus.session is session


def test_an_app_that_cannot_be_used_is_told_without_a_traceback() -> None:
    app = Flask("nowhere")
    app.config |= {"PGCORPUS_DATABASE_URL": "sqlite://", "PGCORPUS_EMBEDDER": HashEmbedder()}
    PgCorpus(app)
    done = run(app, "collections")
    assert (done.exit_code, "is not PostgreSQL" in done.stderr) == (2, True)
