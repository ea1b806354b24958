"""Web servers in a thread of the tests: real HTTP on a free port of this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from tests.support.waiting import wait_until


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serve_asgi(app: Any, **options: Any) -> Iterator[str]:
    """Run an ASGI app under uvicorn, its lifespan included, and stop it in the end.

    Args:
        app: The app.
        **options: Of ``uvicorn.Config``.

    Yields:
        The address, such as ``http://127.0.0.1:4711``.
    """
    import uvicorn

    # websockets, where it is installed, warns of its own past.
    usual: dict[str, Any] = {"log_level": "warning", "access_log": False, "ws": "none", "timeout_graceful_shutdown": 5}
    server = uvicorn.Server(uvicorn.Config(app, **usual | options))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            assert server.started, "the app did not start: see what uvicorn logged"
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def serve_wsgi(app: Any, *, threaded: bool = True) -> Iterator[str]:
    """Run a WSGI app under werkzeug and stop it in the end.

    Args:
        app: The app.
        threaded: Whether every request has a thread of its own.

    Yields:
        The address, such as ``http://127.0.0.1:4711``.
    """
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            """Say nothing."""

    server = make_server("127.0.0.1", 0, app, threaded=threaded, request_handler=Quiet)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
