"""A server that speaks OpenAI's API and answers everything after a fixed time, in a process of its own.

Its answers are made beforehand: what is measured is the client.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

DIMENSIONS = 1536
MOST = 256
REPLY = {
    "id": "x",
    "object": "chat.completion",
    "created": 0,
    "model": "bench",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "It is so [1]."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@contextmanager
def model_server(delay: float) -> Iterator[str]:
    """Yield the ``base_url`` of a server that takes ``delay`` seconds for every answer."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.services.model_server", str(delay)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101 -- it is a pipe
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()


def _items() -> list[str]:
    vectors = np.random.default_rng(0).standard_normal((MOST, DIMENSIONS)).astype("<f4")
    return [
        json.dumps({"object": "embedding", "index": index, "embedding": base64.b64encode(vector.tobytes()).decode()})
        for index, vector in enumerate(vectors)
    ]


def _serve(delay: float) -> None:
    items = _items()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes: without this the second waits for the client's acknowledgement, 40 ms.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(delay)
            content = (_embeddings(len(request["input"])) if "input" in request else json.dumps(REPLY)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    def _embeddings(count: int) -> str:
        usage = json.dumps({"prompt_tokens": count, "total_tokens": count})
        return f'{{"object": "list", "model": "bench", "data": [{",".join(items[:count])}], "usage": {usage}}}'

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)  # noqa: T201 -- the parent reads it
    server.serve_forever()


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
