"""Sessions that can only read, and not for long: the server holds both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from pgcorpus.errors import ConfigError, PgCorpusError, SearchError, SearchTimeoutError, UnreachableError
from pgcorpus.faults import sqlstate, translated

_QUERY_CANCELED = "57014"
# PostgreSQL documentation, "PostgreSQL Error Codes": data exception, program limit exceeded.
_ASKED_WRONG = ("22", "54")

_LIMIT = text("SELECT set_config('statement_timeout', :milliseconds, true)")


def engine_of(engine: Engine | Callable[[], Engine]) -> Engine:
    """Return the engine, made by the host at this moment if it gave a function.

    Raises:
        ConfigError: It is none, or an async one.
    """
    found: Any = engine if isinstance(engine, Engine) or not callable(engine) else engine()
    if not isinstance(found, Engine):
        raise ConfigError(f"the Explorer needs a sync Engine, or a function that returns one, not {found!r}")
    return found


@contextmanager
def reading(engine: Engine, seconds: float) -> Iterator[Session]:
    """Yield a session in a read-only transaction, which is rolled back.

    Args:
        engine: The database.
        seconds: What any of its statements may take.

    Raises:
        SearchTimeoutError: One took longer.
        SearchError: The server cannot make sense of a value.
        UnreachableError: There is no connection to be had.
        DatabaseError: The server refused.
    """
    with told(seconds, engine.url.password), engine.connect() as connection:
        # The level too: in AUTOCOMMIT there is no transaction, and nothing would be read-only.
        connection.execution_options(isolation_level="READ COMMITTED", postgresql_readonly=True)
        with Session(connection, expire_on_commit=False) as session:
            session.execute(_LIMIT, {"milliseconds": _milliseconds(seconds)})
            yield session


@contextmanager
def at_most(session: Session, seconds: float) -> Iterator[None]:
    """Give a part of a page so much time for each of its statements; what goes wrong leaves the session usable.

    Raises:
        SearchTimeoutError: One took longer.
        DatabaseError: The server refused.
    """
    with told(seconds), session.connection().begin_nested() as savepoint:
        session.execute(_LIMIT, {"milliseconds": _milliseconds(seconds)})
        yield
        savepoint.rollback()  # nothing was written, and the time limit goes back to what it was


@contextmanager
def told(seconds: float, password: Any = None) -> Iterator[None]:
    """Turn a driver's errors into ours, without the password of the database."""
    try:
        yield
    except DBAPIError as exc:
        fault = _fault(exc, seconds)
        raise type(fault)(str(fault).replace(str(password), "***") if password else str(fault)) from exc
    except PendingRollbackError as exc:
        raise UnreachableError("the connection to the database was lost: try again") from exc
    except PoolTimeoutError as exc:
        raise UnreachableError("no connection to the database was free: try again, or give the engine more") from exc


def _fault(exc: DBAPIError, seconds: float) -> PgCorpusError:
    state = sqlstate(exc) or ""
    if state == _QUERY_CANCELED:
        return SearchTimeoutError(f"the database took longer than {seconds:g} seconds")
    fault = translated(exc)
    return SearchError(str(fault)) if state.startswith(_ASKED_WRONG) else fault


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
