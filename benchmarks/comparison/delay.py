"""A slower network: a proxy for a Unix socket that holds back each message in each direction.

``python -m benchmarks.comparison.delay FROM TO SECONDS`` listens on the path FROM until it is ended. The proxy itself
and every sleep take longer than they should, so the delay is adjusted to what comes about (``measure.delayed``).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.comparison.client import ROOT

# More than a vector, so that one stays one message.
BUFFER = 256 * 1024
START_SECONDS = 10


@contextmanager
def slowed(host: Path, port: int, folder: Path, delay: float) -> Iterator[Path]:
    """Offer the server's socket once more, but slower.

    Args:
        host: Folder of the server's socket.
        port: Its port.
        folder: Folder for the slow socket, with the same port.
        delay: Seconds that each direction takes longer.
    """
    name = f".s.PGSQL.{port}"
    folder.mkdir(mode=0o700)
    proxy = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.comparison.delay", str(folder / name), str(host / name), str(delay)],
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        _wait_for(folder / name)
        yield folder
    finally:
        proxy.kill()
        proxy.wait()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the proxy did not open {path}")
        time.sleep(0.02)


def serve(listen: Path, target: Path, delay: float) -> None:
    """Take connections for ever, each with two threads."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listen))
        server.listen()
        while True:
            near, _ = server.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(target))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, sink, delay), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, delay: float) -> None:
    with suppress(OSError):
        while data := source.recv(BUFFER):
            time.sleep(delay)
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
