"""The OpenAI embedders and what goes wrong: refusals, lost connections, servers that die; over real HTTP."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pgcorpus.errors import EmbeddingError
from tests.support.openai_checks import SOON, TEXTS, expected, inputs
from tests.support.openai_server import OpenAIServer, Reply, Request, cut, failure, truthful
from tests.support.waiting import wait_until

Connect = Callable[..., Any]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, r"maximum context length.*texts\[1\], 6 characters"),
        (401, "OPENAI_API_KEY"),
        (403, "permissions"),
        (404, "model's name and base_url"),
        (422, r"422, the request was refused.*maximum context length"),
    ],
)
def test_a_refusal_is_not_retried_and_says_what_to_do(
    server: OpenAIServer, connect: Connect, status: int, advice: str
) -> None:
    server.script.append(failure(status, "This model's maximum\ncontext length is 8192"))
    with pytest.raises(EmbeddingError, match=advice) as raised:
        connect().embed(TEXTS)
    assert len(server.requests) == 1
    assert "\n" not in str(raised.value)
    assert getattr(raised.value.__cause__, "status_code", None) == status


def test_the_key_is_never_repeated_in_a_message(server: OpenAIServer, connect: Connect) -> None:
    server.script.append(failure(401, "Incorrect API key provided: sk-te**st"))
    with pytest.raises(EmbeddingError) as raised:
        connect().embed(TEXTS)
    assert "sk-te" not in str(raised.value)


def test_a_rate_limit_is_waited_for(server: OpenAIServer, connect: Connect) -> None:
    server.script.append(failure(429, "slow down", retry_after="0.01"))
    np.testing.assert_array_equal(connect().embed(TEXTS), expected(TEXTS))
    assert inputs(server) == [TEXTS, TEXTS]


def test_a_used_up_quota_ends_after_the_retries_and_points_to_billing(server: OpenAIServer, connect: Connect) -> None:
    server.script.extend([failure(429, "You exceeded your current quota", **SOON)] * 5)
    with pytest.raises(EmbeddingError, match=r"billing.*exceeded your current quota"):
        connect().embed(TEXTS)
    assert len(server.requests) == 3


def test_a_server_that_keeps_failing_is_given_up_after_the_retries(server: OpenAIServer, connect: Connect) -> None:
    server.script.extend([failure(500, "broken", **SOON)] * 5)
    with pytest.raises(EmbeddingError, match="500, the server failed"):
        connect().embed(TEXTS)
    assert len(server.requests) == 3


def test_the_number_of_retries_can_be_chosen(server: OpenAIServer, connect: Connect) -> None:
    server.script.extend([failure(500, "broken", **SOON)] * 4)
    np.testing.assert_array_equal(connect(max_retries=4).embed(TEXTS), expected(TEXTS))
    assert len(server.requests) == 5


def test_a_long_page_of_a_proxy_is_cut_to_one_line(server: OpenAIServer, connect: Connect) -> None:
    server.script.append(lambda _request: Reply(502, "<html>\n" + "bad gateway\n" * 500))
    with pytest.raises(EmbeddingError, match="502") as raised:
        connect(max_retries=0).embed(TEXTS)
    assert len(str(raised.value)) < 500
    assert "\n" not in str(raised.value)


def test_a_server_that_does_not_answer_in_time_is_an_error(server: OpenAIServer, connect: Connect) -> None:
    server.script.append(server.hang)
    with pytest.raises(EmbeddingError, match="no answer in time: raise timeout"):
        connect(timeout=0.2, max_retries=0).embed(TEXTS)


def test_an_address_where_nothing_listens_is_named_without_its_password(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    embedder = connect(base_url=f"http://user:secret@127.0.0.1:{port}/v1", max_retries=0)
    with pytest.raises(EmbeddingError, match=f"http://127.0.0.1:{port}/v1.*OPENAI_BASE_URL") as raised:
        embedder.embed(TEXTS)
    assert "secret" not in str(raised.value)


def failing(text: str, times: int) -> Callable[[Request], Reply]:
    """Answer 500 to the first requests that hold a text."""
    left = times

    def reply(request: Request) -> Reply:
        nonlocal left
        if text in request.texts and left:
            left -= 1
            return failure(500, "broken", **SOON)(request)
        return truthful(request)

    return reply


def test_a_connection_cut_in_the_middle_of_an_answer_is_tried_again(server: OpenAIServer, connect: Connect) -> None:
    server.script.append(cut)
    np.testing.assert_array_equal(connect().embed(TEXTS), expected(TEXTS))
    assert inputs(server) == [TEXTS, TEXTS]


def test_a_connection_that_is_always_cut_is_an_error(server: OpenAIServer, connect: Connect) -> None:
    server.usual = cut
    with pytest.raises(EmbeddingError, match="cannot connect"):
        connect(max_retries=0).embed(TEXTS)


def test_a_request_that_the_client_gave_up_is_sent_once_more_when_the_others_are_done(
    server: OpenAIServer, connect: Connect
) -> None:
    server.usual = failing("second", times=3)
    vectors = connect(max_inputs=1, concurrency=1).embed(TEXTS)
    np.testing.assert_array_equal(vectors, expected(TEXTS))
    assert inputs(server) == [["first"], *[["second"]] * 3, ["third"], ["second"]]


def test_when_the_second_trial_fails_too_the_others_are_kept(server: OpenAIServer, connect: Connect) -> None:
    server.usual = failing("second", times=99)
    batches, error = connect(max_inputs=1, concurrency=1, max_retries=0).gather(TEXTS)
    assert [batch.first for batch in batches] == [0, 2]
    assert "500, the server failed" in str(error)
    assert "1 texts have no vector" in str(error)
    assert inputs(server) == [["first"], ["second"], ["third"], ["second"]]


def test_the_second_trial_can_be_left_out(server: OpenAIServer, connect: Connect) -> None:
    server.usual = failing("second", times=1)
    with pytest.raises(EmbeddingError, match="500"):
        connect(max_inputs=1, concurrency=1, max_retries=0, rounds=1).embed(TEXTS)
    assert inputs(server) == [["first"], ["second"], ["third"]]


def test_a_server_that_is_down_is_not_asked_for_every_batch(server: OpenAIServer, connect: Connect) -> None:
    server.usual = failure(503, "down", **SOON)
    with pytest.raises(EmbeddingError, match=r"503.*100 texts have no vector"):
        connect(max_inputs=1, concurrency=2, max_retries=0).embed([f"text {number}" for number in range(100)])
    assert len(server.requests) <= 5


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_after_a_failure_that_cannot_pass_nothing_more_is_sent(
    server: OpenAIServer, connect: Connect, status: int
) -> None:
    server.script.extend([truthful, failure(status, "no")])
    batches, error = connect(max_inputs=1, concurrency=1).gather([*TEXTS, "fourth"])
    assert [batch.first for batch in batches] == [0]
    assert str(status) in str(error)
    assert inputs(server) == [["first"], ["second"]]


def test_what_is_under_way_when_a_failure_cannot_pass_is_not_lost(server: OpenAIServer, connect: Connect) -> None:
    texts = [f"text {number}" for number in range(40)]

    def refuse_seventh(request: Request) -> Reply:
        return (failure(401, "no") if request.texts == ["text 7"] else truthful)(request)

    server.usual = refuse_seventh
    batches, error = connect(max_inputs=1).gather(texts)
    assert "401" in str(error)
    assert sorted(texts[batch.first] for batch in batches) == sorted(server.texts)
    assert 7 <= len(batches) < 39


def test_an_answer_that_cannot_be_used_keeps_the_others(server: OpenAIServer, connect: Connect) -> None:
    server.script.extend([truthful, lambda _request: Reply(200, {"data": []})])
    batches, error = connect(max_inputs=1, concurrency=1).gather(TEXTS)
    assert [batch.first for batch in batches] == [0]
    assert "0 embeddings for 1 texts" in str(error)


def test_what_came_before_the_server_died_is_kept_and_only_the_rest_is_asked_for(
    server: OpenAIServer, connect: Connect
) -> None:
    texts = [f"text {number}" for number in range(10_000)]
    embedder, kept = connect(max_inputs=100), np.full((10_000, 8), np.nan, np.float32)

    def embed(positions: list[int]) -> EmbeddingError | None:
        batches, error = embedder.gather([texts[position] for position in positions])
        for first, vectors in batches:
            kept[positions[first : first + len(vectors)]] = vectors
        return error

    server.dies_after(5000)
    assert "5,000 texts have no vector" in str(embed(list(range(10_000))))
    server.revive()
    assert embed(np.flatnonzero(np.isnan(kept[:, 0])).tolist()) is None
    np.testing.assert_array_equal(kept, expected(texts))
    assert sorted(server.texts) == sorted(texts)


def test_who_takes_no_more_batches_has_no_more_requests_sent(server: OpenAIServer, connect: Connect) -> None:
    embedder = connect(max_inputs=1, concurrency=1)
    assert embedder.first_batch(TEXTS).first == 0
    assert inputs(server) == [["first"]]


CHILD = {
    "sync": """
import sys
from pgcorpus.services.embedding import OpenAIEmbedder
with OpenAIEmbedder("tiny-8", base_url=sys.argv[1], api_key="x", max_inputs=1) as embedder:
    embedder.embed(["a", "b", "c", "d", "e"])
""",
    "async": """
import asyncio, sys
from pgcorpus.services.embedding import AsyncOpenAIEmbedder
async def main():
    async with AsyncOpenAIEmbedder("tiny-8", base_url=sys.argv[1], api_key="x", max_inputs=1) as embedder:
        await embedder.embed(["a", "b", "c", "d", "e"])
asyncio.run(main())
""",
}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_ctrl_c_does_not_wait_for_the_answers(server: OpenAIServer, kind: str) -> None:
    server.usual = server.hang
    with subprocess.Popen([sys.executable, "-c", CHILD[kind], server.base_url], stderr=subprocess.PIPE) as child:
        wait_until(lambda: len(server.requests) == 4)
        child.send_signal(signal.SIGINT)
        # The server answers after 30 seconds.
        _, errors = child.communicate(timeout=20)
    assert child.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in errors
