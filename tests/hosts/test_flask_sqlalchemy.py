"""Beside Flask-SQLAlchemy: its engine, its session, one transaction, and a history of migrations each."""

from __future__ import annotations

import logging.config
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import sqlalchemy
from flask import Flask
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from pgcorpus import schema
from pgcorpus.database import create_engine
from pgcorpus.errors import ConfigError, DocumentError
from pgcorpus.integrations.flask import PgCorpus
from pgcorpus.testing import HashEmbedder
from tests.support.flask_host import Shop, models, note, shared_shop, shop


@pytest.fixture
def app(url: URL) -> Iterator[Shop]:
    with shop("shared", url) as made:
        yield made


@pytest.fixture
def other(make_database: Callable[..., URL], template: str) -> URL:
    """Another migrated database."""
    return make_database(template)


@pytest.mark.parametrize("corpus_first", [False, True])
def test_documents_and_the_apps_models_are_committed_together(url: URL, corpus_first: bool) -> None:
    with shop("shared", url, corpus_first=corpus_first) as app:
        with app.app.app_context():
            assert app.corpus.session is app.db.session()
            assert app.corpus.engine is app.db.engine
            for end in (app.db.session.rollback, app.db.session.commit):
                app.db.session.add(app.Ticket(title="pear"))
                note(app.corpus, "pear")
                end()
        assert (app.tickets(), app.notes()) == (["pear"], ["pear"])


def test_a_document_that_cannot_be_stored_takes_the_ticket_with_it(app: Shop) -> None:
    with app.app.app_context():
        app.db.session.add(app.Ticket(title="pear"))
        with pytest.raises(DocumentError, match="content"):
            app.corpus.repository("notes").add({"content": ""})
    assert (app.tickets(), app.notes()) == ([], [])


def test_its_engine_knows_vectors_from_its_first_connection(url: URL) -> None:
    """Also one that the app opened before it asked for anything of ours."""
    made = shared_shop(url)
    with made.app.app_context():
        sent = "SELECT CAST('[1,2]' AS vector)"
        assert made.db.session.execute(text(sent)).scalar().tolist() == [1, 2]
    made.close()


def test_a_url_of_our_own_makes_an_engine_and_a_transaction_of_our_own(url: URL, other: URL) -> None:
    with shop("shared", url, PGCORPUS_DATABASE_URL=other, PGCORPUS_ENGINE_OPTIONS={"pool_size": 2}) as app:
        with app.app.app_context():
            note(app.corpus, "there")
            app.db.session.add(app.Ticket(title="forgotten"))
            assert app.corpus.session is not app.db.session()
            assert (app.corpus.engine.url.database, app.corpus.engine.pool.size()) == (other.database, 2)  # type: ignore[attr-defined]
            app.corpus.session.commit()
        assert (app.tickets(), app.notes()) == ([], ["there"])


def test_documents_go_to_the_default_engine_and_models_with_a_bind_key_to_theirs(url: URL, other: URL) -> None:
    """Flask-SQLAlchemy chooses by metadata: ours names no bind, and so it has the default one."""
    db, _ = models()

    class Event(db.Model):  # type: ignore[misc, name-defined]
        __bind_key__ = "events"
        id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)

    app = configured(SQLALCHEMY_DATABASE_URI=url, SQLALCHEMY_BINDS={"events": other})
    corpus = PgCorpus(app)
    db.init_app(app)
    with app.app_context():
        db.create_all()
        db.session.add(Event())
        note(corpus, "pear")
        db.session.commit()
        hits = corpus.retriever("notes", hybrid=True).retrieve("pear", 1, ef_search=50, timeout=30)
        assert [hit.document.content for hit in hits] == ["pear"]
        assert counts(url, "pgcorpus.documents") == counts(other, "event") == 1
        assert counts(other, "pgcorpus.documents") == 0
        dispose(db)


def test_a_bind_key_puts_documents_into_that_database(tmp_path: Path, url: URL) -> None:
    """With a session of their own; what the app writes through it is in their transaction."""
    db, ticket = models()
    app = configured(
        SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/app.db",
        SQLALCHEMY_BINDS={"docs": url},
        PGCORPUS_BIND_KEY="docs",
    )
    db.init_app(app)
    corpus = PgCorpus(app)
    with app.app_context():
        db.create_all()
        db.session.add(ticket(title="beside"))
        note(corpus, "pear")
        assert corpus.session is not db.session()
        assert corpus.engine is db.engines["docs"]
        corpus.session.commit()
    with app.app_context():
        assert counts(url, "pgcorpus.documents") == 1
        assert db.session.query(ticket).count() == 0
        dispose(db)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, r"engine is sqlite\+pysqlite.*set PGCORPUS_DATABASE_URL"),
        ({"PGCORPUS_BIND_KEY": "dcos"}, "PGCORPUS_BIND_KEY is 'dcos', and SQLALCHEMY_BINDS has 'docs'"),
        ({"SQLALCHEMY_DATABASE_URI": None}, r"no default engine: set PGCORPUS_BIND_KEY .*\('docs'\)"),
        ({"PGCORPUS_ENGINE_OPTIONS": {"pool_size": 1}}, "set SQLALCHEMY_ENGINE_OPTIONS"),
    ],
)
def test_an_engine_that_cannot_be_used_is_told_at_the_first_use(config: dict[str, Any], said: str) -> None:
    """And not before: an app that asks for no documents, in its tests on SQLite perhaps, goes on as it did."""
    defaults = {"SQLALCHEMY_DATABASE_URI": "sqlite://", "SQLALCHEMY_BINDS": {"docs": "postgresql+psycopg://h/x"}}
    app = configured(**defaults | config)
    db, _ = models()
    db.init_app(app)
    corpus = PgCorpus(app)
    with app.app_context(), pytest.raises(ConfigError, match=said):
        _ = corpus.session
    with app.app_context():
        dispose(db)


def test_a_bind_key_needs_flask_sqlalchemy() -> None:
    app = configured(PGCORPUS_BIND_KEY="docs")
    corpus = PgCorpus(app)
    with app.app_context(), pytest.raises(ConfigError, match="this app has no Flask-SQLAlchemy"):
        _ = corpus.session


def test_a_test_that_puts_a_connection_in_the_engines_place_rolls_all_back(app: Shop) -> None:
    """As Flask-SQLAlchemy's documentation tests an app ("Testing", "Isolating the Database")."""
    with app.app.app_context():
        engines = app.db.engines
        engine = engines[None]
        with engine.connect() as connection, connection.begin() as transaction:
            engines[None] = connection
            note(app.corpus, "pear")
            app.db.session.commit()
            assert len(app.corpus.retriever("notes").retrieve("pear", 3)) == 1
            app.db.session.remove()
            transaction.rollback()
            engines[None] = engine
    assert app.notes() == []


# Migrations


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flask-Migrate's template would silence this process's loggers, and write bytecode that outlives the file."""
    monkeypatch.setattr(logging.config, "fileConfig", lambda *_, **__: None)
    monkeypatch.setattr("sys.dont_write_bytecode", True)


@pytest.mark.filterwarnings("ignore:'get_engine' is deprecated")  # by Flask-Migrate's own template
@pytest.mark.parametrize("ours_first", [True, False])
def test_the_apps_history_and_ours_are_side_by_side(
    ours_first: bool, quiet: None, tmp_path: Path, empty_url: URL, empty_engine: Engine
) -> None:
    """In one database, in either order; the app's revisions know nothing of our tables."""
    versions = tmp_path / "migrations" / "versions"

    def flask(*arguments: str) -> None:
        """Run a command of the app, made anew as in a process of its own."""
        made = shared_shop(empty_url)
        flask_migrate.Migrate(made.app, made.db, directory=str(versions.parent))
        done = made.app.test_cli_runner().invoke(args=arguments)
        assert done.exit_code == 0, done.output
        made.close()

    flask("db", "init")
    ours, theirs = [("pgcorpus", "migrate", "upgrade")], [("db", "migrate", "-m", "tickets"), ("db", "upgrade")]
    for arguments in ours + theirs if ours_first else theirs + ours:
        flask(*arguments)
    flask("db", "check")
    assert ["pgcorpus" in path.read_text() for path in versions.glob("*.py")] == [False]
    schema.check(empty_engine)
    flask("db", "downgrade", "base")
    schema.check(empty_engine)


def configured(**config: Any) -> Flask:
    app = Flask("configured")
    app.config |= {"PGCORPUS_EMBEDDER": HashEmbedder()} | config
    return app


def dispose(db: Any) -> None:
    db.session.remove()
    for engine in db.engines.values():
        engine.dispose()


def counts(url: URL, table: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        number = connection.scalar(text(f"SELECT count(*) FROM {table}"))
    engine.dispose()
    assert isinstance(number, int)
    return number
