"""Work that takes a database and models, told step by step, so that what is decided in between is written once.

A generator of steps yields what it needs done, and is sent the outcome; an executor, sync or async, does it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from pgcorpus.database import async_autocommit, async_session_factory, autocommit, session_factory
from pgcorpus.errors import ConfigError

T = TypeVar("T")

# Where the reads are done; a scoped session stands for the one of the thread, request or task that reads.
Bind: TypeAlias = Engine | Session | scoped_session[Any]
AsyncBind: TypeAlias = AsyncEngine | AsyncSession | async_scoped_session[Any]


@dataclass(frozen=True, slots=True)
class InDatabase:
    """Reads to be done in one session, which is given back after it."""

    work: Callable[[Session], Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A function to be called without holding a session: an embedder's, say, or a chat model's.

    Attributes:
        function: Called, and awaited if it is async.
        arguments: Its.
        within: What it is called in.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    within: Callable[[], AbstractContextManager[None]] = nullcontext


Steps: TypeAlias = Generator[InDatabase | Call, Any, T]


class Executor:
    """Does the steps, one after another.

    Args:
        bind: An engine: each step that reads has a short session of its own, in AUTOCOMMIT. Or the host's session: its
            transaction is used, and nothing committed.

    Raises:
        ConfigError: The bind is an async one, or none.
    """

    def __init__(self, bind: Bind) -> None:
        if isinstance(bind, AsyncEngine | AsyncSession | async_scoped_session):
            raise ConfigError(f"{type(bind).__name__} is async: use the Async class of the same name")
        if not isinstance(bind, Engine | Session | scoped_session):
            raise ConfigError(f"give an Engine or a Session, not {type(bind).__name__}")
        self._session: Callable[[], Any] = partial(_lent, bind)
        if isinstance(bind, Engine):
            self._session = session_factory(autocommit(bind))

    def run(self, steps: Steps[T]) -> T:
        """Return what the steps come to."""
        try:
            step = next(steps)
            while True:
                try:
                    outcome = self._do(step)
                except Exception as exc:  # noqa: BLE001 -- the steps are told whatever ends them
                    step = steps.throw(exc)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: InDatabase | Call) -> Any:
        if isinstance(step, Call):
            with step.within():
                return step.function(*step.arguments)
        with self._session() as session:
            return step.work(session)


class AsyncExecutor:
    """Does the steps without blocking the event loop; what is not async itself is called in a thread.

    Args:
        bind: As in :class:`Executor`, async and on psycopg 3.

    Raises:
        ConfigError: The bind is a sync one, or none.
    """

    def __init__(self, bind: AsyncBind) -> None:
        if isinstance(bind, Engine | Session | scoped_session):
            raise ConfigError(f"{type(bind).__name__} is not async: use the class of the same name without Async")
        if not isinstance(bind, AsyncEngine | AsyncSession | async_scoped_session):
            raise ConfigError(f"give an AsyncEngine or an AsyncSession, not {type(bind).__name__}")
        self._session: Callable[[], Any] = partial(_lent, bind)
        if isinstance(bind, AsyncEngine):
            self._session = async_session_factory(async_autocommit(bind))

    async def run(self, steps: Steps[T]) -> T:
        """Return what the steps come to."""
        try:
            step = next(steps)
            while True:
                try:
                    outcome = await self._do(step)
                except Exception as exc:  # noqa: BLE001 -- the steps are told whatever ends them
                    step = steps.throw(exc)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: InDatabase | Call) -> Any:
        if isinstance(step, InDatabase):
            async with self._session() as session:
                return await session.run_sync(step.work)
        with step.within():
            if inspect.iscoroutinefunction(step.function):
                return await step.function(*step.arguments)
            outcome = await asyncio.to_thread(step.function, *step.arguments)
            return await outcome if inspect.isawaitable(outcome) else outcome


def _lent(bind: Any) -> nullcontext[Any]:
    """Return the host's session as one that is not closed after use."""
    return nullcontext(bind() if isinstance(bind, scoped_session | async_scoped_session) else bind)
