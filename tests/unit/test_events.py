"""Events reach who listens to their kind, and neither a listener nor its absence costs who causes them."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from pgcorpus import events
from pgcorpus.errors import ConfigError
from pgcorpus.events import KINDS, EmbedEvent, SearchEvent, WriteEvent, emit, is_heard, subscribe, told
from pgcorpus.services.embedding import AsyncFunctionEmbedder, FunctionEmbedder, as_async
from pgcorpus.testing import HashEmbedder

SEARCH = SearchEvent("vector", "handbook", "default", 10, 3, 0.1, False, False, True, True)
WRITE = WriteEvent("upsert", "handbook", "default", 5)


@pytest.fixture
def listen() -> Iterator[Callable[..., list[Any]]]:
    """Subscribe a list to kinds of events for the time of a test."""
    ends: list[Callable[[], None]] = []

    def listen(*kinds: Any) -> list[Any]:
        heard: list[Any] = []
        ends.append(subscribe(heard.append, *kinds))
        return heard

    yield listen
    for end in ends:
        end()


def test_without_a_listener_nothing_is_heard() -> None:
    assert not any(is_heard(kind) for kind in KINDS)
    emit(SEARCH)


def test_a_listener_hears_the_kinds_it_named_until_it_ends() -> None:
    heard: list[Any] = []
    end = subscribe(heard.append, SearchEvent)
    assert (is_heard(SearchEvent), is_heard(WriteEvent)) == (True, False)
    emit(WRITE)
    emit(SEARCH)
    end()
    end()
    emit(SEARCH)
    assert heard == [SEARCH]
    assert not is_heard(SearchEvent)


def test_one_that_names_no_kind_hears_all(listen: Callable[..., list[Any]]) -> None:
    heard = listen()
    emit(SEARCH)
    emit(WRITE)
    assert heard == [SEARCH, WRITE]


def test_the_end_of_one_subscription_is_not_that_of_another_of_the_same_handler() -> None:
    heard: list[Any] = []
    ends = [subscribe(heard.append), subscribe(heard.append)]
    ends[0]()
    emit(WRITE)
    ends[1]()
    assert heard == [WRITE]


def test_a_handler_that_fails_is_logged_once_and_stops_nobody(
    listen: Callable[..., list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_event: Any) -> None:
        raise RuntimeError("no disk")

    end = subscribe(fail)
    heard = listen()
    with caplog.at_level(logging.WARNING, "pgcorpus"):
        emit(SEARCH)
        emit(SEARCH)
    end()
    assert heard == [SEARCH, SEARCH]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no disk" in caplog.text


def test_what_a_handler_causes_itself_is_not_told(listen: Callable[..., list[Any]]) -> None:
    heard: list[Any] = []

    def write(event: Any) -> None:
        heard.append(event)
        emit(WRITE)

    end = subscribe(write)
    emit(SEARCH)
    emit(SEARCH)
    end()
    assert heard == [SEARCH, SEARCH]


class _Awaited:
    async def __call__(self, event: Any) -> None: ...


@pytest.mark.parametrize("handler", [_Awaited(), None, "print"])
def test_what_is_no_plain_function_is_refused(handler: Any) -> None:
    with pytest.raises(ConfigError, match="a handler of events is a"):
        subscribe(handler)


def test_a_handler_that_would_have_to_be_awaited_is_refused() -> None:
    async def handler(_event: Any) -> None: ...

    with pytest.raises(ConfigError, match="put_nowait"):
        subscribe(handler)


@pytest.mark.parametrize("kind", ["search", int])
def test_a_kind_that_is_none_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="SearchEvent, EmbedEvent"):
        subscribe(print, kind)
    assert not is_heard(kind)


def test_an_event_cannot_be_changed_and_is_small() -> None:
    with pytest.raises(FrozenInstanceError):
        SEARCH.rows = 4  # type: ignore[misc]
    assert not any(hasattr(SEARCH, name) for name in ("__dict__", "__weakref__"))


def test_no_event_has_a_place_for_contents() -> None:
    names = {field.name for kind in KINDS for field in fields(kind)}
    assert not names & {"query", "question", "text", "content", "vector", "where", "filter", "message", "url", "key"}


def test_threads_may_come_and_go_while_others_are_told(listen: Callable[..., list[Any]]) -> None:
    heard = listen(SearchEvent)

    def come_and_go(_number: int) -> None:
        end = subscribe(lambda _: None)
        emit(SEARCH)
        end()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come_and_go, range(400)))
    assert len(heard) == 400
    assert len(events._subscriptions) == 1


def test_tasks_are_heard_each_in_its_own_context(listen: Callable[..., list[Any]]) -> None:
    heard = listen()

    async def work() -> None:
        emit(SEARCH)
        await asyncio.sleep(0)
        emit(WRITE)

    async def all_of_them() -> None:
        await asyncio.gather(*(work() for _ in range(20)))

    asyncio.run(all_of_them())
    assert (heard.count(SEARCH), heard.count(WRITE)) == (20, 20)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_was_forked_in_the_middle_of_a_change_can_listen_too() -> None:
    def child(answers: Any) -> None:
        heard: list[Any] = []
        subscribe(heard.append)
        emit(SEARCH)
        answers.put((len(heard), os.getpid()))

    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    with events._lock:
        process = fork.Process(target=child, args=(answers,), daemon=True)
        process.start()
    process.join(20)
    assert process.exitcode == 0
    assert answers.get() == (1, process.pid)


def test_work_is_told_with_its_time_and_what_it_came_to(listen: Callable[..., list[Any]]) -> None:
    heard = listen(WriteEvent)
    with told(WriteEvent, operation="delete", collection="c", tenant="t") as known:
        known["rows"] = 7
    with pytest.raises(KeyError), told(WriteEvent, operation="add", collection="c", tenant="t"):
        raise KeyError("secret")
    assert [(event.operation, event.rows, event.error) for event in heard] == [
        ("delete", 7, None),
        ("add", 0, "KeyError"),
    ]
    assert all(event.seconds > 0 for event in heard)


# Embedders


def test_a_call_of_an_embedder_is_one_event(listen: Callable[..., list[Any]]) -> None:
    heard = listen(EmbedEvent)
    inner = HashEmbedder()
    outer = FunctionEmbedder(inner.embed, model="outer", dimensions=inner.dimensions, batch_size=2)
    FunctionEmbedder(outer.embed, model="m", dimensions=inner.dimensions, batch_size=2).embed(["a", "b", "c"])
    assert [(each.model, each.texts, each.requests, each.tokens, each.cached) for each in heard] == [
        ("m", 3, 0, None, 0)
    ]


def test_a_call_that_is_awaited_is_one_event_and_so_is_one_in_a_thread(listen: Callable[..., list[Any]]) -> None:
    heard = listen(EmbedEvent)
    inner = HashEmbedder()

    async def function(texts: list[str]) -> Any:
        return inner.embed(texts)

    embedder = AsyncFunctionEmbedder(function, model="m", dimensions=inner.dimensions)
    threaded = as_async(FunctionEmbedder(inner.embed, model="threaded", dimensions=inner.dimensions))

    async def both() -> None:
        await asyncio.gather(embedder.embed(["a"]), embedder.embed(["b", "c"]), threaded.embed(["d"]))

    asyncio.run(both())
    assert sorted((event.model, event.texts) for event in heard) == [("m", 1), ("m", 2), ("threaded", 1)]


def test_a_call_that_fails_is_told_by_the_class_of_its_error(listen: Callable[..., list[Any]]) -> None:
    heard = listen(EmbedEvent)

    def fail(_texts: list[str]) -> Any:
        raise ValueError("sk-secret")

    with pytest.raises(ValueError, match="secret"):
        FunctionEmbedder(fail, model="m", dimensions=3).embed(["a"])
    assert [event.error for event in heard] == ["ValueError"]
    assert "secret" not in repr(heard)
