"""The OpenAI embedders through the real client, over HTTP, against a scripted server: requests and answers."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from openai import AsyncAzureOpenAI, AzureOpenAI, OpenAI

from pgcorpus.errors import ConfigError, EmbeddingError
from pgcorpus.services.embedding import AsyncOpenAIEmbedder, OpenAIEmbedder
from tests.support.openai_checks import TEXTS, expected, inputs
from tests.support.openai_server import (
    OpenAIServer,
    Reply,
    edited,
    embedding_of,
    failure,
    floats,
    refuses_base64,
    to_base64,
    truthful,
)

Connect = Callable[..., Any]


def test_the_default_model_gives_one_exact_vector_for_each_text(server: OpenAIServer, connect: Connect) -> None:
    vectors = connect("text-embedding-3-small").embed(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, expected(TEXTS, 1536))
    assert server.requests[0].headers["authorization"] == "Bearer sk-test"


def test_base64_is_asked_for_and_no_dimensions_unless_wanted(server: OpenAIServer, connect: Connect) -> None:
    connect("text-embedding-3-small").embed(["a"])
    assert server.requests[0].body == {
        "model": "text-embedding-3-small",
        "input": ["a"],
        "encoding_format": "base64",
    }


def test_a_server_that_only_answers_numbers_is_understood(server: OpenAIServer, connect: Connect) -> None:
    server.script.append(floats)
    np.testing.assert_array_equal(connect().embed(TEXTS), expected(TEXTS))


def test_numbers_can_be_asked_for(server: OpenAIServer, connect: Connect) -> None:
    np.testing.assert_array_equal(connect(encoding_format="float").embed(TEXTS), expected(TEXTS))
    assert server.requests[0].body["encoding_format"] == "float"


def test_an_answer_in_another_order_is_sorted_by_its_index(server: OpenAIServer, connect: Connect) -> None:
    server.script.append(edited(list.reverse))
    np.testing.assert_array_equal(connect().embed(TEXTS), expected(TEXTS))


def test_shorter_vectors_are_asked_for_and_named_in_the_identity(server: OpenAIServer, connect: Connect) -> None:
    embedder = connect("text-embedding-3-large", dimensions=1536)
    assert embedder.embed(["a"]).shape == (1, 1536)
    assert server.requests[0].body["dimensions"] == 1536
    assert (embedder.model, embedder.dimensions) == ("text-embedding-3-large@1536", 1536)


def test_the_length_of_an_unknown_model_is_learned_from_its_first_answer(
    server: OpenAIServer, connect: Connect
) -> None:
    embedder = connect("tiny-8")
    embedder.embed(["a"])
    assert embedder.dimensions == 8
    assert len(server.requests) == 1


def test_the_length_of_an_unknown_model_is_asked_for_when_it_is_needed_first(server: OpenAIServer) -> None:
    with OpenAIEmbedder("tiny-8", base_url=server.base_url, api_key="x") as embedder:
        assert embedder.dimensions == 8
    assert len(server.requests) == 1


def test_in_async_code_the_length_of_an_unknown_model_must_be_learned_first(server: OpenAIServer) -> None:
    with pytest.raises(ConfigError, match="embed a text first"):
        _ = AsyncOpenAIEmbedder("tiny-8", base_url=server.base_url, api_key="x").dimensions


def test_once_learned_the_length_must_stay(server: OpenAIServer, connect: Connect) -> None:
    embedder = connect("tiny-8")
    embedder.embed(["a"])
    server.script.append(edited(lambda data: data[0].update(embedding=to_base64(embedding_of("b", 7)))))
    with pytest.raises(EmbeddingError, match=r"texts\[0\] has 7 dimensions instead of 8"):
        embedder.embed(["b"])


def test_no_texts_need_no_request(server: OpenAIServer, connect: Connect) -> None:
    assert connect("text-embedding-3-small").embed([]).shape == (0, 1536)
    assert server.requests == []


def test_more_texts_than_a_request_takes_are_split_in_order(server: OpenAIServer, connect: Connect) -> None:
    texts = [f"text {number}" for number in range(2 * 2048 + 1)]
    np.testing.assert_array_equal(connect().embed(texts), expected(texts))
    assert sorted(len(batch) for batch in inputs(server)) == [1, 2048, 2048]


def test_a_server_with_a_smaller_limit_gets_smaller_requests(server: OpenAIServer, connect: Connect) -> None:
    connect(max_inputs=2, concurrency=1).embed(TEXTS)
    assert inputs(server) == [["first", "second"], ["third"]]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", ""], r"texts\[1\] is empty"),
        (["a", None], r"texts\[1\] is of type NoneType"),
        (["\ud800"], r"texts\[0\] is not valid Unicode"),
        ("abc", r"\[text\]"),
    ],
)
def test_what_cannot_be_embedded_is_refused_before_any_request(
    server: OpenAIServer, connect: Connect, texts: Any, message: str
) -> None:
    with pytest.raises(EmbeddingError, match=message):
        connect(max_inputs=1).embed(texts)
    assert server.requests == []


def spoil_last(embedding: object) -> Any:
    return edited(lambda data: data[-1].update(embedding=embedding))


NAN = np.array([np.nan] * 8, dtype=np.float32)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (edited(list.pop), "2 embeddings for 3 texts"),
        (edited(lambda data: data.append(data[0])), "4 embeddings for 3 texts"),
        (edited(lambda data: data[2].update(index=0)), "not numbered"),
        (edited(lambda data: data[2].pop("index")), "not numbered"),
        (edited(lambda data: data[2].pop("embedding")), r"texts\[2\] cannot be read"),
        (spoil_last(to_base64(embedding_of("x", 7))), r"texts\[2\] has 7 dimensions instead of 8"),
        (spoil_last([0.5] * 7), r"texts\[2\] has 7 dimensions instead of 8"),
        (spoil_last(to_base64(NAN)), r"texts\[2\] is not finite"),
        (spoil_last(NAN.tolist()), r"texts\[2\] is not finite"),
        (spoil_last([1e300] * 8), r"texts\[2\] is not finite"),
        (spoil_last([0.0] * 8), r"texts\[2\] is zero"),
        (spoil_last("AAA"), r"texts\[2\] cannot be read"),
        (spoil_last("!" + to_base64(embedding_of("x", 8))), r"texts\[2\] cannot be read"),
        (spoil_last(["x"] * 8), r"texts\[2\] cannot be read"),
        (spoil_last([10**400] * 8), "cannot be read"),
        (lambda _request: Reply(200, "<html>a login page</html>"), "base_url end in /v1"),
        (lambda _request: Reply(200, {"data": None}), "base_url end in /v1"),
        (lambda _request: Reply(200, "{", {"Content-Type": "application/json"}), "cannot be read: check base_url"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_that_says_why(
    server: OpenAIServer, connect: Connect, answer: Any, message: str
) -> None:
    server.script.append(answer)
    with pytest.raises(EmbeddingError, match=rf"^tiny-8 at {server.base_url}: .*{message}"):
        connect().embed(TEXTS)


def test_an_unusable_vector_is_named_by_its_place_among_all_texts(server: OpenAIServer, connect: Connect) -> None:
    server.script.extend([floats, spoil_last(to_base64(NAN))])
    with pytest.raises(EmbeddingError, match=r"texts\[3\] is not finite"):
        connect(max_inputs=2, concurrency=1).embed([*TEXTS, "fourth"])


def test_the_key_and_the_address_come_from_the_environment(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    embedder = OpenAIEmbedder()
    embedder.embed(TEXTS)
    embedder.close()
    assert server.requests[0].headers["authorization"] == "Bearer sk-environment"


def test_an_injected_client_is_used_as_it_is_and_left_open(server: OpenAIServer) -> None:
    with OpenAI(api_key="sk-mine", base_url=server.base_url, default_headers={"X-Team": "search"}) as client:
        embedder = OpenAIEmbedder("tiny-8", client=client)
        embedder.embed(TEXTS)
        embedder.close()
        np.testing.assert_array_equal(embedder.embed(TEXTS), expected(TEXTS))
    assert server.requests[0].headers["x-team"] == "search"
    assert server.requests[0].headers["authorization"] == "Bearer sk-mine"


def test_a_closed_embedder_opens_a_new_client_when_it_is_used_again(server: OpenAIServer, connect: Connect) -> None:
    embedder = connect()
    embedder.embed(TEXTS)
    embedder.close()
    np.testing.assert_array_equal(embedder.embed(TEXTS), expected(TEXTS))


@pytest.mark.parametrize("refusal", [refuses_base64, failure(400, "invalid request"), failure(422, "unprocessable")])
def test_a_server_that_refuses_base64_is_asked_for_numbers_from_then_on(
    server: OpenAIServer, connect: Connect, refusal: Any
) -> None:
    server.script.append(refusal)
    embedder = connect()
    for _ in range(2):
        np.testing.assert_array_equal(embedder.embed(TEXTS), expected(TEXTS))
    assert [request.body["encoding_format"] for request in server.requests] == ["base64", "float", "float"]


def test_all_requests_that_were_under_way_are_sent_again_as_numbers(server: OpenAIServer, connect: Connect) -> None:
    server.usual = refuses_base64
    texts = [f"text {number}" for number in range(10)]
    np.testing.assert_array_equal(connect(max_inputs=1).embed(texts), expected(texts))
    assert sorted(server.texts) == sorted(texts)


def test_a_refusal_for_another_reason_is_reported_and_base64_is_asked_for_again(
    server: OpenAIServer, connect: Connect
) -> None:
    server.script.extend([failure(400, "no such parameter")] * 2)
    embedder = connect()
    with pytest.raises(EmbeddingError, match="no such parameter"):
        embedder.embed(TEXTS)
    embedder.embed(TEXTS)
    assert [request.body["encoding_format"] for request in server.requests] == ["base64", "float", "base64"]


def test_where_base64_was_understood_a_refusal_is_not_its_fault(server: OpenAIServer, connect: Connect) -> None:
    server.script.extend([truthful, failure(400, "no such parameter")])
    embedder = connect()
    embedder.embed(TEXTS)
    with pytest.raises(EmbeddingError, match="no such parameter"):
        embedder.embed(TEXTS)
    assert len(server.requests) == 2


def test_what_was_embedded_is_counted(server: OpenAIServer, connect: Connect) -> None:
    embedder = connect(max_inputs=2)
    embedder.embed(TEXTS)
    embedder.embed(["a"])
    assert (embedder.usage.requests, embedder.usage.texts, embedder.usage.tokens) == (3, 4, 4)


def test_a_server_that_tells_no_tokens_costs_none(server: OpenAIServer, connect: Connect) -> None:
    def silent(request: Any) -> Reply:
        made: Any = truthful(request)
        return Reply(200, {"data": made.body["data"]})

    server.script.append(silent)
    embedder = connect()
    embedder.embed(TEXTS)
    assert (embedder.usage.requests, embedder.usage.texts, embedder.usage.tokens) == (1, 3, 0)


def test_an_answer_that_cannot_be_used_was_paid_for_all_the_same(server: OpenAIServer, connect: Connect) -> None:
    server.script.append(edited(list.pop))
    embedder = connect()
    with pytest.raises(EmbeddingError):
        embedder.embed(TEXTS)
    assert embedder.usage.tokens == 3


def test_a_client_of_azure_names_the_deployment_in_the_address(server: OpenAIServer) -> None:
    with AzureOpenAI(api_key="k", base_url=server.base_url, api_version="2024-10-21") as client:
        vectors = OpenAIEmbedder("tiny-8", client=client).embed(TEXTS)
    np.testing.assert_array_equal(vectors, expected(TEXTS))
    assert server.requests[0].path.endswith("/deployments/tiny-8/embeddings")
    assert server.requests[0].headers["api-key"] == "k"


def test_an_async_client_of_azure_is_used_as_it_is_and_left_open(server: OpenAIServer) -> None:
    async def embed() -> None:
        async with AsyncAzureOpenAI(api_key="k", base_url=server.base_url, api_version="2024-10-21") as client:
            async with AsyncOpenAIEmbedder("tiny-8", client=client) as embedder:
                await embedder.embed(TEXTS)
            np.testing.assert_array_equal(await embedder.embed(TEXTS), expected(TEXTS))

    asyncio.run(embed())
    assert server.requests[1].headers["api-key"] == "k"


def test_an_async_embedder_works_in_one_event_loop_after_another(server: OpenAIServer) -> None:
    embedder = AsyncOpenAIEmbedder("tiny-8", base_url=server.base_url, api_key="x", max_inputs=1, concurrency=2)

    async def embed() -> Any:
        async with embedder:
            return await embedder.embed(TEXTS)

    for _ in range(2):
        np.testing.assert_array_equal(asyncio.run(embed()), expected(TEXTS))


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_connections_of_event_loops_that_were_closed_are_let_go(
    server: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = AsyncOpenAIEmbedder("tiny-8", base_url=server.base_url, api_key="x")
    loops = weakref.WeakSet[asyncio.AbstractEventLoop]()

    async def embed(*, close: bool = False) -> None:
        loops.add(asyncio.get_running_loop())
        await embedder.embed(TEXTS)
        gc.collect()
        if close:
            await embedder.close()

    for _ in range(3):
        asyncio.run(embed())
    asyncio.run(embed(close=True))
    gc.collect()
    assert len(loops) == 0
    assert "never retrieved" not in caplog.text


FORKING = """
import os, sys
from pathlib import Path
from pgcorpus.services.answering import OpenAIChat
from pgcorpus.services.embedding import OpenAIEmbedder

def sockets():
    names = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return {os.readlink(path) for path in names if os.path.lexists(path) and "socket" in os.readlink(path)}

embedder = OpenAIEmbedder("tiny-8", base_url=sys.argv[1], api_key="x")
chat = OpenAIChat(base_url=sys.argv[1], api_key="x")
use = [lambda: embedder.embed(["a"]), lambda: chat.complete([{"role": "user", "content": "a"}])]
for each in use:
    each()
parents = sockets()
if not os.fork():
    for each in use:
        each()
    print(len(sockets() - parents), flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for its sockets in /proc")
def test_a_child_process_does_not_use_its_parents_connections(server: OpenAIServer) -> None:
    command = [sys.executable, "-c", FORKING, server.base_url]
    assert subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout == "2\n"


def test_no_texts_give_no_batches_and_no_request(server: OpenAIServer, connect: Connect) -> None:
    assert connect().gather([]) == ([], None)
    assert server.requests == []
