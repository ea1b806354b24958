"""What the tests of the embedded server share: processes that hold it, and ways to kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from pgcorpus.embedded import EmbeddedServer
from pgcorpus.embedded.account import server_account

FAST = {"fsync": "off", "shared_buffers": "32MB"}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another account")


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
