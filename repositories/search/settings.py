"""Settings for one search: none where the connection carries them, else one batch of SET LOCAL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from weakref import WeakSet

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from pgcorpus.errors import SearchTimeoutError
from pgcorpus.faults import sqlstate
from pgcorpus.repositories.transactions import execute_batch, is_outside_transactions
from pgcorpus.tuning import CARRIED, SCANS, SEARCH_DEFAULTS

_QUERY_CANCELED = "57014"

# Sends what follows to the shards of a Citus cluster, and means nothing elsewhere.
_PROPAGATE = "SET LOCAL citus.propagate_set_commands = 'local'"

# Connections whose present transaction runs with other settings than the defaults. A search that sets nothing would
# inherit them.
_overridden: WeakSet[Connection] = WeakSet()


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What a search needs the server to be set to.

    Attributes:
        ef_search: ``hnsw.ef_search``.
        probes: ``ivfflat.probes``; None where there is no such index.
        scan: ``hnsw.iterative_scan``.
        timeout: Seconds; None for the server's own.
        custom_plan: Whether a prepared statement is to be planned for its values: a generic plan knows nothing of a
            filter's selectivity. A kept cursor does not prepare it in the first place.
    """

    ef_search: int
    probes: int | None = None
    timeout: float | None = None
    custom_plan: bool = False
    scan: str = SCANS[0]

    @property
    def are_defaults(self) -> bool:
        """Whether these are what our own connections carry."""
        is_plain = self.probes is None and not self.custom_plan and self.scan == SCANS[0]
        return is_plain and str(self.ef_search) == SEARCH_DEFAULTS["hnsw.ef_search"]

    def values(self) -> dict[str, str]:
        """Return the settings by name."""
        values = SEARCH_DEFAULTS | {"hnsw.ef_search": str(int(self.ef_search)), "hnsw.iterative_scan": self.scan}
        if self.custom_plan:
            values |= {"plan_cache_mode": "force_custom_plan"}
        if self.probes is not None:
            # IVFFlat has no strict order.
            scan = self.scan if self.scan == "off" else SCANS[0]
            values |= {"ivfflat.probes": str(int(self.probes)), "ivfflat.iterative_scan": scan}
        return values

    def commands(self) -> list[str]:
        """Return the commands that set them for a transaction; constants and numbers only."""
        return [_PROPAGATE, *(f"SET LOCAL {name} = {value}" for name, value in self.values().items())]


@contextmanager
def search_settings(connection: Connection, settings: SearchSettings) -> Iterator[None]:
    """Give a search its settings, and leave the caller's transaction usable.

    Nothing is sent where the connection carries the defaults. Where AUTOCOMMIT has opened no transaction, and SET
    LOCAL would mean nothing, the search gets one of its own.

    Args:
        connection: On psycopg or psycopg2.
        settings: What to set.

    Raises:
        SearchTimeoutError: The time is over.
    """
    if are_carried(connection, settings):
        yield
    elif is_outside_transactions(connection):
        with _own_transaction(connection, settings):
            yield
    elif settings.timeout is not None:
        with _own_savepoint(connection, settings):
            yield
    else:
        _overridden.add(connection)
        execute_batch(connection, settings.commands())
        yield


def are_carried(connection: Connection, settings: SearchSettings) -> bool:
    """Return whether a connection has the settings as it is."""
    if settings.timeout is not None or not settings.are_defaults:
        return False
    return bool(connection.info.get(CARRIED)) and connection not in _overridden


@contextmanager
def _own_transaction(connection: Connection, settings: SearchSettings) -> Iterator[None]:
    """A transaction: there is nothing to keep of a search."""
    execute_batch(connection, ["BEGIN", *settings.commands(), *_timeout(settings)])
    with _ended_by(connection, ["ROLLBACK"]), _timed(settings):
        yield


@contextmanager
def _own_savepoint(connection: Connection, settings: SearchSettings) -> Iterator[None]:
    """A savepoint: the timeout must not outlive the search, nor cost the caller the transaction."""
    execute_batch(connection, ["SAVEPOINT pgcorpus_search", *settings.commands(), *_timeout(settings)])
    end = ["ROLLBACK TO SAVEPOINT pgcorpus_search", "RELEASE SAVEPOINT pgcorpus_search"]
    with _ended_by(connection, end), _timed(settings):
        yield


@contextmanager
def _ended_by(connection: Connection, commands: list[str]) -> Iterator[None]:
    """Run commands at the end; where the connection is lost, what lost it is the error to tell."""
    try:
        yield
    except BaseException:
        if not (connection.closed or connection.invalidated):
            with suppress(DBAPIError):
                execute_batch(connection, commands)
        raise
    execute_batch(connection, commands)


def _timeout(settings: SearchSettings) -> list[str]:
    timeout = settings.timeout
    return [] if timeout is None else [f"SET LOCAL statement_timeout = {max(1, round(timeout * 1000))}"]


@contextmanager
def _timed(settings: SearchSettings) -> Iterator[None]:
    try:
        yield
    except DBAPIError as exc:
        if settings.timeout is None or sqlstate(exc) != _QUERY_CANCELED:
            raise
        raise SearchTimeoutError(f"the search took longer than {settings.timeout:g} seconds") from exc
