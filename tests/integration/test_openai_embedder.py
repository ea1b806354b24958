"""The OpenAI embedder through the real client, over HTTP, against a scripted server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from openai import OpenAI

from pgcorpus.errors import EmbeddingError
from pgcorpus.services.embedding import OpenAIEmbedder
from tests.support.openai_server import (
    OpenAIServer,
    Reply,
    edited,
    embedding_of,
    failure,
    floats,
    to_base64,
)

TEXTS = ["first", "second", "third"]
SOON = {"retry_after_ms": "1"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def connect(server: OpenAIServer) -> Iterator[Callable[..., OpenAIEmbedder]]:
    """Make embedders of the server, and close them."""
    made: list[OpenAIEmbedder] = []

    def make(model: str = "tiny-8", **options: Any) -> OpenAIEmbedder:
        defaults: dict[str, Any] = {"base_url": server.base_url, "api_key": "sk-test"}
        made.append(OpenAIEmbedder(model, **(defaults | options)))
        return made[-1]

    yield make
    for embedder in made:
        embedder.close()


Connect = Callable[..., OpenAIEmbedder]


def expected(texts: list[str], dimensions: int = 8) -> np.ndarray[Any, Any]:
    return np.stack([embedding_of(text, dimensions) for text in texts])


def inputs(server: OpenAIServer) -> list[list[str]]:
    return [request.body["input"] for request in server.requests]


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


def test_the_length_of_an_unknown_model_is_asked_for_when_it_is_needed_first(
    server: OpenAIServer, connect: Connect
) -> None:
    assert connect("tiny-8").dimensions == 8
    assert len(server.requests) == 1


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
    assert [len(batch) for batch in inputs(server)] == [2048, 2048, 1]


def test_a_server_with_a_smaller_limit_gets_smaller_requests(server: OpenAIServer, connect: Connect) -> None:
    connect(max_inputs=2).embed(TEXTS)
    assert inputs(server) == [["first", "second"], ["third"]]


def test_no_request_can_hold_more_tokens_than_openai_takes(server: OpenAIServer, connect: Connect) -> None:
    texts = [letter * 100_000 for letter in "abcd"]
    np.testing.assert_array_equal(connect().embed(texts), expected(texts))
    assert inputs(server) == [texts[:3], texts[3:]]


def test_a_tokenizer_can_count_for_the_limit(server: OpenAIServer, connect: Connect) -> None:
    embedder = connect(max_tokens=3, count_tokens=lambda text: len(text.split()))
    embedder.embed(["one two", "three", "four five six seven", "eight"])
    assert inputs(server) == [["one two", "three"], ["four five six seven"], ["eight"]]


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
        (lambda _request: Reply(200, "<html>a login page</html>"), "base_url end in /v1"),
        (lambda _request: Reply(200, {"data": None}), "base_url end in /v1"),
        (lambda _request: Reply(200, "{", {"Content-Type": "application/json"}), "cannot be read: check base_url"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_that_says_why(
    server: OpenAIServer, connect: Connect, answer: Any, message: str
) -> None:
    server.script.append(answer)
    with pytest.raises(EmbeddingError, match=message):
        connect().embed(TEXTS)


def test_an_unusable_vector_is_named_by_its_place_among_all_texts(server: OpenAIServer, connect: Connect) -> None:
    server.script.extend([floats, spoil_last(to_base64(NAN))])
    with pytest.raises(EmbeddingError, match=r"texts\[3\] is not finite"):
        connect(max_inputs=2).embed([*TEXTS, "fourth"])


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, r"maximum context length.*texts\[1\], 6 characters"),
        (401, "OPENAI_API_KEY"),
        (403, "permissions"),
        (404, "model's name and base_url"),
        (413, "max_inputs"),
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
