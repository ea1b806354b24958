"""Kills, leftovers, a full disk: the next start repairs, and nothing innocent is harmed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from pgcorpus.embedded import EmbeddedServer, binaries
from pgcorpus.embedded.account import server_account
from pgcorpus.errors import EmbeddedServerError
from tests.support.servers import (
    FAST,
    is_alive,
    kill_server,
    open_session,
    python,
    query,
    wait_for,
)

pytestmark = pytest.mark.embedded


def test_innocent_process_with_the_stale_pid_survives(server: EmbeddedServer) -> None:
    """After a crash the server's process id may be anyone's: that one is not harmed, and nothing is refused."""
    server.start()
    kill_server(server)
    account = server_account(server.data_dir / "pgdata")
    # Under the server's account, where PostgreSQL itself takes any living process for a server.
    innocent = subprocess.Popen(["sleep", "60"], **account.identity())
    pid_file = server.data_dir / "pgdata" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(innocent.pid), *lines[1:]]) + "\n")
    try:
        assert not server.status().running
        server.shutdown(force=True)
        server.start()
        assert query(server.url, "SELECT 1") == [(1,)]
        server.shutdown(force=True)
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


def test_killed_server_recovers(server: EmbeddedServer) -> None:
    """A server killed with SIGKILL is not taken for running, and the next start recovers its data."""
    server.start()
    with open_session(server) as session:
        session.execute("CREATE TABLE IF NOT EXISTS survivor AS SELECT 7 AS n")
    kill_server(server)
    assert not server.status().running
    with EmbeddedServer(server.data_dir, FAST) as second:
        assert query(second.url, "SELECT n FROM survivor") == [(7,)]


def test_start_waits_for_backends_of_a_killed_server(server: EmbeddedServer) -> None:
    """A backend that outlives its killed server still writes its memory: the next start waits for its end."""
    server.start()
    session = open_session(server)

    def work() -> None:
        with suppress(psycopg.OperationalError):
            session.execute("SELECT count(*) FROM generate_series(1, 8000000)")

    worker = threading.Thread(target=work)
    worker.start()
    time.sleep(0.2)
    kill_server(server)
    with EmbeddedServer(server.data_dir, FAST) as second:
        assert query(second.url, "SELECT 1") == [(1,)]
        assert "pre-existing shared memory block" in second.status().log.read_text()
    worker.join()
    session.close()


def test_living_server_without_socket_is_not_doubled(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When only the socket is gone, a second server on the same data is refused and the first lives on."""
    server = EmbeddedServer(fresh, FAST)
    server.start()
    pid = server.status().pid
    assert pid is not None
    monkeypatch.setattr("pgcorpus.embedded.postmaster.SILENT_SECONDS", 0.2)
    session = open_session(server)
    host = make_url(server.url).query["host"]
    (Path(str(host)) / ".s.PGSQL.5432").unlink()
    with pytest.raises(EmbeddedServerError, match=f"another postmaster \\(PID {pid}\\)"):
        EmbeddedServer(fresh, FAST).start()
    assert session.execute("SELECT 1").fetchone() == (1,)
    session.close()
    os.kill(pid, signal.SIGINT)
    assert wait_for(lambda: not is_alive(pid))
    server.stop()


@pytest.mark.parametrize("moment", ["initdb", "server"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_first_start_is_repaired(fresh: Path, number: signal.Signals, moment: str) -> None:
    """Whenever a first start is cut short, the next one works, leaves no rubbish and nothing running."""
    signs = {"initdb": "pgdata.new-*/PG_VERSION", "server": "pgdata/postmaster.pid"}
    process = python("server.start()\ntime.sleep(60)", fresh)
    assert wait_for(lambda: any(fresh.glob(signs[moment])))
    os.kill(process.pid, number)
    process.communicate()
    server = EmbeddedServer(fresh, FAST)

    def starts_clean() -> bool:
        with server:
            assert query(server.url, "SELECT 1") == [(1,)]
        return not list(fresh.glob("*.new-*"))

    # An initdb whose parent was killed may go on for a moment, into its own folder.
    assert wait_for(starts_clean)
    assert not server.status().running


def test_leftovers_of_a_killed_initdb_are_removed(home: Path, server: EmbeddedServer) -> None:
    """Half a cluster beside the real one goes away with the next start."""
    server.start()
    server.stop()
    leftover = home / "pgdata.new-killed"
    leftover.mkdir()
    (leftover / "PG_VERSION").write_text("18\n")
    with server:
        assert not leftover.exists()


def test_failing_start_shows_the_log(home: Path) -> None:
    """A server that does not start says why, in the words of its log, and leaves no hold."""
    broken = EmbeddedServer(home, {**FAST, "work_mem": "a lot"})
    with pytest.raises(EmbeddedServerError, match=r'invalid value for parameter "work_mem": "a lot"'):
        broken.start()
    assert not broken.status().running
    assert broken.status().holders == ()


def test_full_disk_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system becomes one line with the fix."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(home))

    monkeypatch.setattr("pgcorpus.embedded.place.Place.open_log", full)
    with pytest.raises(EmbeddedServerError, match=r"disk of .* is full: free some space"):
        EmbeddedServer(home, FAST).start()


def test_other_major_version_is_refused(server: EmbeddedServer) -> None:
    """Data of another major version are left alone, and the error names both versions and both ways out."""
    server.start()
    server.stop()
    version = server.data_dir / "pgdata" / "PG_VERSION"
    version.write_text("17\n")
    try:
        with pytest.raises(EmbeddedServerError, match=r"PostgreSQL 17.*PostgreSQL 18.*pgcorpus db reset.*==17\.\*"):
            server.start()
    finally:
        version.write_text("18\n")


def test_lesser_processor_is_refused(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without AVX2 is told before anything is started, for pgvector would die of SIGILL."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu sse sse2 fma\n")
    with pytest.raises(EmbeddedServerError, match=r"no avx2.*PGCORPUS_DATABASE_URL"):
        binaries.check_cpu("x86_64", cpuinfo)
    monkeypatch.setitem(binaries.NEEDED_FLAGS, os.uname().machine, ("no-such-flag",))
    with pytest.raises(EmbeddedServerError, match="no no-such-flag"):
        EmbeddedServer(fresh).start()
