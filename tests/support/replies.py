"""HTTP for servers of tests: JSON comes in, JSON or events go out, whole or cut."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any, NamedTuple


class Request(NamedTuple):
    """What arrived: the decoded JSON, headers in lower case, the path; ``closing`` is set when the server closes."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    closing: Event

    @property
    def texts(self) -> list[str]:
        """What is to be embedded; nothing where the request is no such."""
        given = self.body.get("input", [])
        return [given] if isinstance(given, str) else given


class Reply(NamedTuple):
    """What goes back: text as it is, an iterator as server-sent events, anything else as JSON.

    Without ``whole`` the connection closes in the middle of the body.
    """

    status: int
    body: object
    headers: Mapping[str, str] = {}
    whole: bool = True


class Listener(ThreadingHTTPServer):
    # More clients than five come at once.
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP; says nothing on the terminal."""

    protocol_version = "HTTP/1.1"
    closing: Any

    def reply_to(self, request: Request) -> Reply:
        raise NotImplementedError

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.reply_to(Request(body, headers, self.path.partition("?")[0], self.closing))
        try:
            self._send(reply)
        except (BrokenPipeError, ConnectionResetError):
            # The client stopped waiting, which is what some tests are about.
            self.close_connection = True

    def _send(self, reply: Reply) -> None:
        if isinstance(reply.body, Iterator):
            self._send_events(reply, reply.body)
        else:
            self._send_at_once(reply)

    def _send_at_once(self, reply: Reply) -> None:
        text = reply.body if isinstance(reply.body, str) else None
        content = (json.dumps(reply.body) if text is None else text).encode()
        kind = "application/json" if text is None else "text/html"
        self._start(reply, {"Content-Type": kind, "Content-Length": str(len(content))})
        self.wfile.write(content if reply.whole else content[: len(content) // 2])

    def _send_events(self, reply: Reply, events: Iterator[object]) -> None:
        self._start(reply, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for event in events:
            line = f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        if reply.whole:
            self.wfile.write(b"0\r\n\r\n")

    def _start(self, reply: Reply, headers: dict[str, str]) -> None:
        self.send_response(reply.status)
        for name, value in (headers | dict(reply.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = self.close_connection or not reply.whole

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
