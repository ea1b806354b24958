"""What happened, told to who listens: searches, embeddings, writes, ingests and answers, with their time and figures.

No event holds a text, a query, a vector, a filter's value or a key. Nothing is made, and no clock is read, where nobody
listens.
"""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, TypeAlias

from pgcorpus.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SearchEvent:
    """A search ended.

    Attributes:
        kind: By a vector, by a vector and words, by words, or by several vectors at once.
        collection: The collection's name; None of rows that are in none.
        tenant: Whose collection; None likewise.
        k: Hits wanted, of each vector.
        rows: Hits returned, of all vectors.
        seconds: From the request to the hits.
        filtered: Whether there was a filter.
        exact: Whether every matching row was compared.
        complete: False where the index gave too few rows, and an exact scan had to complete them.
        indexed: Whether an index serves the metric.
        form: What the index that served it keeps of a vector (``vector``, ``halfvec``, ``binary``); None without one.
        ef_search: ``hnsw.ef_search`` of the search; None where it means nothing.
        recall: What was asked for, 0 to 1.
        error: The class of the error that ended it; its message may hold a name or a value, and is not told.
    """

    kind: Literal["vector", "hybrid", "text", "many"]
    collection: str | None
    tenant: str | None
    k: int
    rows: int
    seconds: float
    filtered: bool
    exact: bool
    complete: bool
    indexed: bool
    form: str | None = None
    ef_search: int | None = None
    recall: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class EmbedEvent:
    """Texts were embedded, in one call of an embedder.

    Attributes:
        model: The embedder's ``model``.
        texts: How many there were.
        tokens: Tokens by the server's own count; None where nobody counted.
        requests: Requests that were answered; 0 where the embedder sends none, or does not say.
        cached: How many of the texts cost nothing: the cache had them, or they came twice.
        seconds: Spent.
        error: The class of the error that ended it.
    """

    model: str
    texts: int
    tokens: int | None = None
    requests: int = 0
    cached: int = 0
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class WriteEvent:
    """Documents were written, in a transaction that may yet be rolled back.

    Attributes:
        operation: The repository's method: ``add_many``, ``upsert``, ``bulk_load``, ``sync_sources``, ``delete``,
            ``delete_sources`` or ``update_meta``.
        collection: The collection's name.
        tenant: Whose collection.
        rows: Documents that were inserted, updated or deleted.
        seconds: Spent, on what the caller's own generator took too.
        error: The class of the error that ended it.
    """

    operation: str
    collection: str
    tenant: str
    rows: int = 0
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class IngestEvent:
    """An ingest ended.

    Attributes:
        collection: The collection's name.
        tenant: Whose collection.
        sources: Sources read.
        passages: Passages read.
        embedded: Passages that needed an embedding.
        added: Documents added, or of a dry run to be added; and so the next three.
        updated: Documents updated.
        unchanged: Documents that were as they are.
        deleted: Documents deleted.
        seconds: From its beginning to its end.
        read_seconds: Of that, spent on reading and splitting.
        embed_seconds: Spent on embedding, summed over what runs at once.
        write_seconds: Spent on writing.
        index_seconds: Spent on building the vector index.
        dry_run: Whether nothing was embedded and written.
        error: The class of the error that ended it; what was written until then is not counted.
    """

    collection: str
    tenant: str
    sources: int = 0
    passages: int = 0
    embedded: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    seconds: float = 0.0
    read_seconds: float = 0.0
    embed_seconds: float = 0.0
    write_seconds: float = 0.0
    index_seconds: float = 0.0
    dry_run: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerEvent:
    """A question was answered, or could not be.

    Attributes:
        collection: The collection's name.
        tenant: Whose collection.
        kind: Where the answer comes from: ``generated``, ``extractive`` or ``unknown``; None after an error.
        model: The chat model that was asked; None where none was.
        hits: Documents retrieved.
        passages: Those that the model was shown.
        citations: Passages that the answer cites.
        unknown_citations: Citations of passages that there are not.
        prompt_tokens: Tokens that the chat model was sent; None where it does not say.
        completion_tokens: Tokens that it wrote; None likewise.
        seconds: From the question to the whole answer.
        embed_seconds: Spent on embedding the question.
        retrieve_seconds: Spent in the database.
        generate_seconds: Spent on waiting for the chat model, or on choosing sentences.
        error: The class of the error that ended it.
    """

    collection: str
    tenant: str
    kind: str | None = None
    model: str | None = None
    hits: int = 0
    passages: int = 0
    citations: int = 0
    unknown_citations: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float = 0.0
    embed_seconds: float = 0.0
    retrieve_seconds: float = 0.0
    generate_seconds: float = 0.0
    error: str | None = None


Event: TypeAlias = SearchEvent | EmbedEvent | WriteEvent | IngestEvent | AnswerEvent
EventKind: TypeAlias = type[SearchEvent] | type[EmbedEvent] | type[WriteEvent] | type[IngestEvent] | type[AnswerEvent]

KINDS: tuple[EventKind, ...] = (SearchEvent, EmbedEvent, WriteEvent, IngestEvent, AnswerEvent)

_logger = logging.getLogger("pgcorpus")

# Whether a handler is being called: what it searches and writes itself is not told, or it would be called for ever.
_telling: ContextVar[bool] = ContextVar("pgcorpus_telling", default=False)


class _Subscription:
    """A handler with what it listens to; it complains once about one that fails."""

    def __init__(self, handler: Callable[[Any], object], kinds: tuple[EventKind, ...]) -> None:
        self.kinds = frozenset(kinds)
        self._handler = handler
        self._complained = False

    def tell(self, event: Event) -> None:
        try:
            self._handler(event)
        except Exception:  # a listener's fault is not the search's
            if not self._complained:
                self._complained = True
                _logger.warning("a handler of events failed, and is called again: %r", self._handler, exc_info=True)


# Replaced as a whole, never changed: who reads needs no lock.
_subscriptions: tuple[_Subscription, ...] = ()
_heard: frozenset[EventKind] = frozenset()
_lock = Lock()


def subscribe(handler: Callable[[Any], object], *kinds: EventKind) -> Callable[[], None]:
    """Have a function called with each event, and return what ends that.

    It is called where the event happens, in that thread or task, and before the caller goes on: it is to be quick, and
    hands over what takes long. What it raises is logged once. A process that is forked keeps the handlers.

    Args:
        handler: Not async.
        *kinds: Classes of events, such as :class:`SearchEvent`; all where none is named.

    Raises:
        ConfigError: The handler is async or cannot be called, or a kind is none.
    """
    if not callable(handler):
        raise ConfigError(f"a handler of events is a function, not {handler!r}")
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004
        raise ConfigError("a handler of events is a plain function: hand over to async code by queue.put_nowait()")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        names = ", ".join(kind.__name__ for kind in KINDS)
        raise ConfigError(f"there are no events of the kind {unknown[0]!r}: name classes, of {names}")
    subscription = _Subscription(handler, kinds or KINDS)
    _replace(lambda present: (*present, subscription))
    return lambda: _replace(lambda present: tuple(each for each in present if each is not subscription))


def is_heard(kind: EventKind) -> bool:
    """Say whether anybody listens to a kind of event.

    Args:
        kind: Its class.
    """
    return kind in _heard


def emit(event: Event) -> None:
    """Tell an event to who listens to its kind."""
    kind = type(event)
    if kind not in _heard or _telling.get():
        return
    before = _telling.set(True)
    try:
        for each in _subscriptions:
            if kind in each.kinds:
                each.tell(event)
    finally:
        _telling.reset(before)


@contextmanager
def told(kind: EventKind, **known: Any) -> Iterator[dict[str, Any]]:
    """Tell of the work inside once it has ended, well or not, with the seconds it took.

    Args:
        kind: The event's class.
        **known: Its attributes, as far as they are known before; the others go into what is yielded.
    """
    if kind not in _heard:
        yield {}
        return
    started = time.perf_counter()
    try:
        yield known
    except Exception as exc:
        emit(kind(**known, seconds=time.perf_counter() - started, error=type(exc).__name__))
        raise
    emit(kind(**known, seconds=time.perf_counter() - started))


def _replace(change: Callable[[tuple[_Subscription, ...]], tuple[_Subscription, ...]]) -> None:
    global _subscriptions, _heard
    with _lock:
        _subscriptions = change(_subscriptions)
        _heard = frozenset(kind for each in _subscriptions for kind in each.kinds)


def _forget_lock() -> None:
    """In a child, for the thread that may have held it is not there."""
    global _lock
    _lock = Lock()


os.register_at_fork(after_in_child=_forget_lock)
