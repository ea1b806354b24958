"""Any function as an embedder, and a sync embedder in async code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pgcorpus.errors import ConfigError, EmbeddingError
from pgcorpus.services.embedding import (
    AsyncEmbedder,
    AsyncFunctionEmbedder,
    Embedder,
    FunctionEmbedder,
    LocalEmbedder,
    as_async,
    batch_size_of,
)

TEXTS = [f"text {number}" for number in range(7)]


def lengths(texts: list[str]) -> list[list[float]]:
    return [[len(text), 1.0] for text in texts]


async def lengths_later(texts: list[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return lengths(texts)


def embed_sync(function: Callable[[list[str]], Any], texts: Any, **options: Any) -> Any:
    embedder: Embedder = FunctionEmbedder(function, model="mine", dimensions=2, **options)
    return embedder.embed(texts)


def embed_async(function: Callable[[list[str]], Any], texts: Any, **options: Any) -> Any:
    async def later(batch: list[str]) -> Any:
        await asyncio.sleep(0)
        return function(batch)

    embedder: AsyncEmbedder = AsyncFunctionEmbedder(later, model="mine", dimensions=2, **options)
    return asyncio.run(embedder.embed(texts))


both = pytest.mark.parametrize("embed", [embed_sync, embed_async])


@both
@pytest.mark.parametrize(
    "form", [list, np.array, lambda rows: [np.array(row) for row in rows], lambda rows: (row for row in rows)]
)
def test_vectors_may_come_in_any_form(embed: Any, form: Any) -> None:
    vectors = embed(lambda texts: form(lengths(texts)), ["a", "bb"])
    np.testing.assert_array_equal(vectors, np.array([[1, 1], [2, 1]], np.float32))
    assert vectors.dtype == np.float32


@both
def test_the_function_gets_no_more_texts_than_its_batch(embed: Any) -> None:
    calls: list[list[str]] = []

    def function(texts: list[str]) -> Any:
        calls.append(texts)
        return lengths(texts)

    assert embed(function, TEXTS, batch_size=3).shape == (7, 2)
    assert calls == [TEXTS[:3], TEXTS[3:6], TEXTS[6:]]


@both
def test_no_texts_need_no_call(embed: Any) -> None:
    assert embed(lambda _texts: 1 / 0, []).shape == (0, 2)


@both
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda texts: lengths(texts)[1:], "2 vectors for 3 texts|0 vectors for 1 texts"),
        (lambda texts: [[1.0]] * len(texts), r"texts\[0\] has 1 dimensions instead of 2"),
        (lambda texts: [[0.0, 0.0] if text == "text 4" else [1.0, 1.0] for text in texts], r"texts\[4\] is zero"),
        (lambda _texts: None, "answered a NoneType instead of vectors"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_that_says_why(embed: Any, answer: Any, message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        embed(answer, TEXTS, batch_size=3)


@both
def test_an_empty_text_is_refused_before_the_function_is_called(embed: Any) -> None:
    with pytest.raises(EmbeddingError, match=r"texts\[1\] is empty"):
        embed(lambda _texts: 1 / 0, ["a", ""])


@both
def test_what_the_function_raises_is_raised(embed: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        embed(lambda _texts: 1 / 0, TEXTS)


def test_batches_are_handed_over_as_they_are_made() -> None:
    embedder = FunctionEmbedder(lengths, model="mine", dimensions=2, batch_size=3)
    assert [(batch.first, len(batch.vectors)) for batch in embedder.embed_batches(TEXTS)] == [(0, 3), (3, 3), (6, 1)]


def test_without_a_name_the_error_says_what_it_is_for() -> None:
    with pytest.raises(ConfigError, match="stored with each collection"):
        FunctionEmbedder(lengths, dimensions=2)


def test_a_function_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="AsyncFunctionEmbedder"):
        FunctionEmbedder(lengths_later, model="mine", dimensions=2)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="give it to FunctionEmbedder"):
        AsyncFunctionEmbedder(lengths, model="mine", dimensions=2)  # type: ignore[arg-type]


def test_a_sync_embedder_in_async_code_runs_in_another_thread() -> None:
    threads: list[int] = []

    def function(texts: list[str]) -> list[list[float]]:
        threads.append(threading.get_ident())
        return lengths(texts)

    embedder = as_async(FunctionEmbedder(function, model="mine", dimensions=2))
    assert asyncio.run(embedder.embed(["a"])).tolist() == [[1, 1]]
    assert (embedder.model, embedder.dimensions) == ("mine", 2)
    assert threads != [threading.get_ident()]


def test_the_local_embedder_gives_async_code_the_same_vectors() -> None:
    local = LocalEmbedder()
    np.testing.assert_array_equal(asyncio.run(as_async(local).embed(["a cat"])), local.embed(["a cat"]))


def test_what_else_a_sync_embedder_tells_async_code_hears() -> None:
    embedder: Any = as_async(LocalEmbedder())
    assert (batch_size_of(embedder), embedder.cached) == (2000, False)
    assert not hasattr(embedder, "usage")
    assert not hasattr(embedder, "embed_batches")


def test_the_batches_of_a_sync_embedder_come_one_by_one() -> None:
    embedder: Any = as_async(FunctionEmbedder(lengths, model="mine", dimensions=2, batch_size=3))

    async def firsts() -> list[int]:
        return [batch.first async for batch in embedder.embed_batches(TEXTS)]

    assert asyncio.run(firsts()) == [0, 3, 6]


def test_an_async_embedder_stays_what_it_is() -> None:
    embedder = AsyncFunctionEmbedder(lengths_later, model="mine", dimensions=2)
    assert as_async(embedder) is embedder
