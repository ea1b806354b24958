"""Work done ahead in threads, handed over in order: bounded in number, and so in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import partial
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

# Seconds given to what is on its way when the rest is given up: it is paid for, and an answer that comes in time is
# kept by the embedding cache. One that never comes holds nobody up.
PATIENCE = 3.0


def ahead(
    items: Iterable[T],
    work: Callable[[T], None],
    depth: int,
    *,
    stop: Callable[[], None],
    drop: Callable[[T], None],
) -> Generator[T, None, None]:
    """Yield the items in order, each once the work on it is done, while that on the next ones goes on.

    Args:
        items: Taken by the caller's thread, and no more than ``depth`` of them at once.
        work: Done in threads, ``depth`` at once.
        depth: At least 1.
        stop: Called after a failure, here or of who takes the items: the work that goes on is to end soon.
        drop: Called for each item that is not handed over, when the work on it has ended or is waited for no longer.

    Raises:
        Exception: What the work on an item raised, once the items before it were handed over; of the later ones, those
            that were not begun are given up.
    """
    waiting: deque[tuple[T, Future[None]]] = deque()
    try:
        for item in items:
            waiting.append((item, started(partial(work, item))))
            if len(waiting) >= depth:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)
    except BaseException:
        stop()
        raise
    finally:
        wait([future for _, future in waiting], PATIENCE)
        for item, _ in waiting:
            drop(item)


def started(work: Callable[[], T]) -> Future[T]:
    """Begin work in a thread of its own, which waits for no other's and keeps no interpreter from ending: one of a pool
    would, and Ctrl-C would wait for it.
    """
    future: Future[T] = Future()
    context = copy_context()

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as exc:  # noqa: BLE001 -- raised where the result is taken
            future.set_exception(exc)
        else:
            future.set_result(result)

    Thread(target=run, name="pgcorpus-ingest", daemon=True).start()
    return future


def _finished(waiting: deque[tuple[T, Future[None]]]) -> T:
    item, future = waiting[0]
    future.result()
    waiting.popleft()
    return item
