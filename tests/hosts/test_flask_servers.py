"""gunicorn, really run: its processes, threads and greenlets each have connections of their own, and right answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from pgcorpus.database import autocommit, create_engine, session_factory
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.embedding import pad
from pgcorpus.testing import HashEmbedder
from tests.support.waiting import wait_until

SERVED = Path(__file__).parents[1] / "support" / "flask_served.py"
LOCK = 4_711
WORDS = ("pear", "fig", "plum")
MINE = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND "
WAITING = f"{MINE} wait_event = 'advisory' AND state = 'active'"
OTHERS = f"{MINE} pid <> pg_backend_pid() AND backend_type = 'client backend'"
Ask = Callable[[str], Any]


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    """An engine that keeps no connection open, on a database with a note for each word."""
    embedder = HashEmbedder()
    engine = create_engine(url, pool_size=1)
    with session_factory(engine).begin() as session:
        DocumentRepository(session, "notes", embedding_model=embedder.model).add_many(
            [{"content": word, "embedding": pad(embedder.embed([word])[0])} for word in WORDS]
        )
    yield engine
    engine.dispose()


@contextmanager
def gunicorn(url: URL, folder: Path, *options: str, **environ: str) -> Iterator[Ask]:
    """Serve the apps, and yield a function that asks for the JSON of a path."""
    shutil.copy(SERVED, folder)
    log = folder / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", *options, "flask_served:wsgi"],
            cwd=folder,
            env=os.environ | {"SERVED_URL": url.render_as_string(hide_password=False)} | environ,
            stderr=stderr,
        )
    try:
        wait_until(lambda: process.poll() is not None or "Listening at" in log.read_text())
        address = re.search(r"Listening at: (http://\S+)", log.read_text())
        assert address, log.read_text()
        with httpx.Client(base_url=address[1], timeout=60) as client:
            yield lambda path: client.get(path).json()
    finally:
        process.terminate()
        process.wait()


def overlapping(engine: Engine, ask: Ask, path: str, number: int, meanwhile: Callable[[], object] = list) -> list[Any]:
    """Return the answers of requests of which each waits in the database until the others wait there too."""
    # In a transaction, pg_stat_activity would stay as it was first seen.
    with autocommit(engine).connect() as connection, ThreadPoolExecutor(number) as threads:
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        try:
            answers = [threads.submit(ask, path) for _ in range(number)]
            wait_until(lambda: len(connection.scalars(text(WAITING)).all()) == number, 30)
            meanwhile()
        finally:
            connection.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
        return [answer.result() for answer in answers]


def check_answers(ask: Ask) -> None:
    """On both apps, by several threads at once."""
    paths = [f"/{app}/search/{word}" for app in ("own", "shared") for word in WORDS] * 3
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, paths)) == [[path.rpartition("/")[2]] for path in paths]


@pytest.mark.parametrize("preload", [False, True])
def test_each_worker_has_connections_of_its_own(preload: bool, url: URL, engine: Engine, tmp_path: Path) -> None:
    """Also where the app was loaded and both of its engines used before the workers were forked."""
    options, environ = (("--preload",), {"USED_BEFORE_THE_FORK": "1"}) if preload else ((), {})
    with gunicorn(url, tmp_path, "--workers=2", *options, **environ) as ask:
        with engine.connect() as connection:
            before = set(connection.scalars(text(OTHERS)))
        assert len(before) == (2 if preload else 0)
        seen: set[int] = set()
        for path in ("/own/who", "/shared/who"):
            answers = overlapping(engine, ask, path, 2)
            assert len({answer["worker"] for answer in answers}) == 2
            seen |= {answer["backend"] for answer in answers}
        assert len(seen - before) == 4
        check_answers(ask)
        with engine.connect() as connection:
            assert before <= set(connection.scalars(text(OTHERS))), "the parent's are open still"


@pytest.mark.parametrize("options", [("--threads=8",), ("--worker-class=gevent",)], ids=lambda options: options[0][2:])
def test_requests_of_one_worker_wait_for_the_database_side_by_side(
    options: tuple[str], url: URL, engine: Engine, tmp_path: Path
) -> None:
    """Six of them at once, and a search is answered meanwhile: none of them stops the others."""
    driver = "postgresql+psycopg" if "gevent" in options[0] else url.drivername
    with gunicorn(url.set(drivername=driver), tmp_path, *options) as ask:
        for app in ("own", "shared"):
            answers = overlapping(engine, ask, f"/{app}/who", 6, lambda: check_answers(ask))
            assert len({answer["worker"] for answer in answers}) == 1
            assert len({answer["backend"] for answer in answers}) == 6
        if "gevent" in options[0]:
            assert "use psycopg 3" in ask("/psycopg2/search/pear")["error"]


def test_an_app_that_is_loaded_before_its_workers_needs_gevent_to_patch_before_that(url: URL, tmp_path: Path) -> None:
    """As the error says that an app gets otherwise."""
    (tmp_path / "gunicorn.conf.py").write_text("from gevent import monkey\n\nmonkey.patch_all()\n")
    options = ("--worker-class=gevent", "--preload", "--graceful-timeout=1")
    with gunicorn(url.set(drivername="postgresql+psycopg"), tmp_path, *options) as ask:
        assert ask("/own/who")["backend"] != ask("/shared/who")["backend"]
