"""What can go wrong between an app and the server: poolers, settings that leak, connections that run out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, NullPool, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from pgcorpus.database import autocommit, create_async_engine, create_engine
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.services.doctor import Finding, Severity
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.pooling import findings_of_pooling, pooling_findings
from pgcorpus.services.doctor.pooling_reading import Limit, Pooling
from pgcorpus.services.doctor.reading import read_facts
from pgcorpus.tuning import SEARCH_DEFAULTS
from tests.support.pooler import PGBOUNCER, TransactionPooler, pgbouncer, socket_of, through
from tests.support.sickness import by_sql, run, scalar, sql_in
from tests.support.waiting import wait_until

FACTS = Facts(role="app", database="shop")


def look(engine: Engine, **options: Any) -> list[Finding]:
    with autocommit(engine).connect() as connection:
        return look_from(connection, **options)


def look_from(connection: Connection, **options: Any) -> list[Finding]:
    facts = Facts(role="app", database=str(connection.engine.url.database))
    return pooling_findings(connection, facts, **options)


def codes(findings: list[Finding]) -> list[str]:
    return [finding.code for finding in findings]


def as_told(finding: Finding) -> dict[str, Any]:
    """Return the arguments of the first create_engine() in a remedy."""
    call, *_ = re.findall(r"create_engine\(url, (.*?)\)", finding.remedy)
    return {name: eval(value) for name, _, value in (each.partition("=") for each in call.split(", "))}  # noqa: S307


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    """Makes engines that go with the test."""
    made: list[Engine] = []

    def make(url: URL, **options: Any) -> Engine:
        made.append(create_engine(url, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


MakeEngine = Callable[..., Engine]


# Health


def test_of_a_pool_of_ours_nothing_is_said(engine: Engine) -> None:
    assert look(engine) == []
    with engine.connect() as connection:
        assert look_from(connection) == []
        assert not connection.in_transaction()
        with connection.begin():
            assert look_from(connection) == []
            assert connection.scalar(text("SELECT pg_current_xact_id_if_assigned()")) is None


def test_of_an_engine_of_the_hosts_nothing_is_said(url: URL) -> None:
    engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        connection.commit()
        assert look_from(connection) == [], "it goes with the connection"


def test_of_an_async_engine_nothing_is_said(url: URL) -> None:
    async def main() -> list[Finding]:
        engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
        async with engine.connect() as connection:
            await connection.execute(text("SET enable_seqscan = off"))
            await connection.commit()
            assert codes(await connection.run_sync(look_from)) == ["setting-leaked"]
        async with engine.connect() as connection:
            await connection.execute(text("RESET enable_seqscan"))
            await connection.commit()
            found = await connection.run_sync(look_from)
        await engine.dispose()
        return found

    assert asyncio.run(main()) == []


# A pooler


@pytest.fixture
def pooler(server: EmbeddedServer) -> Iterator[TransactionPooler]:
    """A pooler of our own, whose first session has what the client asked for."""
    with TransactionPooler(socket_of(server)) as pooler:
        yield pooler


def fails_when_handed_around(pooler: TransactionPooler, connection: Connection) -> bool:
    """Say whether a statement that was executed often fails in another session."""
    pooler.turn = 0
    for _ in range(7):
        connection.scalar(text("SELECT 'often'"))
        connection.commit()
    pooler.turn = 1
    try:
        return connection.scalar(text("SELECT 'often'")) != "often"
    except DBAPIError:
        return True
    finally:
        connection.rollback()


def test_statements_that_are_prepared_behind_a_pooler(
    url: URL, pooler: TransactionPooler, make_engine: MakeEngine
) -> None:
    engine = make_engine(through(url, pooler.port))
    with engine.connect() as connection:
        pooler.turn = 1
        found = {finding.code: finding for finding in look_from(connection)}
        if "psycopg2" in url.drivername:
            assert "pooler-prepared" not in found
            assert not fails_when_handed_around(pooler, connection)
            return
        finding = found["pooler-prepared"]
        assert finding.severity is Severity.WARNING
        assert fails_when_handed_around(pooler, connection)
    pooler.turn = 0
    mended = make_engine(through(url, pooler.port), **as_told(finding))
    with mended.connect() as connection:
        pooler.turn = 1
        assert look_from(connection) == []
        assert not fails_when_handed_around(pooler, connection)


def test_search_settings_that_a_pooler_gave_to_another_session(
    url: URL, pooler: TransactionPooler, make_engine: MakeEngine
) -> None:
    engine = make_engine(through(url, pooler.port))
    with engine.connect() as connection:
        assert look_from(connection) == []
        pooler.turn = 1
        finding = next(finding for finding in look_from(connection) if finding.code == "search-settings-lost")
    assert "hnsw.ef_search = nothing" in finding.evidence
    pooler.turn = 0
    mended = make_engine(through(url, pooler.port), **as_told(finding))
    with mended.connect() as connection:
        pooler.turn = 1
        assert look_from(connection) == []


def test_search_settings_that_a_pooler_dropped(server: EmbeddedServer, url: URL, make_engine: MakeEngine) -> None:
    admin = make_engine(url)
    with TransactionPooler(socket_of(server), options=False) as pooler:
        engine = make_engine(through(url, pooler.port))
        (finding,) = look(engine)
        assert (finding.code, finding.severity) == ("pooler-settings", Severity.NOTE)
        assert look(make_engine(through(url, pooler.port), **as_told(finding))) == []
        try:
            by_sql(admin, finding)
            assert look(make_engine(through(url, pooler.port))) == []
        finally:
            role = f"ALTER ROLE {url.username} IN DATABASE {url.database}"
            run(admin, *(f"{role} RESET {name}" for name in SEARCH_DEFAULTS))
        engine.dispose()


def test_options_of_the_callers_own_that_arrived_are_no_loss(url: URL, make_engine: MakeEngine) -> None:
    assert look(make_engine(url, connect_args={"options": "-c hnsw.ef_search=80"})) == []


@pytest.fixture(scope="module")
def bouncer(server: EmbeddedServer, reachable_directory: Path) -> Iterator[int]:
    """The port of a PgBouncer in transaction mode."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    with pgbouncer(server, reachable_directory) as port:
        yield port


def test_behind_pgbouncer_all_is_said_and_mended_by_one_argument(
    url: URL, bouncer: int, make_engine: MakeEngine
) -> None:
    found = {finding.code: finding for finding in look(make_engine(through(url, bouncer)))}
    expected = {"pooler-settings"} | ({"pooler-prepared"} if "psycopg2" not in url.drivername else set())
    assert found.keys() == expected
    mended = make_engine(through(url, bouncer), **as_told(found["pooler-settings"]))
    assert look(mended) == []
    with mended.connect() as connection, connection.begin():
        assert look_from(connection) == []


def test_behind_pgbouncer_a_setting_leaks_to_the_next_client(url: URL, bouncer: int, make_engine: MakeEngine) -> None:
    careless, next_one = (make_engine(through(url, bouncer), pgbouncer=True) for _ in range(2))
    with careless.connect() as connection:
        connection.execute(text("SET enable_seqscan = off"))
        connection.commit()
    (finding,) = look(next_one)
    assert (finding.code, finding.severity) == ("setting-leaked", Severity.WARNING)
    by_sql(next_one, finding)
    assert look(next_one) == []


# Settings


def test_a_setting_left_in_the_pool(url: URL, make_engine: MakeEngine) -> None:
    engine = make_engine(url, pool_size=1, max_overflow=0)
    search = "SELECT CAST('[1]' AS vector)"  # with pgvector loaded its settings are known as such
    for statement in ("SET LOCAL enable_sort = off", "SET enable_seqscan = off", search, "SET hnsw.ef_search = 20"):
        with engine.begin() as connection:
            connection.execute(text(statement))
    (finding,) = look(engine)
    assert (finding.code, finding.severity) == ("setting-leaked", Severity.WARNING)
    assert "enable_seqscan = off, hnsw.ef_search = 20" in finding.evidence
    with engine.begin() as connection:
        assert look_from(connection) == [], "in a transaction SET LOCAL looks the same"
    by_sql(engine, finding)
    assert look(engine) == []
    with engine.begin() as connection:
        connection.execute(text("SET search_path = public"))
    assert codes(look(engine)) == ["setting-leaked"]
    engine.dispose()
    assert look(engine) == []


def test_a_search_setting_that_was_changed_before_the_first_search(url: URL, make_engine: MakeEngine) -> None:
    engine = make_engine(url, pool_size=1, max_overflow=0)
    with engine.begin() as connection:
        connection.execute(text("SET hnsw.ef_search = 20"))
    (finding,) = look(engine)
    assert (finding.code, finding.severity) == ("search-settings-lost", Severity.WARNING)
    assert "empty the pool: engine.dispose()" in finding.remedy
    engine.dispose()
    assert look(engine) == []


def test_what_an_app_sets_in_all_of_its_connections_is_no_leak(url: URL, make_engine: MakeEngine) -> None:
    engine = make_engine(url)

    @event.listens_for(engine, "connect")
    def set_path(dbapi_connection: Any, _record: Any) -> None:
        was, dbapi_connection.autocommit = dbapi_connection.autocommit, True
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SET search_path = shop, public")
        dbapi_connection.autocommit = was

    assert scalar(engine, "SHOW search_path") == "shop, public"
    assert look(engine) == []
    with engine.begin() as connection:
        connection.execute(text("SET search_path = other"))
    assert codes(look(engine)) == ["setting-leaked"]


# Connections


def test_a_pool_that_may_open_more_than_the_server_lets(url: URL, make_engine: MakeEngine) -> None:
    most = int(str(scalar(make_engine(url), "SHOW max_connections"))) - 3
    assert look(make_engine(url, pool_size=most - 10, max_overflow=10)) == []
    (finding,) = look(make_engine(url, pool_size=most - 10, max_overflow=11))
    assert (finding.code, finding.severity) == ("pool-too-large", Severity.WARNING)
    assert f"allow {most + 1} connections; the server has {most}" in finding.evidence
    assert codes(look(make_engine(url, max_overflow=-1))) == ["pool-too-large"]
    assert look(make_engine(url, **as_told(finding))) == []


@pytest.fixture
def guest(engine: Engine) -> Iterator[str]:
    """A role of the test's own that may log in."""
    role = f"guest_of_{engine.url.database}"
    run(engine, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 5")
    yield role
    run(engine, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_connections_that_are_nearly_all_taken(engine: Engine, guest: str, make_engine: MakeEngine) -> None:
    """The role's limit is 5, of which four are nearly all."""
    app = make_engine(engine.url.set(username=guest), pool_size=5, max_overflow=0)
    with app.connect(), app.connect():
        assert look(app) == []
        with app.connect():
            pass
    with app.connect(), app.connect(), app.connect(), app.connect() as connection:
        (finding,) = look_from(connection)
    assert (finding.code, finding.severity) == ("connections-few", Severity.WARNING)
    assert finding.evidence.startswith("4 of 5. The application 'pgcorpus' has")
    app.dispose()
    mended = make_engine(engine.url.set(username=guest), **as_told(finding))
    for _ in range(5):
        assert look(mended) == []


@pytest.mark.parametrize(("taken", "found"), [(45, []), (46, ["connections-few"])])
def test_four_fifths_of_the_servers_connections_are_nearly_all(taken: int, found: list[str]) -> None:
    assert codes(findings_of_pooling(FACTS, Pooling("app", limits=(Limit("the server", 57, taken),)))) == found


def test_sessions_that_forgot_their_transaction(engine: Engine) -> None:
    with engine.connect() as forgetful:
        process = forgetful.scalar(text("SELECT pg_backend_pid()"))
        idle = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {process} AND state = 'idle in transaction'"
        wait_until(lambda: scalar(engine, idle))
        assert look(engine) == [], "it has not for long"
        (finding,) = look(engine, patience=0)
        assert (finding.code, finding.severity) == ("transactions-idle", Severity.WARNING)
        assert f"{process} (pgcorpus) for 0 s" in finding.evidence
        run(engine, sql_in(finding, "SELECT"))
        wait_until(lambda: look(engine, patience=0) == [])
        forgetful.invalidate()


# From wherever it is asked


def test_a_role_with_no_rights_sees_what_concerns_it(engine: Engine, guest: str, make_engine: MakeEngine) -> None:
    app = make_engine(
        engine.url.set(username=guest),
        pool_size=5, max_overflow=10, connect_args={"options": "-c default_transaction_read_only=on"},
    )  # fmt: skip
    (finding,) = look(app)
    assert finding.code == "pool-too-large"
    assert f"the role {guest} has 5 for all" in finding.evidence
    with app.connect() as connection:
        assert read_facts(connection).schema_usable is False
        assert codes(look_from(connection)) == ["pool-too-large"]
