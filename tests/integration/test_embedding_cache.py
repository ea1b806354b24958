"""No text is paid for twice, whatever asks, fails or is killed; and the cache never stands in the way."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, NullPool, func, insert, select, text, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from pgcorpus.database import create_async_engine, create_engine, session_factory
from pgcorpus.errors import EmbeddingError, TextTooLongError, VectorError
from pgcorpus.models import CachedEmbedding, Document, content_hash
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.embedding_cache import CacheStats, EmbeddingCache
from pgcorpus.services.embedding import AsyncFunctionEmbedder, EmbeddedBatch, OpenAIEmbedder
from pgcorpus.services.embedding.base import Vectors
from pgcorpus.services.embedding.cache import AsyncCachedEmbedder, CachedEmbedder, prune_cache
from pgcorpus.vectors import Array
from tests.support.embedder import CountingEmbedder
from tests.support.openai_server import OpenAIServer, embedding_of
from tests.support.vectors import unit

TEXTS = [f"text {number}" for number in range(100)]


def hashed(texts: Sequence[str], dimensions: int = 8) -> dict[bytes, Array]:
    return {content_hash(each): embedding_of(each, dimensions) for each in texts}


def expected(texts: Sequence[str], dimensions: int = 8) -> Vectors:
    return np.stack([embedding_of(each, dimensions) for each in texts])


def same(given: dict[bytes, Array], wanted: dict[bytes, Array]) -> bool:
    return given.keys() == wanted.keys() and all(np.array_equal(given[key], wanted[key]) for key in given)


def entries(engine: Engine) -> int:
    with session_factory(engine)() as session:
        return EmbeddingCache(session).count()


def asked_once(embedder: CountingEmbedder) -> bool:
    return set(Counter(embedder.texts).values()) <= {1}


@contextmanager
def cache_of(engine: Engine) -> Iterator[EmbeddingCache]:
    with session_factory(engine).begin() as session:
        yield EmbeddingCache(session)


class Batching(CountingEmbedder):
    """Hands over batches of 100, the last first, and dies once so many texts were answered."""

    def __init__(self, answers: int | None = None) -> None:
        super().__init__()
        self.answers = answers

    def embed_batches(self, texts: Sequence[str]) -> Iterator[EmbeddedBatch]:
        for first in reversed(range(0, len(texts), 100)):
            if self.answers is not None and len(self.texts) >= self.answers:
                raise EmbeddingError("the server is down")
            yield EmbeddedBatch(first, self.embed(texts[first : first + 100]))


class Dying(CountingEmbedder):
    """Has no batches of its own, and dies once so many texts were answered."""

    def __init__(self, answers: int | None = None) -> None:
        super().__init__()
        self.batch_size = 100
        self.answers = answers

    def embed(self, texts: Sequence[str]) -> Vectors:
        if self.answers is not None and len(self.texts) >= self.answers:
            raise EmbeddingError("the server is down")
        return super().embed(texts)


class Asking(CountingEmbedder):
    """Has to ask a server for the length of its vectors, and counts how often it does."""

    def __init__(self, model: str = "counting", length: int = 8) -> None:
        self.length, self.questions = length, 0
        super().__init__(model)

    @property
    def dimensions(self) -> int:  # type: ignore[override]
        self.questions += 1
        return self.length

    @dimensions.setter
    def dimensions(self, _: int) -> None:
        pass

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return expected(texts, self.length)


# The table


def test_vectors_come_back_as_they_were_stored(engine: Engine) -> None:
    vectors = hashed([f"text {number}" for number in range(2_500)], 3)
    with cache_of(engine) as cache:
        assert cache.store("m", vectors) == 2_500
    with cache_of(engine) as cache:
        found = cache.find("m", [*vectors, content_hash("another")])
        assert same(found, vectors)
        assert all(vector.dtype == np.float32 and vector.flags.writeable for vector in found.values())
        assert cache.find("another model", vectors) == {}
        assert cache.find("m", []) == {}
        assert (cache.dimensions("m"), cache.dimensions("another model")) == (3, None)


def test_what_is_stored_stays_and_is_not_counted(engine: Engine) -> None:
    with cache_of(engine) as cache:
        cache.store("m", hashed(["a"]))
        assert cache.store("m", {content_hash("a"): unit(0, 8), content_hash("b"): unit(1, 8)}) == 1
        assert np.array_equal(cache.find("m", [content_hash("a")])[content_hash("a")], embedding_of("a", 8))
        assert cache.store("m", {}) == 0


@pytest.mark.parametrize("bad", [[np.nan] * 8, [np.inf] + [1.0] * 7, [0.0] * 8, [1.0] * 7])
def test_what_cannot_be_searched_is_not_kept(engine: Engine, bad: list[float]) -> None:
    with cache_of(engine) as cache, pytest.raises(VectorError):
        cache.store("m", hashed(["a"]) | {content_hash("b"): bad})
    assert entries(engine) == 0


DAMAGED = {
    "empty": b"",
    "no whole number": b"\1\2\3",
    "cut short": np.ones(2, "<f4").tobytes(),
    "not a number": np.full(8, np.nan, "<f4").tobytes(),
    "infinite": np.full(8, np.inf, "<f4").tobytes(),
    "zero": np.zeros(8, "<f4").tobytes(),
}


@pytest.mark.parametrize("stored", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("others", [0, 3])
def test_a_damaged_entry_is_asked_for_and_replaced(engine: Engine, stored: bytes, others: int) -> None:
    texts = ["damaged", *TEXTS[:others]]
    CachedEmbedder(CountingEmbedder(), engine).embed(texts)
    with engine.begin() as connection:
        damaged = CachedEmbedding.content_hash == content_hash("damaged")
        connection.execute(update(CachedEmbedding).where(damaged).values(embedding=stored))
    for asked in (["damaged"], []):
        embedder = CountingEmbedder()
        assert np.array_equal(CachedEmbedder(embedder, engine).embed(texts), expected(texts))
        assert embedder.texts == asked


def test_two_writers_wait_for_each_other_and_do_not_fail(engine: Engine) -> None:
    vectors = hashed([f"text {number}" for number in range(1_500)])
    start = threading.Barrier(2)

    def store(items: list[tuple[bytes, Array]]) -> int:
        start.wait()
        with cache_of(engine) as cache:
            return cache.store("m", dict(items))

    with ThreadPoolExecutor(2) as pool:
        written = list(pool.map(store, [list(vectors.items()), list(reversed(vectors.items()))]))
    assert sum(written) == entries(engine) == 1_500


def test_stats_count_entries_and_bytes_of_each_model(engine: Engine) -> None:
    with cache_of(engine) as cache:
        assert cache.stats() == []
        cache.store("small", hashed(TEXTS[:3], 4))
        cache.store("large", hashed(TEXTS, 1536))
        assert cache.stats() == [CacheStats("large", 100, 614_400), CacheStats("small", 3, 48)]
        assert (cache.count(), cache.count("small")) == (103, 3)


def test_entries_are_deleted_by_model_and_age_and_number(engine: Engine) -> None:
    with cache_of(engine) as cache:
        cache.store("a", hashed(TEXTS))
        cache.store("b", hashed(TEXTS))
    with engine.begin() as connection:
        old = CachedEmbedding.content_hash.in_([content_hash(each) for each in TEXTS[:10]])
        earlier = func.now() - timedelta(days=91)
        connection.execute(update(CachedEmbedding).where(old).values(created_at=earlier))
    with cache_of(engine) as cache:
        assert cache.count(older_than=timedelta(days=90)) == 20
        assert cache.delete("a", older_than=timedelta(days=90)) == 10
        assert cache.delete("a", limit=30) == 30
        assert cache.delete(older_than=timedelta(days=92)) == 0
        assert (cache.count("a"), cache.count("b")) == (60, 100)
        assert cache.delete() == 160


def test_unused_are_the_texts_of_no_document_in_a_collection_of_that_model(engine: Engine) -> None:
    with session_factory(engine).begin() as session:
        for tenant, model, contents in (("x", "a", ["one", "two"]), ("y", "b", ["two", "three"])):
            repository = DocumentRepository(session, "c", tenant, embedding_model=model)
            repository.add_many([Document(content=each, embedding=unit(0)) for each in contents])
        for model in ("a", "b", "c"):
            EmbeddingCache(session).store(model, hashed(["one", "two", "three", "a question"]))
    with cache_of(engine) as cache:
        assert cache.count(unused=True) == 8
        assert cache.count("a", unused=True) == 2
    assert prune_cache(engine, unused=True) == 8
    with cache_of(engine) as cache:
        assert cache.find("a", hashed(["one", "two"])).keys() == hashed(["one", "two"]).keys()
        assert cache.find("b", hashed(["two", "three"])).keys() == hashed(["two", "three"]).keys()


def test_pruning_goes_on_until_nothing_is_left(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            insert(CachedEmbedding).from_select(
                ["model", "content_hash", "embedding"],
                select(text("'m', int8send(i), '\\x0000803f'::bytea FROM generate_series(1, 25000) i")),
            )
        )
    assert prune_cache(engine, "another") == 0
    assert prune_cache(engine) == 25_000
    assert entries(engine) == 0


# The embedder


def test_what_was_asked_before_is_not_asked_again(engine: Engine) -> None:
    first = CachedEmbedder(CountingEmbedder(), engine)
    assert np.array_equal(first.embed(TEXTS), expected(TEXTS))
    assert (first.hits, first.misses) == (0, 100)
    embedder = CountingEmbedder()
    second = CachedEmbedder(embedder, engine)
    assert np.array_equal(second.embed([*TEXTS[50:], "new", *TEXTS[:50]])[50], embedding_of("new", 8))
    assert (embedder.texts, second.hits, second.misses) == (["new"], 100, 1)


def test_another_model_has_a_cache_of_its_own(engine: Engine) -> None:
    CachedEmbedder(CountingEmbedder("a"), engine).embed(["x"])
    embedder = CountingEmbedder("b")
    CachedEmbedder(embedder, engine).embed(["x"])
    assert embedder.texts == ["x"]


@pytest.mark.parametrize("kind", [Batching, CountingEmbedder])
def test_a_text_that_comes_twice_is_asked_for_once(engine: Engine, kind: Callable[[], CountingEmbedder]) -> None:
    embedder = kind()
    cached = CachedEmbedder(embedder, engine)
    texts = ["a", "b", "a", "c", "c", "a"]
    assert np.array_equal(cached.embed(texts), expected(texts))
    assert sorted(embedder.texts) == ["a", "b", "c"]
    assert (cached.hits, cached.misses) == (3, 3)


def test_no_texts_have_no_vectors(engine: Engine) -> None:
    assert CachedEmbedder(CountingEmbedder(), engine).embed([]).shape == (0, 8)


def test_batches_hold_every_text_once_however_known_and_new_ones_alternate(engine: Engine) -> None:
    CachedEmbedder(CountingEmbedder(), engine).embed(TEXTS[::2])
    batches = list(CachedEmbedder(Batching(), engine).embed_batches([*TEXTS, *TEXTS[:5]]))
    vectors = np.full((105, 8), np.nan, np.float32)
    for first, rows in batches:
        assert np.isnan(vectors[first : first + len(rows)]).all()
        vectors[first : first + len(rows)] = rows
    assert np.array_equal(vectors, expected([*TEXTS, *TEXTS[:5]]))


@pytest.mark.parametrize("kind", [Batching, Dying])
def test_after_a_death_half_way_through_ten_thousand_texts_only_the_rest_is_paid_for(
    engine: Engine, kind: Callable[[int | None], CountingEmbedder]
) -> None:
    texts = [f"text {number}" for number in range(10_000)]
    dying, embedder = kind(5_000), kind(None)
    with pytest.raises(EmbeddingError, match="the server is down"):
        CachedEmbedder(dying, engine).embed(texts)
    assert len(dying.texts) == entries(engine) == 5_000
    assert np.array_equal(CachedEmbedder(embedder, engine).embed(texts), expected(texts))
    assert set(dying.texts) | set(embedder.texts) == set(texts)
    assert len(embedder.texts) == 5_000


def test_what_was_answered_before_a_failure_is_handed_over(engine: Engine) -> None:
    batches = CachedEmbedder(Batching(100), engine).embed_batches([f"text {number}" for number in range(300)])
    assert next(batches).first == 200
    with pytest.raises(EmbeddingError):
        next(batches)


KILLED = """
import sys
from pgcorpus.database import create_engine
from pgcorpus.services.embedding.cache import CachedEmbedder
from tests.integration.test_embedding_cache import Dying

class Hanging(Dying):
    def embed(self, texts):
        if len(self.texts) >= 500:
            print("hanging", flush=True)
            sys.stdin.read()
        return super().embed(texts)

CachedEmbedder(Hanging(), create_engine(sys.argv[1])).embed([f"text {number}" for number in range(1_000)])
"""


def test_what_was_answered_before_a_kill_is_not_asked_again(engine: Engine) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, engine.url.render_as_string(hide_password=False)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        process.kill()
    embedder = CountingEmbedder()
    CachedEmbedder(embedder, engine).embed([f"text {number}" for number in range(1_000)])
    assert embedder.texts == [f"text {number}" for number in range(500, 1_000)]


# At the same time


def test_threads_that_share_an_embedder_pay_for_each_text_once(engine: Engine) -> None:
    texts = [f"text {number}" for number in range(600)]
    embedder, start = Batching(), threading.Barrier(4)
    cached = CachedEmbedder(embedder, engine)

    def embed(number: int) -> Vectors:
        start.wait()
        return cached.embed(texts[100 * number : 100 * number + 300])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(embed, range(4)))
    for number, vectors in enumerate(answers):
        assert np.array_equal(vectors, expected(texts[100 * number : 100 * number + 300]))
    assert asked_once(embedder)
    assert cached.hits + cached.misses == 1_200
    assert cached.misses == 600


def test_processes_that_want_the_same_at_once_may_both_pay_and_do_not_fail(engine: Engine) -> None:
    """Each has an embedder of its own, and none is answered before all have looked into the cache."""
    met = threading.Barrier(4)

    def embed(_number: int) -> Vectors:
        waiting = iter([met.wait])
        embedder = CountingEmbedder(before=lambda _texts: next(waiting, lambda: 0)() and None)
        return CachedEmbedder(embedder, engine).embed(TEXTS)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(embed, range(4)))
    assert all(np.array_equal(vectors, expected(TEXTS)) for vectors in answers)
    assert entries(engine) == 100


def test_who_waits_for_a_call_that_fails_asks_itself(engine: Engine) -> None:
    asked, go_on, failures = threading.Event(), threading.Event(), iter([EmbeddingError("down")])

    def before(_texts: Sequence[str]) -> None:
        asked.set()
        go_on.wait(30)
        if failure := next(failures, None):
            raise failure

    cached = CachedEmbedder(CountingEmbedder(before=before), engine)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cached.embed, ["a", "b"])
        asked.wait(30)
        second = pool.submit(cached.embed, ["b", "c"])
        go_on.set()
        outcomes = [future.exception() for future in (first, second)]
    assert [type(outcome) for outcome in outcomes].count(EmbeddingError) == 1
    assert np.array_equal(cached.embed(["a", "b", "c"]), expected(["a", "b", "c"]))


def test_no_connection_is_held_while_the_embedder_works(engine: Engine) -> None:
    held: list[int] = []
    embedder = CountingEmbedder(before=lambda _: held.append(engine.pool.checkedout()))  # type: ignore[attr-defined]
    CachedEmbedder(embedder, engine).embed(TEXTS)
    assert held == [0] * 7


# A cache that cannot be used


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_on_a_standby_texts_are_embedded_and_one_warning_is_logged(
    url: URL, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    CachedEmbedder(CountingEmbedder(), engine).embed(["known"])
    standby = create_engine(url, connect_args={"options": "-c default_transaction_read_only=on"})
    embedder = CountingEmbedder()
    cached = CachedEmbedder(embedder, standby)
    assert np.array_equal(cached.embed(["known", *TEXTS]), expected(["known", *TEXTS]))
    cached.embed(["another"])
    standby.dispose()
    assert embedder.texts == [*TEXTS, "another"]
    assert entries(engine) == 1
    (warning,) = warnings(caplog)
    assert "cannot be written" in warning
    assert "read-only transaction" in warning


def test_without_the_table_texts_are_embedded_and_one_warning_is_logged(
    empty_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = Asking()
    cached = CachedEmbedder(embedder, empty_engine)
    assert cached.dimensions == 8
    assert np.array_equal(cached.embed(TEXTS), expected(TEXTS))
    (warning,) = warnings(caplog)
    assert "cannot be read" in warning
    assert "pgcorpus migrate upgrade" in warning


def test_without_the_right_texts_are_embedded_and_one_warning_is_logged(
    url: URL, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"reader_{url.database}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role}"))
    stranger = create_engine(url, poolclass=NullPool, connect_args={"options": f"-c role={role}"})
    try:
        assert np.array_equal(CachedEmbedder(CountingEmbedder(), stranger).embed(TEXTS), expected(TEXTS))
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))
    (warning,) = warnings(caplog)
    assert "permission denied" in warning


def test_a_database_that_is_away_is_said_before_anything_is_paid_for(url: URL) -> None:
    embedder = CountingEmbedder()
    away = create_engine(url.set(database="there_is_none"))
    with pytest.raises(DBAPIError, match="there_is_none"):
        CachedEmbedder(embedder, away).embed(TEXTS)
    assert embedder.texts == []


# Lengths


def test_the_length_is_known_from_the_cache_and_from_the_name(engine: Engine) -> None:
    CachedEmbedder(CountingEmbedder(), engine).embed(["a"])
    embedder = Asking()
    cached = CachedEmbedder(embedder, engine)
    assert cached.dimensions == 8
    named = Asking("text-embedding-3-large@1536")
    assert CachedEmbedder(named, engine).dimensions == 1536
    assert embedder.questions == named.questions == 0
    assert CachedEmbedder(Asking("unknown", 5), engine).dimensions == 5


def test_vectors_of_another_length_than_the_answers_are_replaced(engine: Engine) -> None:
    CachedEmbedder(Asking(), engine).embed(["a", "b"])
    longer = Asking(length=12)
    assert np.array_equal(CachedEmbedder(longer, engine).embed(["a", "new", "b"]), expected(["a", "new", "b"], 12))
    assert longer.texts == ["new", "a", "b"]
    with cache_of(engine) as cache:
        assert cache.stats() == [CacheStats("counting", 3, 3 * 48)]


@pytest.mark.parametrize("count", [-1, 1])
def test_an_embedder_that_answers_too_few_or_too_many_is_refused(engine: Engine, count: int) -> None:
    class Wrong(CountingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            return expected([*texts, "more"][: len(texts) + count])

    with pytest.raises(EmbeddingError, match=r"answered \d+ vectors for 16 texts"):
        CachedEmbedder(Wrong(), engine).embed(TEXTS)
    assert entries(engine) == 0


def test_an_embedder_that_leaves_texts_out_is_refused(engine: Engine) -> None:
    class Forgetful(Batching):
        def embed_batches(self, texts: Sequence[str]) -> Iterator[EmbeddedBatch]:
            yield EmbeddedBatch(1, self.embed(texts[1:]))

    with pytest.raises(EmbeddingError, match="1 of the texts no vector"):
        CachedEmbedder(Forgetful(), engine).embed(TEXTS)


# Errors and their numbers


@pytest.mark.parametrize("kind", [Batching, CountingEmbedder])
def test_an_error_numbers_the_texts_as_they_were_given(engine: Engine, kind: type[CountingEmbedder]) -> None:
    class Strict(kind):  # type: ignore[misc, valid-type]
        def embed(self, texts: Sequence[str]) -> Vectors:
            if "long" in texts:
                place = texts.index("long")
                raise TextTooLongError(f"texts[{place}] is longer than texts[0]", place)
            return super().embed(texts)  # type: ignore[no-any-return]

    CachedEmbedder(CountingEmbedder(), engine).embed(TEXTS[:10])
    texts = [*TEXTS[:30], "text 0", "text 20", "long"]
    with pytest.raises(TextTooLongError) as caught:
        CachedEmbedder(Strict(), engine).embed(texts)
    assert caught.value.position == texts.index("long")
    assert str(caught.value).startswith(f"texts[{texts.index('long')}] is longer than texts[")


def test_what_is_no_text_is_refused_before_anything_is_asked(engine: Engine) -> None:
    embedder = CountingEmbedder()
    with pytest.raises(EmbeddingError, match=r"texts\[1\] is empty"):
        CachedEmbedder(embedder, engine).embed(["a", ""])
    assert embedder.texts == []


def test_with_openai_the_second_run_sends_nothing(engine: Engine) -> None:
    with OpenAIServer() as server:
        for requests in (10, 10):
            with OpenAIEmbedder("tiny-8", base_url=server.base_url, api_key="x", max_inputs=10) as embedder:
                cached = CachedEmbedder(embedder, engine)
                assert cached.dimensions == 8
                assert np.array_equal(cached.embed(TEXTS), expected(TEXTS))
            # And one to learn the length of a model that nobody knows.
            assert len(server.requests) == requests + 1
        assert cached.usage is not None
        assert (cached.usage.texts, cached.batch_size, cached.model) == (0, 10, "tiny-8")


# Async


@asynccontextmanager
async def async_engine(url: URL) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
    try:
        yield engine
    finally:
        await engine.dispose()


class AsyncCounting:
    """Counts what it is asked; without batches of its own."""

    model, dimensions, batch_size = "counting", 8, 10

    def __init__(self, answers: int = 10**6) -> None:
        self.texts: list[str] = []
        self.answers = answers

    async def embed(self, texts: Sequence[str]) -> Vectors:
        if len(self.texts) >= self.answers:
            raise EmbeddingError("texts[0] finds the server down")
        await asyncio.sleep(0)
        self.texts += texts
        return expected(texts)


def test_async_pays_for_nothing_twice(url: URL) -> None:
    async def run() -> None:
        async with async_engine(url) as engine:
            dying, embedder = AsyncCounting(50), AsyncCounting()
            with pytest.raises(EmbeddingError, match=r"texts\[50\]"):
                await AsyncCachedEmbedder(dying, engine).embed(TEXTS)
            cached = AsyncCachedEmbedder(embedder, engine)
            texts = [*TEXTS, *TEXTS[:3]]
            assert np.array_equal(await cached.embed(texts), expected(texts))
            assert dying.texts + embedder.texts == TEXTS
            assert (cached.hits, cached.misses, cached.dimensions) == (53, 50, 8)
            assert (await cached.embed([])).shape == (0, 8)

    asyncio.run(run())


def test_async_tasks_that_share_an_embedder_pay_once_and_batches_are_handed_over(url: URL) -> None:
    asked: list[str] = []

    async def function(texts: list[str]) -> Vectors:
        await asyncio.sleep(0)
        asked.extend(texts)
        return expected(texts)

    async def run() -> None:
        async with async_engine(url) as engine:
            embedder = AsyncFunctionEmbedder(function, model="counting", dimensions=8, batch_size=10)
            cached = AsyncCachedEmbedder(embedder, engine)
            answers = await asyncio.gather(*(cached.embed(TEXTS[10 * number :]) for number in range(4)))
            assert all(np.array_equal(rows, expected(TEXTS[10 * n :])) for n, rows in enumerate(answers))
            assert sorted(asked) == sorted(TEXTS)
            batches = [batch async for batch in cached.embed_batches([*TEXTS, "new"])]
            assert [batch.first for batch in batches] == [100, 0]

    asyncio.run(run())


def test_async_a_cancelled_call_keeps_what_was_answered(url: URL, engine: Engine) -> None:
    async def run() -> list[str]:
        hanging = asyncio.Event()

        class Hanging(AsyncCounting):
            async def embed(self, texts: Sequence[str]) -> Vectors:
                if len(self.texts) == 40:
                    hanging.set()
                    await asyncio.Event().wait()
                return await super().embed(texts)

        async with async_engine(url) as target:
            embedder = Hanging()
            task = asyncio.create_task(AsyncCachedEmbedder(embedder, target).embed(TEXTS))
            await hanging.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return embedder.texts

    assert asyncio.run(run()) == TEXTS[:40]
    assert entries(engine) == 40


def test_async_on_a_standby_texts_are_embedded(url: URL, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        target = create_async_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={"options": "-c default_transaction_read_only=on"},
        )
        cached = AsyncCachedEmbedder(AsyncCounting(), target)
        assert np.array_equal(await cached.embed(TEXTS), expected(TEXTS))
        await target.dispose()

    asyncio.run(run())
    (warning,) = warnings(caplog)
    assert "cannot be written" in warning


def test_the_functions_of_the_page_do_what_it_says(engine: Engine) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cache.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "cache.md", "exec", dont_inherit=True), names)  # noqa: S102 -- our own text
    embedder = CountingEmbedder()
    vectors, again, hits, misses = names["ask_twice"](embedder, engine)
    assert np.array_equal(vectors, expected(["A pear.", "An apple.", "A pear."]))
    assert np.array_equal(again, vectors[1:2])
    assert (embedder.texts, hits, misses) == (["A pear.", "An apple."], 2, 2)
