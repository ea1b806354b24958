"""Threads and processes share one server, which stops with the last of them."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pgcorpus.embedded import EmbeddedServer
from tests.support.servers import (
    FAST,
    HOLD,
    finish,
    first_line,
    is_alive,
    python,
    query,
)

pytestmark = pytest.mark.embedded


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
