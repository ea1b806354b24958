"""A database for the tests alone: made beside the one that a URL names, or in a private server."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import NullPool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ProgrammingError

from pgcorpus import schema
from pgcorpus.config import database_url
from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.errors import DatabaseError
from pgcorpus.faults import sqlstate

URL_VARIABLE = "PGCORPUS_TEST_DATABASE_URL"

# Speed, not safety: what the tests write is thrown away.
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_INSUFFICIENT_PRIVILEGE = "42501"


@contextmanager
def fresh_database() -> Iterator[URL]:
    """Yield the URL of a new, migrated database, and drop it afterwards.

    It is made on the server of ``PGCORPUS_TEST_DATABASE_URL``; what that URL names is connected to, and never written
    to. Without the variable a private server is started for the time.

    Raises:
        DatabaseError: The role may not create databases, or pgvector cannot be installed in the new one.
        MissingExtraError: There is no URL, and the embedded server is not installed.
    """
    named = os.environ.get(URL_VARIABLE)
    with _at(database_url(named)) if named else _private_server() as server, _database_beside(server) as url:
        _migrate(url)
        yield url


@contextmanager
def _at(url: URL) -> Iterator[URL]:
    yield url


@contextmanager
def _private_server() -> Iterator[URL]:
    folder = Path(tempfile.mkdtemp(prefix="pgcorpus-testing-"))
    # Where root runs the tests, the server runs under another account.
    folder.chmod(0o711)
    try:
        with EmbeddedServer(folder / "server", SETTINGS) as server:
            yield database_url(server.url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database_beside(server: URL) -> Iterator[URL]:
    name = f"pgcorpus_test_{os.getpid()}_{secrets.token_hex(4)}"
    admin = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except ProgrammingError as exc:
        if sqlstate(exc) != _INSUFFICIENT_PRIVILEGE:
            raise
        raise DatabaseError(
            f"the role of {URL_VARIABLE} may not create databases, and tests write to no other than their own: "
            f"ALTER ROLE {server.username or 'name'} CREATEDB"
        ) from exc
    try:
        yield server.set(database=name)
    finally:
        with admin.connect() as connection:
            # A test may have left connections open.
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def _migrate(url: URL) -> None:
    engine = create_engine(url, poolclass=NullPool)
    schema.upgrade(engine)
    engine.dispose()
