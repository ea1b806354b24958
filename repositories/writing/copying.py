"""Rows into a table by binary COPY, on psycopg 3, sync or async."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pgvector
import psycopg
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR
from psycopg.adapt import AdaptersMap
from psycopg.pq import Format
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import BigInteger, Connection, Dialect, Enum, Float, Integer, LargeBinary, Numeric, SmallInteger, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from pgcorpus import vectors
from pgcorpus.adapters import CURSOR_FACTORY
from pgcorpus.errors import DocumentError
from pgcorpus.faults import as_sqlalchemy
from pgcorpus.repositories.writing.arrays import UNSENDABLE
from pgcorpus.repositories.writing.rows import Row, Shape

_Encoder = Callable[[Any], Any]

# What encoding, or the driver's, raises for a value that is not of the column's type.
_UNSENDABLE = (*UNSENDABLE, psycopg.DataError)

# DDL names that psycopg's registry of types does not have, or has for another type.
_NAMES = {"float": "float8", "decimal": "numeric", "char": "text", "varchar": "text", "nchar": "text"}
_LENGTH = re.compile(r"\([^)]*\)")
_SINGLE_PRECISION = re.compile(r"FLOAT\((\d|1\d|2[0-4])\)")  # bits (PostgreSQL documentation, "Numeric Types")


class Copier:
    """Copies rows of one shape.

    The wire has no room for conversions: each value is sent as its column's type, whatever its own is.

    Args:
        connection: On psycopg, in a transaction.
        shape: Of all rows.
        types: psycopg's names of the columns' types.
        encoders: What makes of a column's value one that psycopg can send; None for nothing.
    """

    def __init__(
        self, connection: Connection, shape: Shape, types: Sequence[str], encoders: Sequence[_Encoder | None]
    ) -> None:
        self._connection = connection
        self._statement = _statement(connection, shape)
        self._types = types
        self._encoders = [(index, encode) for index, encode in enumerate(encoders) if encode is not None]

    def copy(self, rows: Iterable[Row], start: int, noun: str) -> int:
        """Copy the rows as they come and return how many there were.

        Args:
            rows: Nothing of them is kept.
            start: The position of the first.
            noun: What a row is called in errors.

        Raises:
            DocumentError: A value is not of its column's type; the message names the row's position.
            DBAPIError: The server refused a row.
        """
        connection = self._connection
        with as_sqlalchemy(connection, self._statement.as_string()):
            if connection.dialect.is_async:
                adapted: Any = connection.connection.dbapi_connection
                count: int = adapted.run_async(lambda driver: self._copy_async(driver, rows, start, noun))
                return count
            return self._copy_sync(_cursor(connection), rows, start, noun)

    def _copy_sync(self, new_cursor: Any, rows: Iterable[Row], start: int, noun: str) -> int:
        position = start
        with new_cursor as cursor, cursor.copy(self._statement) as copy:
            copy.set_types(self._types)
            for position, row in enumerate(rows, start + 1):
                try:
                    copy.write_row(self._encoded(row))
                except _UNSENDABLE as exc:
                    raise _unsendable(noun, position - 1, exc) from exc
        return position - start

    async def _copy_async(self, driver: Any, rows: Iterable[Row], start: int, noun: str) -> int:
        position = start
        async with driver.cursor() as cursor, cursor.copy(self._statement) as copy:
            copy.set_types(self._types)
            for position, row in enumerate(rows, start + 1):
                try:
                    await copy.write_row(self._encoded(row))
                except _UNSENDABLE as exc:
                    raise _unsendable(noun, position - 1, exc) from exc
        return position - start

    def _encoded(self, row: Row) -> Row:
        for index, encode in self._encoders:
            if row[index] is not None:
                row[index] = encode(row[index])
        return row


def copier(connection: Connection, shape: Shape) -> Copier | None:
    """Return what copies rows of a shape, or None where the driver or a column's type has no binary COPY."""
    if connection.dialect.driver != "psycopg" or not shape.is_plain:
        return None
    adapters = _cursor(connection).adapters
    sendings = [_sending(column.type, connection.dialect, adapters) for column in shape.columns]
    known = [sending for sending in sendings if sending is not None]
    if len(known) < len(sendings):
        return None
    return Copier(connection, shape, [name for name, _ in known], [encode for _, encode in known])


def _cursor(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return connection.info.get(CURSOR_FACTORY, driver.cursor)()


def _statement(connection: Connection, shape: Shape) -> Composed:
    # What SQLAlchemy does for its own statements: a schema_translate_map counts.
    name = Identifier(*filter(None, (connection.schema_for_object(shape.table), shape.table.name)))
    columns = SQL(", ").join(Identifier(column.name) for column in shape.columns)
    return SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(name, columns)


def _unsendable(noun: str, position: int, exc: Exception) -> DocumentError:
    return DocumentError(f"{noun} {position}: a value is not of its column's type: {exc}")


def _sending(type_: TypeEngine[Any], dialect: Dialect, adapters: AdaptersMap) -> tuple[str, _Encoder | None] | None:
    """Return psycopg's name of a column's type and what prepares its values, or None where there is no way."""
    plain = type_.dialect_impl(dialect)
    if (as_bytes := _as_bytes(type_, dialect)) is not None:
        return "bytea", as_bytes  # its binary form is made here, and passes through
    name = "text" if isinstance(plain, Enum) else _type_name(type_, dialect)
    info = adapters.types.get(name)
    oid = info and (info.array_oid if name.endswith("[]") else info.oid)
    try:
        adapters.get_dumper_by_oid(oid or 0, Format.BINARY)
    except psycopg.ProgrammingError:
        return None
    return name, _encoder(type_, plain, dialect) if oid else None


def _as_bytes(type_: TypeEngine[Any], dialect: Dialect) -> _Encoder | None:
    if isinstance(type_, JSONB):
        dumps = getattr(dialect, "_json_serializer", None) or json.dumps
        return lambda value: b"\x01" + dumps(value).encode()  # the version of the form (jsonb_send)
    if isinstance(type_, Float) and _type_name(type_, dialect) == "float4":
        return struct.Struct("!f").pack
    return next((encode for kind, encode in _AS_BYTES.items() if isinstance(type_, kind)), None)


def _type_name(type_: TypeEngine[Any], dialect: Dialect) -> str:
    ddl = type_.compile(dialect=dialect)
    if _SINGLE_PRECISION.fullmatch(ddl):
        return "float4"
    name = " ".join(_LENGTH.sub("", ddl).lower().split())
    return _NAMES.get(name, name)


def _encoder(type_: TypeEngine[Any], plain: TypeEngine[Any], dialect: Dialect) -> _Encoder | None:
    processor: _Encoder | None = None if isinstance(type_, LargeBinary) else plain.bind_processor(dialect)
    exact = next((encode for kind, encode in _EXACT.items() if isinstance(plain, kind)), None)
    if processor is None or exact is None:
        return processor or exact
    return lambda value: exact(processor(value))


def _decimal(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


def _uuid(value: Any) -> Any:
    return UUID(value) if isinstance(value, str) else value


def _of(kind: type[Any], value: Any) -> Any:
    return value if isinstance(value, kind) else kind(value)


_AS_BYTES: dict[type[Any], _Encoder] = {
    # psycopg's own dumpers cut a number that is too large off to the column's width, silently.
    BigInteger: struct.Struct("!q").pack,
    SmallInteger: struct.Struct("!h").pack,
    Integer: struct.Struct("!i").pack,
    VECTOR: vectors.to_binary,
    HALFVEC: lambda value: _of(pgvector.HalfVector, value).to_binary(),
    SPARSEVEC: lambda value: _of(pgvector.SparseVector, value).to_binary(),
}
_EXACT: dict[type[Any], _Encoder] = {Numeric: _decimal, Uuid: _uuid}
