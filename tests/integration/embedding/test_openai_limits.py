"""The OpenAI embedders and what is too long, too much or too many at once; over real HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from pgcorpus.errors import EmbeddingError, TextTooLongError
from tests.support.openai_checks import TEXTS, expected, inputs
from tests.support.openai_server import OpenAIServer, Reply, Request, failure, limits, truthful
from tests.support.waiting import wait_until

Connect = Callable[..., Any]

LONG = "é" * 5000  # 10,000 bytes


def in_bytes(text: str) -> int:
    return len(text.encode())


# Requests


def test_no_request_can_hold_more_tokens_than_openai_takes(server: OpenAIServer, connect: Connect) -> None:
    texts = [letter * 8000 for letter in "ab"] * 18 + ["c" * 8000, "d" * 4001]
    assert sum(map(len, texts)) == 300_001
    server.usual = limits(count=in_bytes)
    np.testing.assert_array_equal(connect().embed(texts), expected(texts))
    assert sorted(len(batch) for batch in inputs(server)) == [1, 37]


def test_a_request_that_the_server_finds_too_large_is_halved(server: OpenAIServer, connect: Connect) -> None:
    server.usual = limits(max_request_tokens=10, count=lambda text: 3 * len(text))
    texts = list("abcdefghij")
    np.testing.assert_array_equal(connect(max_tokens=10).embed(texts), expected(texts))
    assert sorted(server.texts) == texts
    assert max(len(batch) for batch in inputs(server)) == 10


@pytest.mark.parametrize(
    "refusal",
    [
        failure(413, "Payload Too Large"),
        failure(422, "batch size 4 > maximum allowed batch size 2"),
        lambda _request: Reply(422, {"error": "batch size 4 > maximum allowed batch size 2", "error_type": "x"}),
        lambda _request: Reply(400, {"detail": "at most 2 inputs"}),
        lambda _request: Reply(400, "at most 2 inputs"),
    ],
)
def test_a_server_that_takes_fewer_texts_gets_fewer(server: OpenAIServer, connect: Connect, refusal: Any) -> None:
    server.usual = lambda request: (refusal if len(request.texts) > 2 else truthful)(request)
    texts = list("abcdefg")
    np.testing.assert_array_equal(connect().embed(texts), expected(texts))


def test_a_text_that_is_too_large_by_itself_is_an_error(server: OpenAIServer, connect: Connect) -> None:
    server.usual = failure(413, "Payload Too Large")
    with pytest.raises(EmbeddingError, match="413, the request is too large"):
        connect().embed(["a"])
    assert len(server.requests) == 1


# Texts


def test_with_a_tokenizer_a_text_that_is_too_long_is_known_before_anything_is_sent(
    server: OpenAIServer, connect: Connect
) -> None:
    embedder = connect(count_tokens=lambda text: len(text) * 2)
    with pytest.raises(TextTooLongError, match=r"texts\[2\] has 10,000 tokens and the model takes 8,192") as raised:
        embedder.embed(["a", "b", LONG])
    assert raised.value.position == 2
    assert server.requests == []


def test_without_one_the_texts_that_can_be_it_are_named(server: OpenAIServer, connect: Connect) -> None:
    server.usual = limits(count=len, max_input_tokens=4999)
    with pytest.raises(
        TextTooLongError, match=r"texts\[1\] or texts\[3\] has more than 8,192 tokens.*truncate"
    ) as raised:
        connect().embed(["a", LONG, "b", LONG + "x"])
    assert raised.value.position == 3
    assert len(server.requests) == 1


def test_where_no_text_can_be_it_the_longest_is_named(server: OpenAIServer, connect: Connect) -> None:
    server.usual = limits(max_input_tokens=5, count=len)
    for options in ({}, {"truncate": True}):
        with pytest.raises(EmbeddingError, match=r"maximum context length is 5.*texts\[1\], 6 characters") as raised:
            connect(**options).embed(TEXTS)
        assert not isinstance(raised.value, TextTooLongError)


def test_the_limit_of_another_model_can_be_given(server: OpenAIServer, connect: Connect) -> None:
    server.usual = limits(max_input_tokens=5, count=len)
    with pytest.raises(TextTooLongError) as raised:
        connect(max_input_tokens=5).embed(TEXTS)
    assert raised.value.position == 1


def test_a_long_text_of_few_tokens_is_embedded_whole(server: OpenAIServer, connect: Connect) -> None:
    server.usual = limits(count=lambda text: len(text) // 2)
    np.testing.assert_array_equal(connect().embed([LONG]), expected([LONG]))


def test_with_a_tokenizer_the_longest_beginning_that_fits_is_embedded(
    server: OpenAIServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server.usual = limits(count=lambda text: len(text) * 2)
    embedder = connect(count_tokens=lambda text: len(text) * 2, truncate=True)
    vectors = embedder.embed(["a", LONG])
    np.testing.assert_array_equal(vectors, expected(["a", LONG[:4096]]))
    assert warnings(caplog) == ["texts[1] is too long: 4096 of its 5000 characters are embedded"]
    assert len(server.requests) == 1


def test_without_one_a_text_that_is_refused_alone_is_cut_at_a_character(
    server: OpenAIServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["a", "x" + LONG, "b", "c" * 9000, "d"]
    server.usual = limits(count=lambda text: len(text) // 2 if text.startswith("c") else in_bytes(text))
    vectors = connect(truncate=True).embed(texts)
    # 8,192 bytes would end within a character.
    np.testing.assert_array_equal(vectors, expected(["a", "x" + "é" * 4095, "b", "c" * 9000, "d"]))
    assert sorted(server.texts, key=len) == ["a", "b", "d", "x" + "é" * 4095, "c" * 9000]
    assert ["a", "b", "d"] in inputs(server)
    assert warnings(caplog) == ["texts[1] is too long: 4096 of its 5001 characters are embedded"]


def test_batches_of_a_cut_text_and_its_neighbours_hold_every_text_once(server: OpenAIServer, connect: Connect) -> None:
    server.usual = limits(count=in_bytes)
    texts = ["a", "b", LONG, "c"]
    batches, error = connect(truncate=True).gather(texts)
    assert error is None
    assert sorted((batch.first, len(batch.vectors)) for batch in batches) == [(0, 2), (2, 1), (3, 1)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# Many at once


def meeting(parties: int) -> Callable[[Request], Reply]:
    """Answer only when so many requests have come."""
    barrier = Barrier(parties, timeout=30)

    def reply(request: Request) -> Reply:
        barrier.wait()
        return truthful(request)

    return reply


def test_four_requests_are_under_way_at_once_and_no_more(server: OpenAIServer, connect: Connect) -> None:
    server.usual = meeting(4)
    texts = [f"text {number}" for number in range(12)]
    np.testing.assert_array_equal(connect(max_inputs=1).embed(texts), expected(texts))
    assert server.most_at_once == 4


def test_calls_at_the_same_time_share_the_bound(server: OpenAIServer, connect: Connect) -> None:
    server.usual = meeting(2)
    lists = [[f"text {number} of {call}" for number in range(4)] for call in range(5)]
    answers = connect(max_inputs=1, concurrency=2).embed_at_once(lists)
    for texts, vectors in zip(lists, answers, strict=True):
        np.testing.assert_array_equal(vectors, expected(texts))
    assert server.most_at_once == 2


def test_vectors_are_in_order_whatever_order_their_answers_come_in(server: OpenAIServer, connect: Connect) -> None:
    def first_comes_last(request: Request) -> Reply:
        if request.texts == ["first"]:
            wait_until(lambda: embedder.usage.texts % 3 == 2)
        return truthful(request)

    server.usual = first_comes_last
    embedder = connect(max_inputs=1)
    np.testing.assert_array_equal(embedder.embed(TEXTS), expected(TEXTS))
    batches, _ = embedder.gather(TEXTS)
    assert batches[-1].first == 0


def test_usage_is_counted_right_by_calls_at_the_same_time(server: OpenAIServer, connect: Connect) -> None:
    embedder = connect(max_inputs=1, concurrency=8)
    embedder.embed_at_once([[f"text {number} of {call}" for number in range(20)] for call in range(8)])
    assert (embedder.usage.requests, embedder.usage.texts, embedder.usage.tokens) == (160, 160, 160)
