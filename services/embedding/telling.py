"""Calls of embedders told as events: each text once, however many embedders hand it on to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from pgcorpus.events import EmbedEvent, is_heard, told
from pgcorpus.services.steps import Call


@dataclass
class _Account:
    """What was counted in a call, by whoever answers it."""

    requests: int = 0
    tokens: int = 0
    cached: int = 0


# Of the call under way in this thread or task; what it hands on to another takes it along.
_account: ContextVar[_Account | None] = ContextVar("pgcorpus_embedding", default=None)


@contextmanager
def embedding(model: str, texts: int) -> Iterator[None]:
    """Tell of a call once it has ended; a call within it is a part of it.

    Not for a generator, whose caller would be taken to be within it as well.

    Args:
        model: The embedder's ``model``.
        texts: How many it was given.
    """
    if not is_heard(EmbedEvent) or _account.get() is not None:
        yield
        return
    account = _Account()
    before = _account.set(account)
    try:
        with told(EmbedEvent, model=model, texts=texts) as known:
            try:
                yield
            finally:
                known |= {"requests": account.requests, "tokens": account.tokens or None, "cached": account.cached}
    finally:
        _account.reset(before)


def count_answer(tokens: int) -> None:
    """Count a request that was answered, in the call under way.

    Args:
        tokens: By the server's own count; 0 where it does not say.
    """
    if (account := _account.get()) is not None:
        account.requests += 1
        account.tokens += tokens


def count_cached(texts: int) -> None:
    """Count texts that cost nothing, in the call under way."""
    if (account := _account.get()) is not None:
        account.cached += texts


def embed_call(embedder: Any, texts: Sequence[str]) -> Call:
    """Return the step that asks an embedder, sync or async, and tells of it."""
    return Call(embedder.embed, (texts,), partial(embedding, embedder.model, len(texts)))
