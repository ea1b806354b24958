"""How vectors cross the wire: dumpers and loaders for psycopg 3 and psycopg2.

Two things are kept apart. What SQLAlchemy binds (:class:`BinaryVector`) needs no type OID, so it is known to every
psycopg connection from import on, whether or not the extension exists. What a person gives to a raw cursor (an
array, ``pgvector.Vector``) needs the type's OID, so it is registered on each connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, LiteralString, NamedTuple

import numpy as np
import pgvector
import psycopg
import psycopg2
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types import TypeInfo
from psycopg2.extensions import (
    TRANSACTION_STATUS_IDLE,
    TRANSACTION_STATUS_INERROR,
    AsIs,
    new_array_type,
    new_type,
    register_adapter,
    register_type,
)

from pgcorpus import vectors
from pgcorpus.errors import DatabaseError, ExtensionError

# The extension may live in any schema, on the search_path or not: its own entry names where (pg_extension).
EXTENSION_TYPES_SQL = """
SELECT t.typname, t.oid, t.typarray, n.nspname, pg_type_is_visible(t.oid)
FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace
JOIN pg_type t ON t.typnamespace = e.extnamespace AND t.typname IN ('vector', 'halfvec', 'sparsevec')
WHERE e.extname = 'vector'
"""


_QUERY: LiteralString = EXTENSION_TYPES_SQL

# In a connection's ``info``: makes its cursors, where it is another library's whose own are of another kind.
CURSOR_FACTORY = "pgcorpus_cursor_factory"


class ExtensionType(NamedTuple):
    """One of the extension's types as :data:`EXTENSION_TYPES_SQL` lists them."""

    name: str
    oid: int
    array_oid: int
    schema: str
    on_search_path: bool


@dataclass(frozen=True, slots=True)
class BinaryVector:
    """A vector in pgvector's binary form, sent without a type OID so that the server infers it."""

    data: bytes


class _BinaryVectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryVector) -> Buffer:
        return obj.data


psycopg.adapters.register_dumper(BinaryVector, _BinaryVectorDumper)


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        return vectors.to_binary(vectors.as_array(obj))


class _ArrayTextDumper(Dumper):
    """psycopg sends lists as text, and each of their elements."""

    def dump(self, obj: Any) -> Buffer:
        return vectors.to_text(vectors.as_array(obj)).encode()


class _TextLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> vectors.Array:
        return vectors.from_text(bytes(data).decode("ascii"))


class _BinaryLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> vectors.Array:
        return vectors.from_binary(data)


class _ObjectDumper(Dumper):
    """For pgvector's own classes, which know their binary forms."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        data: bytes = obj.to_binary()
        return data


class _ObjectTextDumper(Dumper):
    def dump(self, obj: Any) -> Buffer:
        text: str = obj.to_text()
        return text.encode()


def _loader(kind: type[Any], format_: Format) -> type[Loader]:
    def load(_self: Loader, data: Buffer) -> Any:
        raw = bytes(data)
        return kind.from_binary(raw) if format_ == Format.BINARY else kind.from_text(raw.decode("ascii"))

    return type(f"{kind.__name__}Loader", (Loader,), {"format": format_, "load": load})


_CLASSES: dict[str, type[Any]] = {"halfvec": pgvector.HalfVector, "sparsevec": pgvector.SparseVector}


def register_psycopg(connection: psycopg.BaseConnection[Any], types: list[ExtensionType]) -> None:
    """Make a psycopg 3 connection send arrays and pgvector's classes in binary and return float32 arrays.

    Args:
        connection: A sync or async connection; nothing is sent over it.
        types: The extension's types in its database; none leaves the connection as it is.
    """
    for type_ in types:
        info = TypeInfo(type_.name, type_.oid, type_.array_oid)
        info.register(connection)
        if type_.name == "vector":
            _register_psycopg_vector(connection.adapters, info)
        else:
            _register_psycopg_class(connection.adapters, info, _CLASSES[type_.name])


def _register_psycopg_vector(adapters: AdaptersMap, info: TypeInfo) -> None:
    _register_dumpers(adapters, pgvector.Vector, info.oid, _ArrayTextDumper, _ArrayDumper)
    _register_dumpers(adapters, np.ndarray, info.oid, _ArrayTextDumper, _ArrayDumper)
    bit = adapters.types["bit"].oid
    _register_dumpers(adapters, pgvector.Bit, bit, _ObjectTextDumper, _ObjectDumper)
    adapters.register_loader(info.oid, _TextLoader)
    adapters.register_loader(info.oid, _BinaryLoader)


def _register_dumpers(adapters: AdaptersMap, kind: type[Any], oid: int, *dumpers: type[Dumper]) -> None:
    """The last is the one that ``%s`` takes."""
    for dumper in dumpers:
        adapters.register_dumper(kind, type(f"{kind.__name__}Dumper", (dumper,), {"oid": oid}))


def _register_psycopg_class(adapters: AdaptersMap, info: TypeInfo, kind: type[Any]) -> None:
    _register_dumpers(adapters, kind, info.oid, _ObjectTextDumper, _ObjectDumper)
    adapters.register_loader(info.oid, _loader(kind, Format.TEXT))
    adapters.register_loader(info.oid, _loader(kind, Format.BINARY))


def register_psycopg2(connection: Any, types: list[ExtensionType]) -> None:
    """Make a psycopg2 connection take arrays and pgvector's classes and return float32 arrays.

    Args:
        connection: A ``psycopg2`` connection. Adapters of Python classes are global in psycopg2, loaders are not.
        types: The extension's types in its database; none leaves the connection as it is.
    """
    for type_ in types:
        kind = _CLASSES.get(type_.name)
        loaded = new_type(
            (type_.oid,), type_.name.upper(), _cast_psycopg2(kind.from_text if kind else vectors.from_text)
        )
        register_type(loaded, connection)
        register_type(new_array_type((type_.array_oid,), f"{type_.name.upper()}[]", loaded), connection)
    if types:
        register_adapter(pgvector.Vector, _quote_array)
        register_adapter(np.ndarray, _quote_array)
        for kind in (*_CLASSES.values(), pgvector.Bit):
            register_adapter(kind, _quote_object)


def _cast_psycopg2(parse: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, _cursor: None if value is None else parse(value)


def _quote_array(value: Any) -> AsIs:
    return AsIs(f"'{vectors.to_text(vectors.as_array(value))}'")  # digits, commas and brackets only


def _quote_object(value: Any) -> AsIs:
    return AsIs(f"'{value.to_text()}'")  # digits, commas, colons, brackets and a slash only


def register(connection: Any) -> None:
    """Teach a connection of psycopg or psycopg2 the extension's types; see :func:`pgcorpus.register`.

    Raises:
        ExtensionError: There is no pgvector in its database.
        DatabaseError: It is no such connection, is async or closed, or its transaction has failed.
    """
    if isinstance(connection, psycopg2.extensions.connection):
        register_psycopg2(connection, _fetched(connection, _fetch_psycopg2(connection)))
    elif isinstance(connection, psycopg.Connection):
        register_psycopg(connection, _fetched(connection, _fetch_psycopg(connection)))
    elif isinstance(connection, psycopg.AsyncConnection):
        raise DatabaseError("this connection is async: await pgcorpus.register_async(connection)")
    else:
        raise _not_a_connection(connection)


async def register_async(connection: Any) -> None:
    """Teach an async connection of psycopg the extension's types; see :func:`pgcorpus.register_async`.

    Raises:
        ExtensionError: There is no pgvector in its database.
        DatabaseError: It is no such connection, is closed, or its transaction has failed.
    """
    if not isinstance(connection, psycopg.AsyncConnection):
        raise _not_a_connection(connection)
    outside = _is_outside(connection)
    if outside:
        await connection.set_autocommit(True)
    try:
        async with connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_QUERY, prepare=False)
            rows = await cursor.fetchall()
    finally:
        if outside:
            await connection.set_autocommit(False)
    register_psycopg(connection, _fetched(connection, rows))


def _fetch_psycopg(connection: psycopg.Connection[Any]) -> list[Any]:
    outside = _is_outside(connection)
    if outside:
        connection.autocommit = True  # or the query would begin a transaction
    try:
        with connection.cursor(row_factory=tuple_row) as cursor:
            return cursor.execute(_QUERY, prepare=False).fetchall()
    finally:
        if outside:
            connection.autocommit = False


def _is_outside(connection: psycopg.BaseConnection[Any]) -> bool:
    status = connection.info.transaction_status
    _check_usable(connection.closed, failed=status == TransactionStatus.INERROR)
    return status == TransactionStatus.IDLE and not connection.autocommit


def _fetch_psycopg2(connection: Any) -> list[Any]:
    status = connection.get_transaction_status()
    _check_usable(connection.closed, failed=status == TRANSACTION_STATUS_INERROR)
    with connection.cursor(cursor_factory=psycopg2.extensions.cursor) as cursor:
        cursor.execute(EXTENSION_TYPES_SQL)
        rows: list[Any] = cursor.fetchall()
    if status == TRANSACTION_STATUS_IDLE:
        connection.rollback()  # inside `with connection:` autocommit cannot be switched
    return rows


def _check_usable(closed: Any, *, failed: bool) -> None:
    if closed:
        raise DatabaseError("the connection is closed")
    if failed:
        raise DatabaseError("the connection's transaction has failed: roll it back, then register")


def _fetched(connection: Any, rows: list[Any]) -> list[ExtensionType]:
    if not rows:
        raise ExtensionError(
            f"there is no pgvector in the database {connection.info.dbname!r}: run `pgcorpus migrate upgrade`, or let "
            "a role that may run CREATE EXTENSION vector"
        )
    return [ExtensionType(*row) for row in rows]


def _not_a_connection(given: Any) -> DatabaseError:
    return DatabaseError(f"expected a connection of psycopg or psycopg2, not {type(given).__name__}")
