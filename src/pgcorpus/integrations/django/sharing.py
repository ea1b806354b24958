"""SQLAlchemy on Django's own connection, of which nothing is changed, closed, committed or rolled back.

What SQLAlchemy sends goes through cursors of our own: Django's bind on the client, read jsonb as text and know nothing
of vectors. Savepoints are Django's atomic blocks, so that its book-keeping (``on_commit`` hooks, what needs a rollback)
is as if its own code had made them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn, cast
from weakref import WeakKeyDictionary

import psycopg
import sqlalchemy
from django.db import connections, transaction
from psycopg.adapt import AdaptersMap
from psycopg.rows import tuple_row
from sqlalchemy import Connection, Engine, NullPool, PoolProxiedConnection, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGExecutionContext_psycopg

from pgcorpus.adapters import CURSOR_FACTORY, EXTENSION_TYPES_SQL, ExtensionType, register_psycopg
from pgcorpus.database import remember_schema, schema_off_path
from pgcorpus.errors import DatabaseError
from pgcorpus.models.vector import EXTENSION_SCHEMA

_DIALECT = "postgresql.pgcorpus_django"

NOT_OURS = (
    "the connection and its transaction are Django's: they are committed, or set, by transaction.atomic() and "
    "settings.DATABASES; for a transaction of your own there is pooled_session()"
)

# In a connection's ``record_info``: the stay, and Django's atomic blocks by the names SQLAlchemy gave its savepoints.
_GUEST = "pgcorpus_guest"
_SAVEPOINTS = "pgcorpus_savepoints"


class _Known(NamedTuple):
    """What was seen of the database behind one of Django's connections."""

    adapters: AdaptersMap
    schema: str | None


class Guest(NamedTuple):
    """A stay on one of Django's connections.

    Attributes:
        wrapper: Django's.
        connection: Its psycopg connection.
        adapters: psycopg's own with the extension's types, for cursors of ours.
    """

    wrapper: Any
    connection: psycopg.Connection[Any]
    adapters: AdaptersMap

    def cursor(self) -> SharedCursor:
        """Return a new cursor."""
        return SharedCursor(self)

    def check(self) -> None:
        """Pass if Django would run a statement now, and in this thread.

        Raises:
            django.db.transaction.TransactionManagementError: Its transaction has failed.
            django.db.DatabaseError: The connection is another thread's.
        """
        self.wrapper.validate_thread_sharing()
        self.wrapper.validate_no_broken_transaction()


_lock = threading.Lock()
_engines: dict[str, Engine] = {}
_known: WeakKeyDictionary[psycopg.Connection[Any], _Known] = WeakKeyDictionary()


@contextmanager
def shared_connection(alias: str) -> Iterator[Connection]:
    """Yield this thread's connection of Django's, as SQLAlchemy's, inside an atomic block of Django's.

    Args:
        alias: Of ``settings.DATABASES``, PostgreSQL.
    """
    with _shared_engine(alias).connect() as connection:
        savepoints = _stay(connection.connection)[_SAVEPOINTS]
        try:
            yield connection
        finally:
            # SQLAlchemy ends none where the connection was lost, and Django would stay in their blocks for ever.
            while savepoints:
                _end_in_error(savepoints.popitem()[1])


def _shared_engine(alias: str) -> Engine:
    with _lock:
        if alias not in _engines:
            _engines[alias] = _make_engine(alias)
        return _engines[alias]


def _make_engine(alias: str) -> Engine:
    engine = sqlalchemy.create_engine(
        "postgresql+pgcorpus_django://",
        poolclass=NullPool,
        creator=partial(_current, alias),
        pool_reset_on_return=None,
        # Its types would be registered on Django's connection.
        use_native_hstore=False,
    )
    # Before SQLAlchemy's own first look at the database, which needs our cursors.
    event.listen(engine, "connect", partial(_on_connect, alias, engine.dialect), insert=True)
    event.listen(engine, "engine_connect", remember_schema)
    return engine


def _current(alias: str) -> Any:
    wrapper = connections[alias]
    wrapper.ensure_connection()
    return wrapper.connection


def _on_connect(alias: str, dialect: Any, connection: Any, record: Any) -> None:
    known = _known.get(connection)
    if known is None:
        known = _look(Guest(connections[alias], connection, AdaptersMap(dialect._psycopg_adapters_map)))
    guest = Guest(connections[alias], connection, known.adapters)
    record.info |= {EXTENSION_SCHEMA: known.schema, CURSOR_FACTORY: guest.cursor}
    # SQLAlchemy's own first look has this dictionary only.
    record.record_info |= {_GUEST: guest, _SAVEPOINTS: {}}


def _look(guest: Guest) -> _Known:
    """Ask once for each of Django's connections; where there is no extension yet, each time."""
    with guest.cursor() as cursor:
        types = [ExtensionType(*row) for row in cursor.execute(EXTENSION_TYPES_SQL, prepare=False).fetchall()]
    # An adapters map is a context of psycopg's as much as a connection is.
    register_psycopg(cast("psycopg.Connection[Any]", guest.adapters), types)
    known = _Known(guest.adapters, schema_off_path(types))
    if types:
        _known[guest.connection] = known
    return known


class SharedCursor(psycopg.Cursor[Any]):
    """A cursor on Django's connection that binds on the server and reads what a connection of ours would."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        super().__init__(guest.connection, row_factory=tuple_row)

    @property
    def adapters(self) -> AdaptersMap:
        """Ours, not those of Django's connection."""
        return self._guest.adapters

    def execute(self, *args: Any, **options: Any) -> SharedCursor:
        """Run a statement, unless Django would not."""
        self._guest.check()
        return super().execute(*args, **options)

    def executemany(self, *args: Any, **options: Any) -> None:
        """Run a statement for each of many parameters, unless Django would not."""
        self._guest.check()
        super().executemany(*args, **options)


class SharedServerCursor(psycopg.ServerCursor[Any]):
    """The same for a cursor that lives on the server, by a name."""

    def __init__(self, guest: Guest, name: str) -> None:
        self._guest = guest
        super().__init__(guest.connection, name, row_factory=tuple_row)

    @property
    def adapters(self) -> AdaptersMap:
        """Ours, not those of Django's connection."""
        return self._guest.adapters

    def execute(self, *args: Any, **options: Any) -> SharedServerCursor:
        """Run a statement, unless Django would not."""
        self._guest.check()
        return super().execute(*args, **options)


def _stay(connection: PoolProxiedConnection) -> Any:
    return connection.record_info


def _end_in_error(block: transaction.Atomic) -> None:
    block.__exit__(DatabaseError, None, None)


class _Context(PGExecutionContext_psycopg):
    def create_default_cursor(self) -> Any:
        return SharedCursor(_stay(self._dbapi_connection)[_GUEST])

    def create_server_side_cursor(self) -> Any:
        return SharedServerCursor(_stay(self._dbapi_connection)[_GUEST], f"pgcorpus_{id(self):x}")


class SharedDialect(PGDialect_psycopg):
    """psycopg's dialect, as a guest: transactions and connections begin and end when Django says."""

    supports_statement_cache = True
    execution_ctx_cls = _Context

    def on_connect(self) -> Any:
        """Add no handler to Django's connection."""
        return lambda _connection: None

    def do_begin(self, dbapi_connection: Any) -> None:
        """Django has."""

    def do_rollback(self, dbapi_connection: Any) -> None:
        """Django will; that it must is said by the session."""

    def do_commit(self, dbapi_connection: Any) -> NoReturn:  # noqa: ARG002 -- SQLAlchemy's signature
        """Refuse: Django would not know, nor run its ``on_commit`` hooks.

        Raises:
            DatabaseError: Always.
        """
        raise DatabaseError(NOT_OURS)

    def do_close(self, dbapi_connection: Any) -> None:
        """Django will."""

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Django will."""

    def do_savepoint(self, connection: Connection, name: str) -> None:
        """Begin an atomic block of Django's, which is a savepoint inside another."""
        block = transaction.atomic(_stay(connection.connection)[_GUEST].wrapper.alias)
        block.__enter__()
        _stay(connection.connection)[_SAVEPOINTS][name] = block

    def do_rollback_to_savepoint(self, connection: Connection, name: str) -> None:
        """End the block as an error would, which also drops its ``on_commit`` hooks."""
        _end_in_error(_stay(connection.connection)[_SAVEPOINTS].pop(name))

    def do_release_savepoint(self, connection: Connection, name: str) -> None:
        """End the block."""
        _stay(connection.connection)[_SAVEPOINTS].pop(name).__exit__(None, None, None)

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:  # noqa: ARG002 -- SQLAlchemy's signature
        """Name PostgreSQL's: to ask for the connection's would end with a rollback."""
        return "READ COMMITTED"

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> NoReturn:  # noqa: ARG002 -- SQLAlchemy's signature
        """Refuse, as do the other properties of a transaction.

        Raises:
            DatabaseError: Always.
        """
        raise DatabaseError(f"{level}: {NOT_OURS}")

    def set_readonly(self, connection: Any, value: Any) -> NoReturn:
        """Refuse."""
        self.set_isolation_level(connection, f"read only {value}")

    def set_deferrable(self, connection: Any, value: Any) -> NoReturn:
        """Refuse."""
        self.set_isolation_level(connection, f"deferrable {value}")


registry.register(_DIALECT, __name__, SharedDialect.__name__)
