"""A calibration on a real hot standby: it measures there, and the primary keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from pgcorpus import schema
from pgcorpus.database import create_engine, session_factory
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.services.calibrating import Pace, Wanted, calibrate
from pgcorpus.services.calibrating.asking import Asker
from tests.conftest import DRIVER, SETTINGS
from tests.support.standbys import standby_of
from tests.support.vectors import random_vectors
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def servers(reachable_directory: Path) -> Iterator[tuple[Engine, Engine]]:
    """A primary with a collection, and its standby."""
    folder = reachable_directory / "replicated"
    with EmbeddedServer(folder, SETTINGS) as server:
        url: URL = make_url(server.url).set(drivername=f"postgresql+{DRIVER}")
        primary = create_engine(url)
        schema.upgrade(primary)
        with session_factory(primary).begin() as session:
            drafts = [{"content": str(i), "embedding": vector} for i, vector in enumerate(random_vectors(100))]
            DocumentRepository(session, "wiki").add_many(drafts)
        with standby_of(server, url, reachable_directory) as there:
            standby = create_engine(there)
            wait_until(lambda: _documents(standby) == 100)
            yield primary, standby
            standby.dispose()
        primary.dispose()


def _documents(engine: Engine) -> int:
    with session_factory(engine)() as session:
        return DocumentRepository(session, "wiki").count()


def test_a_standby_is_measured_and_its_primary_keeps_what_was(servers: tuple[Engine, Engine], tmp_path: Path) -> None:
    primary, standby = servers
    wanted = Wanted(rate=0, sample=10)
    report = calibrate(standby, "wiki", wanted=wanted, folder=tmp_path)
    assert report.surroundings.standby
    assert (report.stored, report.not_stored) == (None, "this database can only be read")
    stored = calibrate(standby, "wiki", wanted=wanted, folder=tmp_path, store_in=primary)
    assert (stored.points, stored.resumed) == (report.points, 10 * len(report.measured))
    with session_factory(primary)() as session:
        latest = Calibrations(session).latest(report.collection_id)
        assert latest is not None
        assert latest.points == report.points


def test_a_search_that_the_replay_ends_is_asked_again(servers: tuple[Engine, Engine]) -> None:
    primary, standby = servers
    with primary.begin() as connection:
        connection.execute(text("CREATE TABLE replayed AS SELECT generate_series(1, 1000) AS n"))
    wait_until(lambda: _has_table(standby))
    rests: list[float] = []
    attempts: list[int] = []

    def conflict(session: Session) -> int:
        attempts.append(len(attempts))
        session.execute(text("SELECT count(*) FROM replayed"))
        if len(attempts) == 1:
            with primary.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("DELETE FROM replayed"))
                connection.execute(text("VACUUM replayed"))
        session.execute(text("SELECT pg_sleep(CASE WHEN :wait THEN 30 ELSE 0 END)"), {"wait": len(attempts) == 1})
        return len(attempts)

    pace = Pace(0, sleep=rests.append)
    with Asker(standby, lambda session: DocumentRepository(session, "wiki"), pace, 60) as asker:
        assert asker.in_session(_looking(conflict)) == 2
    assert rests == [0.5]


def _looking(what: Callable[[Session], int]) -> Callable[[Session], int]:
    """Hold a snapshot of rows that the replay is to take away, as a long search does."""

    def run(session: Session) -> int:
        session.execute(text("DECLARE held CURSOR FOR SELECT n FROM replayed"))
        session.execute(text("FETCH 1 FROM held"))
        return what(session)

    return run


def _has_table(engine: Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(text("SELECT to_regclass('replayed') IS NOT NULL")))
