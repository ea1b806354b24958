"""A slow search is logged with its plan, and neither the log nor what fails on the way concerns the search."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, func, literal_column, text

from pgcorpus.database import autocommit, session_factory
from pgcorpus.errors import ConfigError, SearchTimeoutError
from pgcorpus.models import Document, Metric
from pgcorpus.repositories import DocumentRepository, compile_filter
from pgcorpus.repositories.search import slow
from pgcorpus.repositories.search.nearest import QUERY, Shape, nearest
from pgcorpus.repositories.search.slow import fields_of, is_slow, log_slow_searches, redacted, report
from pgcorpus.repositories.target import SCOPE, make_target

SECRET = {"source": "a 'secret' page", "position": {"$lt": 4242}, "meta.kind": "hush"}
VECTOR = np.full(1536, 0.123456, np.float32)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets ends with it."""
    monkeypatch.setattr(slow, "_limit", None)
    monkeypatch.setattr(slow, "_pace", slow._Pace())


@pytest.fixture
def documents(engine: Engine) -> Engine:
    """A collection of a few documents."""
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "handbook").add_many(
            [
                {"content": f"text {i}", "source": "wiki", "position": i, "embedding": v}
                for i, v in enumerate(np.eye(9, 1536))
            ]
        )
    return engine


@pytest.fixture
def connection(documents: Engine) -> Iterator[Connection]:
    with documents.connect() as connection:
        yield connection


def reported(connection: Connection, caplog: pytest.LogCaptureFixture, **told: Any) -> str:
    """Report a search with a filter, and return what was logged."""
    statement = nearest(
        Shape(make_target(Document, scoped=True), ("content",), Metric.COSINE, 10, 0, 20),
        compile_filter(SECRET, Document),
    )
    before = len(caplog.records)
    with caplog.at_level(logging.WARNING, "pgcorpus.slow"):
        report(connection, statement, {SCOPE: 1, "pgcorpus_seen": "", QUERY: VECTOR}, 1.5, **told)
    return "\n".join(record.getMessage() for record in caplog.records[before:])


def test_no_search_is_slow_unless_somebody_says_when() -> None:
    assert not is_slow(1e9)
    log_slow_searches(0.5)
    assert (is_slow(0.49), is_slow(0.5)) == (False, True)
    log_slow_searches(0)
    assert is_slow(0.0)
    log_slow_searches(None)
    assert not is_slow(1e9)


def test_the_environment_says_when_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCORPUS_SLOW_SEARCH_MS", "250")
    assert (is_slow(0.249), is_slow(0.25)) == (False, True)


@pytest.mark.parametrize("wrong", ["soon", "-1", "0"])
def test_a_limit_that_is_none_is_told_and_breaks_no_search(
    wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PGCORPUS_SLOW_SEARCH_MS", wrong)
    assert (is_slow(1e9), is_slow(1e9)) == (False, False)
    assert [record.getMessage()[:50] for record in caplog.records] == [
        "slow searches are not logged: the setting slow_sea"
    ]


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_limit_in_code_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="give None"):
        log_slow_searches(seconds)


def test_the_log_has_the_plan_and_what_is_known_in_one_warning(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    logged = reported(connection, caplog, collection="handbook", k=10, form="vector", ef_search=160, where=SECRET)
    head, *plan = logged.splitlines()
    assert head == (
        "a search took 1,500 ms, collection='handbook', k=10, form='vector', ef_search=160, "
        "filter on 'source', 'position', 'meta.kind'"
    )
    assert "documents" in logged
    assert any("cost=" in line for line in plan)
    assert "Execution Time" not in logged
    assert len(caplog.records) == 1


def test_on_request_the_search_is_measured(connection: Connection, caplog: pytest.LogCaptureFixture) -> None:
    log_slow_searches(0, analyze=True)
    logged = reported(connection, caplog)
    assert "Execution Time: " in logged
    assert "actual" in logged


@pytest.mark.parametrize("analyze", [False, True])
def test_neither_the_vector_nor_a_filters_values_are_in_the_log(
    analyze: bool, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    log_slow_searches(0, analyze=analyze)
    logged = reported(connection, caplog, where=SECRET)
    assert "Filter: " in logged or "Cond: " in logged
    for value in ("secret", "4242", "hush", "0.123456", "0.12345"):
        assert value not in logged
    assert len(logged) < 4000


def test_a_plan_keeps_its_names_and_figures() -> None:
    plan = (
        '  ->  Index Scan using "it\'s" on documents_1  (cost=1.00..2.50 rows=10 width=36)\n'
        "        Index Cond: (collection_id = '7'::bigint)\n"
        "        Order By: (embedding <=> '[1,2,3]'::vector)\n"
        "        Filter: ((price > 12.5) AND (name = E'it''s\n17'::text))\n"
        "        Rows Removed by Filter: 5"
    )
    assert redacted(plan) == (
        '  ->  Index Scan using "it\'s" on documents_1  (cost=1.00..2.50 rows=10 width=36)\n'
        "        Index Cond: (collection_id = ?::bigint)\n"
        "        Order By: (embedding <=> ?::vector)\n"
        "        Filter: ((price > ?) AND (name = ?::text))\n"
        "        Rows Removed by Filter: 5"
    )


def test_the_fields_of_a_filter_are_told_without_its_values() -> None:
    where = {"source": "x", "$or": [{"meta.kind": "a"}, {"$not": {"language": "b"}}], "$and": [{"source": "y"}]}
    assert fields_of(where) == ("source", "meta.kind", "language")
    assert fields_of((Document.source == "x") & (Document.meta["kind"].astext == "hush")) == ("source", "metadata")
    assert fields_of(None) == ()


def test_a_report_leaves_a_transaction_as_it_was(connection: Connection, caplog: pytest.LogCaptureFixture) -> None:
    connection.execute(text("SET LOCAL hnsw.ef_search = 77"))
    connection.execute(text("DELETE FROM pgcorpus.documents WHERE position = 3"))
    assert "cost=" in reported(connection, caplog)
    assert connection.scalar(text("SHOW hnsw.ef_search")) == "77"
    assert connection.scalar(text("SELECT count(*) FROM pgcorpus.documents")) == 8
    connection.rollback()
    assert connection.scalar(text("SELECT count(*) FROM pgcorpus.documents")) == 9


def test_a_plan_that_cannot_be_had_costs_the_caller_nothing(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.execute(text("CREATE TABLE mine (n int)"))
    with caplog.at_level(logging.WARNING, "pgcorpus.slow"):
        report(connection, text("SELECT 'hush' FROM no_such_table"), {}, 2.0, collection="handbook")
    assert caplog.messages == ["a search took 2,000 ms, collection='handbook'\nno plan: ProgrammingError 42P01"]
    assert connection.scalar(text("SELECT count(*) FROM mine")) == 0


def test_what_cannot_be_explained_at_all_is_no_error_of_the_search(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pgcorpus.slow"):
        report(connection, object(), {}, 2.0, where={"$or": 5})
    assert len(caplog.records) == 1
    assert connection.scalar(text("SELECT 1")) == 1


def test_in_autocommit_no_transaction_is_begun(documents: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with autocommit(documents).connect() as connection:
        assert "cost=" in reported(connection, caplog)
        driver_connection: Any = connection.connection.driver_connection
        status = (
            driver_connection.info.transaction_status if hasattr(driver_connection.info, "transaction_status") else 0
        )
        assert int(status) == 0


def test_of_many_at_once_one_is_told_and_the_others_are_counted(
    connection: Connection, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(slow.time, "monotonic", lambda: now[0])
    assert [bool(reported(connection, caplog)) for _ in range(4)] == [True, False, False, False]
    now[0] += 1.0
    assert reported(connection, caplog).splitlines()[0] == "a search took 1,500 ms, 3 others since the last one told"


def test_a_number_or_a_text_in_a_filter_is_no_field() -> None:
    where = func.length(Document.content) > literal_column("4242")
    assert set(fields_of(where & (Document.source == literal_column("$$hush$$")))) == {"content", "source"}


def test_a_search_that_is_given_up_is_told_without_a_plan(documents: Engine, caplog: pytest.LogCaptureFixture) -> None:
    log_slow_searches(0)
    sleeping = func.pg_sleep(5).is_not(None)
    with session_factory(documents)() as session, caplog.at_level(logging.WARNING, "pgcorpus.slow"):
        repository = DocumentRepository(session, "handbook")
        with pytest.raises(SearchTimeoutError):
            repository.search(VECTOR, 3, where=sleeping, timeout=0.01)
        (message,) = caplog.messages
        assert message.startswith("a search took ")
        assert message.endswith("; no plan: SearchTimeoutError")
        assert ", k=3, " in message
        assert len(repository.search(VECTOR, 3)) == 3
