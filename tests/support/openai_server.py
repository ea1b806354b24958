"""A server on this machine that speaks ``POST /v1/embeddings``, so that tests use the real client over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MODELS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "tiny-8": 8}


class Request(NamedTuple):
    """What arrived: the decoded JSON, and headers in lower case."""

    body: dict[str, Any]
    headers: dict[str, str]


class Reply(NamedTuple):
    """What goes back: text as it is, anything else as JSON."""

    status: int
    body: object
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


Answer = Callable[[Request], Reply]


def embedding_of(text: str, dimensions: int) -> NDArray[np.float32]:
    """Return the vector this server gives a text: random, of length 1, the same on every run."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def truthful(request: Request) -> Reply:
    """Answer as OpenAI does, its refusals of bad input included."""
    texts, model = request.body["input"], request.body["model"]
    if model not in MODELS:
        return failure(404, f"The model `{model}` does not exist.")(request)
    if not 1 <= len(texts) <= 2048 or "" in texts:
        return failure(400, "'$.input' is invalid.")(request)
    dimensions = request.body.get("dimensions", MODELS[model])
    as_floats = request.body.get("encoding_format", "float") == "float"
    vectors = [embedding_of(text, dimensions) for text in texts]
    data = [
        {"object": "embedding", "index": index, "embedding": vector.tolist() if as_floats else to_base64(vector)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return Reply(200, {"object": "list", "data": data, "model": model, "usage": usage})


def floats(request: Request) -> Reply:
    """Answer numbers whatever was asked, as some compatible servers do."""
    return truthful(request._replace(body={**request.body, "encoding_format": "float"}))


def edited(edit: Callable[[list[dict[str, Any]]], object], answer: Answer = truthful) -> Answer:
    """Answer with the ``data`` list changed in place by ``edit``."""

    def reply(request: Request) -> Reply:
        made: Any = answer(request)
        edit(made.body["data"])
        return Reply(*made)

    return reply


def failure(status: int, message: str, **headers: str) -> Answer:
    """Answer an error in OpenAI's form; header names are given with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request: Reply(status, {"error": {"message": message, "type": "x", "code": None}}, named)


def to_base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


class OpenAIServer:
    """Use as a context manager.

    Attributes:
        requests: What arrived, in order.
        script: The answers to the next requests; ``truthful`` once it is empty.
        released: Set when the server closes; ``hang`` waits for it.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: deque[Answer] = deque()
        self.released = Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def hang(self, request: Request) -> Reply:
        """Answer only when the server closes."""
        self.released.wait(30)
        return truthful(request)

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _answer(self, request: Request) -> Reply:
        self.requests.append(request)
        answer = self.script.popleft() if self.script else truthful
        return answer(request)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                known = self.path == "/v1/embeddings"
                reply = server._answer(Request(body, headers)) if known else Reply(404, "no such page")
                self._send(reply)

            def _send(self, reply: Reply) -> None:
                is_text = isinstance(reply.body, str)
                content = (reply.body if isinstance(reply.body, str) else json.dumps(reply.body)).encode()
                kind = {"Content-Type": "text/html" if is_text else "application/json"}
                try:
                    self.send_response(reply.status)
                    for name, value in (kind | reply.headers | {"Content-Length": str(len(content))}).items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):
                    # The client stopped waiting, which is what some tests are about.
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler
