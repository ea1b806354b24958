"""Slow searches, logged with the server's plan and without the vector, the words or a filter's values."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql.expression import ClauseElement, ColumnClause
from sqlalchemy.sql.visitors import iterate

from pgcorpus.config import load_settings
from pgcorpus.errors import ConfigError, SearchTimeoutError
from pgcorpus.faults import sqlstate
from pgcorpus.repositories.filters import Where
from pgcorpus.repositories.search.explanation import Explain
from pgcorpus.repositories.transactions import execute_batch, is_outside_transactions

# Seconds between two reports of a process: when all searches are slow, what explains them must not make them slower.
INTERVAL = 1.0

_logger = logging.getLogger("pgcorpus.slow")

_OPTIONS = {False: "FORMAT TEXT", True: "ANALYZE, BUFFERS, FORMAT TEXT"}

# A quoted name, which stays, or a literal. In a condition numbers are values, too; elsewhere they are the plan's own.
_QUOTED = re.compile(r"""("(?:[^"]|"")*")|[BE]?'(?:[^']|'')*'""")
_CONDITION = re.compile(r"^\s*+(?!Rows )[A-Za-z -]*\b(?:Cond|Condition|Filter|Key|By|Call|Output): .*$", re.MULTILINE)
_NUMBER = re.compile(r'(?<![\w."$])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w"])')

_BRANCHES = ("$and", "$or")


@dataclass(frozen=True, slots=True)
class _Limit:
    """From how many seconds a search is slow, and whether it is run again to be measured."""

    seconds: float = math.inf
    analyze: bool = False


# None: the environment was not asked yet.
_limit: _Limit | None = None


class _Pace:
    """Lets one report through in a while, and counts the others."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next = -math.inf
        self._skipped = 0

    def skipped(self) -> int | None:
        """Return how many were not let through since the last one that was; None for one more of those."""
        with self._lock:
            if time.monotonic() < self._next:
                self._skipped += 1
                return None
            skipped, self._skipped = self._skipped, 0
            self._next = time.monotonic() + INTERVAL
            return skipped


_pace = _Pace()


def log_slow_searches(seconds: float | None, *, analyze: bool = False) -> None:
    """Log each search of this process that takes at least so long, in place of what the environment says.

    The log is ``pgcorpus.slow``, and has at most one search a second; the others are counted.

    Args:
        seconds: 0 for every search; None for none.
        analyze: Run a slow search again under EXPLAIN ANALYZE, for the rows and the time of each step: it takes as long
            again.

    Raises:
        ConfigError: The number is negative or none.
    """
    global _limit, _pace
    if seconds is not None and not 0 <= seconds < math.inf:
        raise ConfigError(f"a search is slow after 0 seconds or more, not {seconds!r}: give None to log none")
    _limit, _pace = _Limit(math.inf if seconds is None else seconds, analyze), _Pace()


def is_slow(seconds: float) -> bool:
    """Say whether a search that took so long is to be reported.

    Args:
        seconds: From its beginning to its rows.
    """
    return seconds >= (_limit or _from_environment()).seconds


def report(connection: Connection, statement: Any, parameters: Mapping[str, Any], seconds: float, **told: Any) -> None:
    """Log a slow search with its plan; whatever fails on the way is logged in place of the plan, and not raised.

    Args:
        connection: In the search's transaction and with its settings; it is left as it is.
        statement: The search.
        parameters: Of the statement.
        seconds: What the search took.
        **told: What else is known, by name: ``collection``, ``k``, ``form``, ``ef_search``. Of ``where``, a filter, the
            fields are told.
    """
    skipped = _pace.skipped()
    if skipped is None:
        return
    try:
        plan = _plan(connection, statement, parameters)
        _logger.warning("%s\n%s", _summary(seconds, skipped, told), plan)
    except Exception as exc:  # noqa: BLE001 -- a search that succeeded must not fail for its log
        _logger.warning("%s; no plan: %s", _summary(seconds, skipped, {}), type(exc).__name__)


@contextmanager
def timeouts_told(**told: Any) -> Iterator[None]:
    """Log a search that was given up after a time that is slow; what was given up has no plan.

    Args:
        **told: As in :func:`report`.
    """
    begun = time.perf_counter()
    try:
        yield
    except SearchTimeoutError as exc:
        seconds = time.perf_counter() - begun
        if is_slow(seconds) and (skipped := _pace.skipped()) is not None:
            _logger.warning("%s; no plan: %s", _summary(seconds, skipped, told), type(exc).__name__)
        raise


def redacted(plan: str) -> str:
    """Return a plan without the values in it: what a statement was given, the vector before all.

    Args:
        plan: As EXPLAIN prints it as text.
    """
    without_literals = _QUOTED.sub(lambda found: found[1] or "?", plan)
    return _CONDITION.sub(lambda line: _NUMBER.sub("?", line[0]), without_literals)


def fields_of(where: Where | None) -> tuple[str, ...]:
    """Return the names of the fields that a filter is about, without its values.

    Args:
        where: A mapping or a SQLAlchemy expression; of a path in that only the column's name is known.
    """
    names = _named(where) if isinstance(where, Mapping) else _columns(where)
    return tuple(dict.fromkeys(names))


def _named(where: Mapping[str, Any]) -> Iterator[str]:
    for key, value in where.items():
        if key in _BRANCHES:
            for branch in value:
                yield from _named(branch)
        elif key == "$not":
            yield from _named(value)
        else:
            yield str(key)


def _columns(where: ClauseElement | None) -> Iterator[str]:
    for element in iterate(where) if where is not None else ():
        if isinstance(element, ColumnClause) and not element.is_literal:
            yield element.name


def _summary(seconds: float, skipped: int, told: Mapping[str, Any]) -> str:
    fields = fields_of(told.get("where"))
    parts = [f"{name}={_shown(value)}" for name, value in told.items() if name != "where" and value is not None]
    parts += [f"filter on {', '.join(map(repr, fields))}"] if fields else []
    parts += [f"{skipped:,} others since the last one told"] if skipped else []
    return ", ".join([f"a search took {seconds * 1000:,.0f} ms", *parts])


def _shown(value: Any) -> str:
    """Return a value on one line, and of an enumeration its text."""
    return repr(str(value) if isinstance(value, str) else value)


def _plan(connection: Connection, statement: Any, parameters: Mapping[str, Any]) -> str:
    """Return the plan, or in one line why there is none."""
    explained = Explain(statement, _OPTIONS[(_limit or _Limit()).analyze])
    try:
        with _aside(connection):
            lines = connection.execute(explained, parameters).scalars().all()
    except SQLAlchemyError as exc:
        # Not the message, which may hold a value.
        return f"no plan: {type(exc).__name__} {sqlstate(exc) or '' if isinstance(exc, DBAPIError) else ''}".rstrip()
    return redacted("\n".join(map(str, lines)))


@contextmanager
def _aside(connection: Connection) -> Iterator[None]:
    """Leave the caller's transaction usable whatever happens, if there is one."""
    if is_outside_transactions(connection):
        yield
        return
    execute_batch(connection, ["SAVEPOINT pgcorpus_slow"])
    try:
        yield
    except SQLAlchemyError:
        if not (connection.closed or connection.invalidated):
            with suppress(DBAPIError):
                execute_batch(connection, ["ROLLBACK TO SAVEPOINT pgcorpus_slow", "RELEASE SAVEPOINT pgcorpus_slow"])
        raise
    execute_batch(connection, ["RELEASE SAVEPOINT pgcorpus_slow"])


def _from_environment() -> _Limit:
    """Return what the environment says, which is asked once; one that is wrong is told, and logs nothing."""
    global _limit
    try:
        milliseconds = load_settings().slow_search_ms
    except ConfigError as exc:
        milliseconds = None
        _logger.warning("slow searches are not logged: %s", exc)
    _limit = _Limit() if milliseconds is None else _Limit(milliseconds / 1000)
    return _limit


def _forget_pace() -> None:
    """In a child, for the thread that may have held its lock is not there."""
    global _pace
    _pace = _Pace()


os.register_at_fork(after_in_child=_forget_pace)
