"""A hot standby of a server, for the tests that only a real one can tell anything."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import NullPool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer, binaries
from pgcorpus.embedded.account import server_account
from tests.support.waiting import wait_until


@contextmanager
def standby_of(server: EmbeddedServer, url: URL, folder: Path) -> Iterator[URL]:
    """Yield the URL of a standby that follows a server.

    Args:
        server: The primary, running.
        url: Of a database in it.
        folder: That the server's account can reach.
    """
    account = server_account(server.data_dir / "pgdata")
    install, home = binaries.find(), Path(tempfile.mkdtemp(dir=folder, prefix="standby-"))
    install = install if install.usable_by(account) else install.copied_to(folder)
    account.give(home)
    data, socket = home / "pgdata", str(url.query["host"])
    backup = [install.program("pg_basebackup"), "-h", socket, "-p", str(url.query["port"]), "-U", url.username]
    identity = account.identity()
    subprocess.run(
        [*map(str, backup), "-D", str(data), "-R", "-c", "fast", "-X", "stream"],
        check=True, capture_output=True, cwd=home, **identity,
    )  # fmt: skip
    settings = {"unix_socket_directories": str(home), "max_standby_streaming_delay": "0", "fsync": "off"}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = subprocess.Popen(
        [str(install.program("postgres")), "-D", str(data), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=home, **identity,
    )  # fmt: skip
    try:
        there = url.update_query_dict({"host": str(home)})
        wait_until(lambda: _answers(there))
        yield there
    finally:
        process.terminate()
        process.wait()


def _answers(url: URL) -> bool:
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT pg_is_in_recovery()")))
    except OperationalError:
        return False
    finally:
        engine.dispose()
