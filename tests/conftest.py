"""A real PostgreSQL for the tests: started once, migrated once, cloned for each test that writes."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, NullPool, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from pgcorpus import schema
from pgcorpus.database import create_engine, session_factory
from pgcorpus.embedded import EmbeddedServer

DRIVER = os.environ.get("PGCORPUS_TEST_DRIVER", "psycopg")

# Speed, not safety: what the tests write is thrown away.
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60"}

_numbers = count(1)


def pytest_configure() -> None:
    """Hear Ctrl-C, and let the programs started here hear it: a shell starts what runs beside it deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's shell says of databases and keys is not the tests' business."""
    for name in list(os.environ):
        if name.startswith(("PGCORPUS_", "OPENAI_", "PG")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def reachable_directory() -> Iterator[Path]:
    """A directory that the server's account can reach; pytest's own are closed to it when root runs the tests."""
    path = Path(tempfile.mkdtemp(prefix="pgcorpus-tests-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server(reachable_directory: Path) -> Iterator[EmbeddedServer]:
    """The PostgreSQL of this run."""
    with EmbeddedServer(reachable_directory / "server", SETTINGS) as running:
        yield running


@pytest.fixture(scope="session")
def server_url(server: EmbeddedServer) -> URL:
    """The URL of the server's own database, on the driver under test."""
    return make_url(server.url).set(drivername=f"postgresql+{DRIVER}")


@pytest.fixture(scope="session")
def admin(server_url: URL) -> Iterator[Engine]:
    """An engine to make and drop databases with."""
    engine = create_engine(server_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def make_database(admin: Engine, server_url: URL) -> Callable[..., URL]:
    """Makes databases, empty or cloned from a template; they go with the server."""

    def make(template: str = "template0") -> URL:
        name = f"test_{os.getpid()}_{next(_numbers)}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return server_url.set(database=name)

    return make


@pytest.fixture(scope="session")
def drop_database(admin: Engine) -> Callable[[URL], None]:
    """Drops a database that only one test had: to write hundreds of them to the disk in the end takes a minute."""

    def drop(url: URL) -> None:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)"))

    return drop


@pytest.fixture(scope="session")
def template(make_database: Callable[..., URL]) -> str:
    """The name of a database that the real migrations made."""
    url = make_database()
    engine = create_engine(url, poolclass=NullPool)
    schema.upgrade(engine)
    engine.dispose()
    assert url.database is not None
    return url.database


@pytest.fixture
def empty_url(make_database: Callable[..., URL], drop_database: Callable[[URL], None]) -> Iterator[URL]:
    """A database of the test's own, with nothing in it."""
    url = make_database()
    yield url
    drop_database(url)


@pytest.fixture
def url(make_database: Callable[..., URL], drop_database: Callable[[URL], None], template: str) -> Iterator[URL]:
    """A migrated database of the test's own."""
    url = make_database(template)
    yield url
    drop_database(url)


@pytest.fixture
def empty_engine(empty_url: URL) -> Iterator[Engine]:
    """An engine on a database with nothing in it."""
    engine = create_engine(empty_url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    """An engine on a migrated database of the test's own."""
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def shared_engine(make_database: Callable[..., URL], template: str) -> Iterator[Engine]:
    """An engine on a migrated database that no test may commit to."""
    engine = create_engine(make_database(template))
    yield engine
    engine.dispose()


@pytest.fixture
def session(shared_engine: Engine) -> Iterator[Session]:
    """A session whose work is rolled back."""
    with session_factory(shared_engine)() as session:
        yield session
        session.rollback()
