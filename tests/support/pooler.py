"""Poolers in transaction mode: one of our own, which hands around when it is told to, and PgBouncer where it is."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from pgcorpus.embedded import EmbeddedServer
from pgcorpus.embedded.account import server_account
from tests.support.serving import free_port
from tests.support.waiting import wait_until

# PostgreSQL documentation, "Message Formats": what comes in place of a start-up message.
_CANCEL, _SSL, _GSS = 80877102, 80877103, 80877104


class TransactionPooler:
    """Gives each client two sessions of the server, and between transactions the one that ``turn`` names.

    What the client asks for at connect, its ``options``, reaches at most the first, as with a pooler that opened the
    other one for somebody else.

    Args:
        server: Where the server's socket is.
        options: Whether the first session gets the client's options.

    Attributes:
        turn: The session that serves the transactions to come, 0 or 1.
    """

    def __init__(self, server: Path, *, options: bool = True) -> None:
        self.turn = 0
        self._server = server
        self._options = options
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._clients: list[socket.socket] = []

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> TransactionPooler:
        self._threads[0].start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            with suppress(OSError):  # it has gone already
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(ConnectionError):
            start = _start_of(client)
            if start is None:
                return
            with self._open(start, keep=self._options) as first, self._open(start, keep=False) as second:
                client.sendall(_answer(first))
                _answer(second)
                self._relay(client, (first, second))

    def _open(self, start: dict[str, str], *, keep: bool) -> socket.socket:
        session = socket.socket(socket.AF_UNIX)
        session.connect(str(self._server))
        wanted = {name: value for name, value in start.items() if keep or name != "options"}
        words = b"".join(word.encode() + b"\0" for pair in wanted.items() for word in pair) + b"\0"
        session.sendall(struct.pack("!II", len(words) + 8, 3 << 16) + words)
        return session

    def _relay(self, client: socket.socket, sessions: tuple[socket.socket, socket.socket]) -> None:
        session, idle, batch = sessions[0], True, b""
        while True:
            message = _message(client)
            batch += message
            if message[:1] == b"X":
                return
            if message[:1] in (b"S", b"Q"):
                session = sessions[self.turn] if idle else session
                session.sendall(batch)
                answer, batch = _answer(session), b""
                idle = answer[-1:] == b"I"
                client.sendall(answer)


def _start_of(client: socket.socket) -> dict[str, str] | None:
    """Return the parameters of a client's start-up message; None for one that only cancels."""
    while True:
        (size,) = struct.unpack("!I", _exactly(client, 4))
        body = _exactly(client, size - 4)
        (code,) = struct.unpack("!I", body[:4])
        if code == _CANCEL:
            return None
        if code not in (_SSL, _GSS):
            words = body[4:].rstrip(b"\0").decode().split("\0")
            return dict(zip(words[::2], words[1::2], strict=True))
        client.sendall(b"N")


def _answer(session: socket.socket) -> bytes:
    """Return what a server says until it is ready for the next query."""
    said = b""
    while True:
        message = _message(session)
        said += message
        if message[:1] == b"Z":
            return said


def _message(peer: socket.socket) -> bytes:
    head = _exactly(peer, 5)
    return head + _exactly(peer, struct.unpack("!I", head[1:])[0] - 4)


def _exactly(peer: socket.socket, size: int) -> bytes:
    said = b""
    while len(said) < size:
        part = peer.recv(size - len(said))
        if not part:
            raise ConnectionError("the other side closed the connection")
        said += part
    return said


def socket_of(server: EmbeddedServer) -> Path:
    """Return the server's socket."""
    url = make_url(server.url)
    return Path(str(url.query["host"])) / f".s.PGSQL.{url.query.get('port', url.port or 5432)}"


def through(url: URL, port: int) -> URL:
    """Return the URL of a database by way of a pooler."""
    return url.set(host="127.0.0.1", port=port).difference_update_query(["host", "port"])


PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

_SETTINGS = """\
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
admin_users = {user}
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = options,extra_float_digits
"""


@contextmanager
def pgbouncer(server: EmbeddedServer, folder: Path) -> Iterator[int]:
    """Run PgBouncer in transaction mode before a server, as the server's account, and yield its port.

    Args:
        server: The server.
        folder: Where that account can read.
    """
    assert PGBOUNCER
    account = server_account(server.data_dir / "pgdata")
    place = socket_of(server)
    listen = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        _SETTINGS.format(host=place.parent, port=place.name.rpartition(".")[2], user="corpus", listen=listen)
    )
    settings.chmod(0o644)
    process = subprocess.Popen([PGBOUNCER, "-q", str(settings)], stderr=subprocess.PIPE, **account.identity())
    try:
        wait_until(lambda: process.poll() is not None or _listens(listen))
        assert process.poll() is None, process.communicate()[1]
        yield listen
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
