"""A server on this machine that speaks the OpenAI API, so that tests use the real client over real HTTP.

It knows ``POST /v1/embeddings`` and ``POST /v1/chat/completions``. An *answer* is a function from a request to a reply:
``truthful`` does what OpenAI does, the others what goes wrong. Put answers into ``server.script`` (embeddings) or
``server.chat_script`` (chat) for the next requests, or into ``server.usual`` for all that follow.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.replies import Handler, Listener, Reply, Request

# Azure's client puts the deployment's name before them.
EMBEDDINGS, CHAT = "/embeddings", "/chat/completions"
MODELS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "tiny-8": 8}
CANNED = "It is in the handbook [1]."


Answer = Callable[[Request], Reply]


def embedding_of(text: str, dimensions: int) -> NDArray[np.float32]:
    """Return the vector this server gives a text: random, of length 1, the same on every run."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def truthful(request: Request) -> Reply:
    """Answer as OpenAI does, its refusals of bad input included."""
    return says(CANNED)(request) if request.path.endswith(CHAT) else _embeddings(request)


def _embeddings(request: Request) -> Reply:
    texts, model = request.texts, request.body["model"]
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


def says(content: str, *, finish: str = "stop", prompt_tokens: int = 12) -> Answer:
    """Answer a chat with ``content``: at once, or word by word where a stream is asked for."""

    def reply(request: Request) -> Reply:
        words = content.split(" ")
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(words),
            "total_tokens": prompt_tokens + len(words),
        }
        if request.body.get("stream"):
            return Reply(200, _events(request.body, content, finish, usage))
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return Reply(200, _completion(request.body, [choice]) | {"usage": usage})

    return reply


def _events(body: dict[str, Any], content: str, finish: str, usage: dict[str, int]) -> Iterator[object]:
    def event(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        return _completion(body, [{"index": 0, "delta": delta, "finish_reason": finish_reason}], ".chunk")

    first, *others = content.split(" ")
    yield event({"role": "assistant", "content": ""})
    yield from (event({"content": word}) for word in [first, *(f" {other}" for other in others)])
    yield event({}, finish)
    if (body.get("stream_options") or {}).get("include_usage"):
        yield _completion(body, [], ".chunk") | {"usage": usage}
    yield "[DONE]"


def _completion(body: dict[str, Any], choices: list[dict[str, Any]], kind: str = "") -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": f"chat.completion{kind}",
        "created": 0,
        "model": body["model"],
        "choices": choices,
    }


def floats(request: Request) -> Reply:
    """Answer numbers whatever was asked, as some compatible servers do."""
    return truthful(request._replace(body={**request.body, "encoding_format": "float"}))


def refuses_base64(request: Request) -> Reply:
    """Know only numbers, and say so."""
    if request.body.get("encoding_format") == "base64":
        return failure(400, "encoding_format: value is not a valid enumeration member; permitted: 'float'")(request)
    return truthful(request)


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


def cut(request: Request) -> Reply:
    """Close the connection in the middle of the body."""
    return truthful(request)._replace(whole=False)


def cut_stream(request: Request) -> Reply:
    """Close the connection after the first three events of a stream."""
    made: Any = truthful(request)
    return Reply(made.status, islice(made.body, 3), made.headers, whole=False)


def delayed(seconds: float, answer: Answer = truthful) -> Answer:
    """Answer after a while, or when the server closes."""

    def reply(request: Request) -> Reply:
        request.closing.wait(seconds)
        return answer(request)

    return reply


# For a test about time-outs, where it reads better.
slow = delayed


def quarter_of_bytes(text: str) -> int:
    """Return about the tokens of an English text."""
    return -(-len(text.encode()) // 4)


def limits(
    max_inputs: int = 2048,
    max_request_tokens: int = 300_000,
    max_input_tokens: int = 8192,
    count: Callable[[str], int] = quarter_of_bytes,
) -> Answer:
    """Refuse what is over OpenAI's limits, in its words; the tokens of a text are counted by ``count``."""

    def reply(request: Request) -> Reply:
        tokens = [count(text) for text in request.texts]
        if len(tokens) > max_inputs:
            return failure(400, f"'$.input' is invalid: at most {max_inputs} inputs.")(request)
        if max(tokens, default=0) > max_input_tokens:
            message = (
                f"This model's maximum context length is {max_input_tokens} tokens, however you requested "
                f"{max(tokens)} tokens ({max(tokens)} in your prompt; 0 for the completion). Please reduce your prompt."
            )
            return failure(400, message)(request)
        if sum(tokens) > max_request_tokens:
            message = f"Requested {sum(tokens)} tokens, max {max_request_tokens} tokens per request"
            return failure(400, message)(request)
        return truthful(request)

    return reply


def to_base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


class OpenAIServer:
    """Use as a context manager.

    Attributes:
        requests: What arrived, in order.
        texts: Every text that was answered with 200, in order of the answers: what OpenAI would bill.
        script: The answers to the next requests for embeddings; ``usual`` once it is empty.
        chat_script: The answers to the next chats; ``usual`` once it is empty.
        usual: ``truthful`` unless a test sets another.
        most_at_once: The most requests that were being answered at one moment.
        released: Set when the server closes; ``hang`` waits for it.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.texts: list[str] = []
        self.script: deque[Answer] = deque()
        self.chat_script: deque[Answer] = deque()
        self.usual: Answer = truthful
        self.most_at_once = self._at_once = 0
        self.released = Event()
        self._lock = Lock()
        self._http = Listener(("127.0.0.1", 0), self._handler())
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/v1"

    def hang(self, request: Request) -> Reply:
        """Answer only when the server closes."""
        self.released.wait(30)
        return truthful(request)

    def dies_after(self, n_texts: int) -> None:
        """Answer the requests that come before ``n_texts`` texts are reached, then 500 to everything."""
        taken = 0

        def reply(request: Request) -> Reply:
            nonlocal taken
            with self._lock:
                dead, taken = taken >= n_texts, taken + len(request.texts)
            return (failure(500, "The server had an error", retry_after_ms="1") if dead else truthful)(request)

        self.usual = reply

    def revive(self) -> None:
        """Answer truthfully again."""
        self.usual = truthful

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _answer(self, request: Request) -> Reply:
        answer = self._arrived(request)
        reply = answer(request)
        with self._lock:
            self._at_once -= 1
            if reply.status == 200:
                self.texts += request.texts
        return reply

    def _arrived(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            script = self.chat_script if request.path.endswith(CHAT) else self.script
            return script.popleft() if script else self.usual

    def _handler(self) -> type[Handler]:
        server = self

        class Handling(Handler):
            def reply_to(self, request: Request) -> Reply:
                known = request.path.endswith((EMBEDDINGS, CHAT))
                return server._answer(request) if known else Reply(404, "no such page")

            @property
            def closing(self) -> Event:
                return server.released

        return Handling
