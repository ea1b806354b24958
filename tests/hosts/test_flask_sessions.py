"""The session of a Flask app context: rolled back unless committed, removed at its end, and nobody else's."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from werkzeug.test import create_environ, run_wsgi_app

from pgcorpus.database import create_engine
from pgcorpus.errors import CollectionError
from tests.support.flask_host import KINDS, Shop, note, shop

SETTINGS = ("hnsw.ef_search", "hnsw.iterative_scan", "hnsw.max_scan_tuples", "enable_sort", "enable_seqscan", "jit")


@pytest.fixture(params=KINDS)
def app(request: pytest.FixtureRequest, url: URL) -> Iterator[Shop]:
    with shop(request.param, url) as made:
        yield made


def backends(url: URL) -> list[str]:
    """The states of the database's connections but for the one that asks."""
    engine = create_engine(url)
    others = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with engine.connect() as connection:
        states = list(connection.scalars(text(f"{others} AND backend_type = 'client backend'")))
    engine.dispose()
    return states


def settings_of_the_pool(engine: Engine, number: int) -> set[tuple[object, ...]]:
    """What is set on so many of its connections, all of them checked out at once."""
    connections = [engine.connect() for _ in range(number)]
    seen = {tuple(each.scalar(text(f"SHOW {name}")) for name in SETTINGS) for each in connections}
    for each in connections:
        each.close()
    return seen


def test_a_request_leaves_what_it_committed_and_nothing_else(
    app: Shop, url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither one that forgets to commit nor one that fails leaves a document, a ticket or an open transaction."""
    client = app.app.test_client()
    caplog.set_level(logging.CRITICAL, app.app.logger.name)
    answers = {then: client.post(f"/notes/{then}?then={then}").status_code for then in ("commit", "forget", "raise")}
    assert answers == {"commit": 200, "forget": 200, "raise": 500}
    assert app.notes() == ["commit"]
    assert app.db is None or app.tickets() == ["commit"]
    assert set(backends(url)) == {"idle"}


def test_200_requests_on_8_threads_leak_no_connection_and_no_setting(
    app: Shop, url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, app.app.logger.name)
    assert app.app.test_client().post("/notes/pear?then=commit").status_code == 200
    fresh = settings_of_the_pool(app.engine, 1)
    requests = ["/search/pear?ef=77", "/search/pear?hybrid=1&ef=88", "/search/pear", "/notes/fig?then=raise"]

    def ask(number: int) -> tuple[int, object]:
        path = requests[number % 4]
        client = app.app.test_client()
        answer = client.post(path) if path.startswith("/notes") else client.get(path)
        return answer.status_code, answer.get_json(silent=True)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(200)))
    assert answers == [(200, ["pear"]), (200, ["pear"]), (200, ["pear"]), (500, None)] * 50
    pool = app.engine.pool
    assert (pool.checkedout(), app.notes()) == (0, ["pear"])  # type: ignore[attr-defined]
    kept = pool.checkedin()  # type: ignore[attr-defined]
    assert 0 < kept <= pool.size()  # type: ignore[attr-defined]
    states = backends(url)
    assert (len(states), set(states)) == (kept, {"idle"})
    assert settings_of_the_pool(app.engine, kept) == fresh


def test_a_streamed_response_has_one_session_until_its_end(app: Shop) -> None:
    assert app.app.test_client().post("/notes/pear?then=commit").status_code == 200
    lines = run_wsgi_app(app.app, create_environ("/stream/pear"))[0]
    first = next(iter(lines))
    assert first.startswith(b"pear ")
    assert app.engine.pool.checkedout() == 1  # type: ignore[attr-defined]
    assert list(lines) == [first] * 2
    lines.close()  # type: ignore[attr-defined]
    assert app.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_stream_whose_reader_goes_away_gives_its_connection_back(app: Shop) -> None:
    assert app.app.test_client().post("/notes/pear?then=commit").status_code == 200
    lines = run_wsgi_app(app.app, create_environ("/stream/pear"))[0]
    assert next(iter(lines)).startswith(b"pear ")
    lines.close()  # type: ignore[attr-defined]
    assert app.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_a_teardown_that_fails_before_ours_takes_no_connection_with_it(url: URL) -> None:
    """Flask calls no more of them then (Flask-SQLAlchemy's own session is its own affair)."""
    with shop("own", url) as app:

        @app.app.teardown_appcontext
        def fail(_error: object) -> None:
            if app.app.config.pop("FAILS", False):
                raise LookupError

        app.app.config["FAILS"] = True
        with pytest.raises(LookupError):
            app.app.test_client().post("/notes/pear?then=forget")
        gc.collect()
        assert (app.engine.pool.checkedout(), app.notes()) == (0, [])  # type: ignore[attr-defined]


def test_a_script_works_in_an_app_context_and_nowhere_else(app: Shop) -> None:
    with app.app.app_context():
        note(app.corpus, "script")
        assert app.corpus.session is app.corpus.session
        app.corpus.session.commit()
    with pytest.raises(RuntimeError, match="outside of application context"):
        _ = app.corpus.session
    assert app.notes() == ["script"]


def test_every_thread_and_every_context_has_a_session_of_its_own(app: Shop) -> None:
    """As a task queue's threads have: each pushes the app's context and shares nothing with the others."""

    def work(words: str) -> int:
        with app.app.app_context():
            note(app.corpus, words)
            app.corpus.session.commit()
            return id(app.corpus.session)

    with app.app.app_context():
        outer = app.corpus.session
        outer.execute(text("SELECT 1"))
        with ThreadPoolExecutor(2) as threads:
            sessions = set(threads.map(work, ["one", "two"]))
        with app.app.app_context():
            sessions.add(id(app.corpus.session))
        assert app.corpus.session is outer
        assert outer.in_transaction()
        assert id(outer) not in sessions
    assert app.notes() == ["one", "two"]


def test_two_apps_in_one_process_have_a_database_each(make_database: Callable[..., URL], template: str) -> None:
    urls = [make_database(template) for _ in KINDS]
    with shop("own", urls[0]) as first, shop("shared", urls[1]) as second:
        with first.app.app_context():
            note(first.corpus, "first")
            with second.app.app_context():
                note(second.corpus, "second")
                second.corpus.session.commit()
                assert first.corpus.session is second.corpus.session, "it is the current app's, whoever is asked"
            first.corpus.session.commit()
        assert (first.notes(), second.notes()) == (["first"], ["second"])
        assert [first.engine.url.database, second.engine.url.database] == [url.database for url in urls]


def test_one_extension_serves_several_apps(make_database: Callable[..., URL], template: str) -> None:
    with shop("own", make_database(template)) as first, shop("own", make_database(template)) as second:
        shared = Shop(second.app, first.corpus)
        with shared.app.app_context():
            note(shared.corpus, "second")
            shared.corpus.session.commit()
        assert (first.notes(), second.notes()) == ([], ["second"])
        assert vars(first.corpus) == {}


def test_a_user_sees_the_documents_of_their_tenant_alone(app: Shop) -> None:
    with app.app.app_context():
        for tenant in ("acme", "zoo"):
            note(app.corpus, f"pear of {tenant}", tenant=tenant)
        app.corpus.session.commit()
        for tenant in ("acme", "zoo"):
            hits = app.corpus.retriever("notes", tenant).retrieve("pear", 5)
            assert [hit.document.content for hit in hits] == [f"pear of {tenant}"]


def test_a_user_without_a_tenant_is_not_shown_those_of_the_default_one(app: Shop) -> None:
    with app.app.app_context():
        nobody: str = None  # type: ignore[assignment]
        for make in (app.corpus.repository, app.corpus.retriever, app.corpus.answerer, app.corpus.ingestor):
            with pytest.raises(CollectionError, match="the tenant is None"):
                make("notes", nobody)


def test_an_answer_on_the_engine_holds_no_connection_while_it_is_written(app: Shop) -> None:
    held: list[int] = []

    class Chat:
        model = "watching"

        def complete(self, _messages: object) -> object:
            held.append(app.engine.pool.checkedout())  # type: ignore[attr-defined]
            raise LookupError

    with app.app.app_context():
        note(app.corpus, "pear")
        app.corpus.session.commit()
        for bind in (app.corpus.engine, None):
            answerer = app.corpus.answerer("notes", bind=bind, chat=Chat(), min_score=0)
            with pytest.raises(LookupError):
                answerer.answer("pear")
    assert held == [0, 1]
