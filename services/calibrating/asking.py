"""Searches asked one at a time, each in a transaction that can only read, and its time taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pgcorpus.errors import SearchTimeoutError
from pgcorpus.faults import sqlstate
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.search.explanation import Explanation
from pgcorpus.repositories.search.recall import Setting
from pgcorpus.repositories.search.requests import SearchOptions
from pgcorpus.repositories.transactions import execute_batch
from pgcorpus.services.calibrating.pacing import Pace
from pgcorpus.services.calibrating.questions import Query

T = TypeVar("T")

_QUERY_CANCELED = "57014"
# A replay on a hot standby ends a long read, and cuts off an idle one (PostgreSQL documentation, "Handling Query
# Conflicts"): both may be asked again.
_ASK_AGAIN = ("40001", "40P01")
_ATTEMPTS = 6
_REST = 0.5  # seconds, and twice as many each time


class Answer(NamedTuple):
    """What a search found.

    Attributes:
        distances: Of its hits, nearest first.
        milliseconds: From asking to having them.
    """

    distances: tuple[float, ...]
    milliseconds: float


class Asker:
    """Asks a collection on one connection, which is given back in the end.

    Args:
        engine: The database.
        open_repository: Makes the collection's repository for a session; kept as ``open``.
        pace: Lets a search begin.
        timeout: Seconds after which a search is given up.
    """

    def __init__(
        self,
        engine: Engine,
        open_repository: Callable[[Session], DocumentRepository],
        pace: Pace,
        timeout: float,
    ) -> None:
        self._engine = engine.execution_options(isolation_level="READ COMMITTED")
        self.open = open_repository
        self._pace = pace
        self.timeout = timeout
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hang_up()

    def ask(self, query: Query, k: int, setting: Setting) -> Answer:
        """Return what a search finds.

        Args:
            query: What to search for.
            k: Hits wanted.
            setting: Of the server.

        Raises:
            SearchTimeoutError: It took too long.
        """
        options = options_of(setting) | {"where": query.where, "columns": ("id",)}

        def timed(repository: DocumentRepository) -> Answer:
            started = time.perf_counter()
            hits = repository.search(query.vector, k, **options)
            elapsed = time.perf_counter() - started
            return Answer(tuple(hit.distance for hit in hits), elapsed * 1000)

        return self.read(timed)

    def explain(self, query: Query, k: int, setting: Setting) -> Explanation:
        """Return how the server answers a search.

        Raises:
            SearchTimeoutError: It took too long.
        """
        options = options_of(setting) | {"where": query.where, "columns": ("id",)}
        return self.read(lambda repository: repository.explain(query.vector, k, **options))

    def read(self, what: Callable[[DocumentRepository], T]) -> T:
        """Return what a repository says.

        Raises:
            SearchTimeoutError: It took too long.
        """
        return self.in_session(lambda session: what(self.open(session)))

    def in_session(self, what: Callable[[Session], T]) -> T:
        """Return what is read in a transaction, read again where a standby's replay came in between.

        Raises:
            SearchTimeoutError: It took too long.
        """
        for attempt in range(_ATTEMPTS):
            self._pace.wait()
            try:
                with self._transaction() as session:
                    return what(session)
            except DBAPIError as exc:
                self._check(exc, is_last=attempt == _ATTEMPTS - 1)
                self._hang_up()
                self._pace.rest(_REST * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _check(self, exc: DBAPIError, *, is_last: bool) -> None:
        """Pass if it may be tried again."""
        if sqlstate(exc) == _QUERY_CANCELED:
            raise SearchTimeoutError(f"a search took longer than {self.timeout:g} seconds") from exc
        if is_last or not (exc.connection_invalidated or sqlstate(exc) in _ASK_AGAIN):
            raise exc

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        """Nothing is kept of a transaction: not its snapshot, which would keep the server from vacuuming."""
        if self._connection is None:
            self._connection = self._engine.connect()
        with Session(self._connection) as session:
            limits = ["SET TRANSACTION READ ONLY", f"SET LOCAL statement_timeout = {round(self.timeout * 1000)}"]
            execute_batch(session.connection(), limits)
            yield session

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def options_of(setting: Setting) -> SearchOptions:
    """Return a setting as options of a search."""
    options: Any = {name: value for name, value in setting._asdict().items() if value not in (None, False)}
    if setting.exact:
        options.pop("form", None)
    return options  # type: ignore[no-any-return]
