"""A column's values as one array parameter: binary on psycopg 3, where its own lists go through text and regexes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import ARRAY as GENERIC_ARRAY
from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Enum,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine, UserDefinedType

from pgcorpus import vectors
from pgcorpus.adapters import EXTENSION_TYPES_SQL, BinaryVector
from pgcorpus.models.vector import extension_schema

# What encoding raises for a value that is not of its column's type.
UNSENDABLE = (TypeError, ValueError, ArithmeticError, AttributeError, struct.error)

_VECTOR_OID = "pgcorpus_vector_oid"
_NULL = b"\xff\xff\xff\xff"


class EncodedArray(UserDefinedType[Any]):
    """An array whose values are encoded before they are bound.

    Args:
        element: The SQL name of the elements' type.
    """

    cache_ok = True
    render_bind_cast = True

    def __init__(self, element: str) -> None:
        self.element = element

    def get_col_spec(self, **_kw: Any) -> str:
        """Return the type's name in DDL."""
        return f"{self.element}[]"


@compiles(EncodedArray, "postgresql")
def _compile_type(type_: EncodedArray, compiler: Any, **kw: Any) -> str:
    schema = extension_schema(compiler.dialect) if type_.element == "VECTOR" else None
    spec = type_.get_col_spec(**kw)
    return spec if schema is None else f"{compiler.dialect.identifier_preparer.quote(schema)}.{spec}"


@dataclass(frozen=True)
class ArrayParameter:
    """How a column's values travel together.

    Attributes:
        type: The parameter's type.
        encode: Makes the parameter of the values.
    """

    type: TypeEngine[Any]
    encode: Callable[[Sequence[Any]], Any]


def fits_array(type_: TypeEngine[Any]) -> bool:
    """Return whether values of a type can travel as an array: unnest would take an array of arrays apart."""
    return not isinstance(type_, GENERIC_ARRAY | TypeDecorator)


def array_parameter(type_: TypeEngine[Any], connection: Connection) -> ArrayParameter:
    """Return the array parameter for values of a column's type."""
    if connection.dialect.driver == "psycopg":
        return _binary_parameter(type_, connection) or ArrayParameter(_array_of(type_), list)
    if isinstance(type_, VECTOR):
        return ArrayParameter(EncodedArray("VECTOR"), _text_vectors)
    return ArrayParameter(_array_of(type_), list)


def _array_of(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    if isinstance(type_, String) and not isinstance(type_, Enum):
        return ARRAY(Text)  # a cast to VARCHAR(n) would cut a text off where an INSERT refuses it
    if isinstance(type_, JSON):
        return ARRAY(type(type_)(none_as_null=True))  # as in COPY: None is no value, not the JSON null
    return ARRAY(type_)


def _text_vectors(values: Sequence[vectors.Array | None]) -> list[str | None]:
    return [None if value is None else vectors.to_text(value) for value in values]


def _binary_parameter(type_: TypeEngine[Any], connection: Connection) -> ArrayParameter | None:
    """The types of a document's columns; any other is left to psycopg."""
    if isinstance(type_, VECTOR):
        return _encoded("VECTOR", _vector_oid(connection), vectors.to_binary)
    if isinstance(type_, JSONB):
        dumps = getattr(connection.dialect, "_json_serializer", None) or json.dumps
        return _encoded("JSONB", 3802, lambda value: b"\x01" + dumps(value).encode())
    if isinstance(type_, String) and not isinstance(type_, Enum):
        encoding = connection.connection.driver_connection.info.encoding  # type: ignore[union-attr]
        return _encoded("TEXT", 25, lambda value: value.encode(encoding))
    if isinstance(type_, LargeBinary):
        return _encoded("BYTEA", 17, bytes)
    if isinstance(type_, Integer):
        return _integers(type_)
    return None


def _integers(type_: Integer) -> ArrayParameter:
    # Type OIDs are for ever (PostgreSQL source, pg_type.dat).
    name, oid, form = ("INTEGER", 23, "!i")
    if isinstance(type_, BigInteger):
        name, oid, form = ("BIGINT", 20, "!q")
    elif isinstance(type_, SmallInteger):
        name, oid, form = ("SMALLINT", 21, "!h")
    return _encoded(name, oid, struct.Struct(form).pack)


def _encoded(name: str, oid: int, encode: Callable[[Any], bytes]) -> ArrayParameter:
    return ArrayParameter(EncodedArray(name), lambda values: BinaryVector(_binary_array(oid, values, encode)))


def _binary_array(oid: int, values: Sequence[Any], encode: Callable[[Any], bytes]) -> bytes:
    """PostgreSQL's binary form of an array of one dimension (array_send): header, then length and value of each."""
    parts = [struct.pack("!iiIii", 1, int(any(value is None for value in values)), oid, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            data = encode(value)
            parts += (len(data).to_bytes(4, "big"), data)
    return b"".join(parts)


def _vector_oid(connection: Connection) -> int:
    """Ask once for each of the pool's connections."""
    info = connection.info
    if _VECTOR_OID not in info:
        rows = connection.exec_driver_sql(EXTENSION_TYPES_SQL).all()
        info[_VECTOR_OID] = next(row[1] for row in rows if row[0] == "vector")
    oid: int = info[_VECTOR_OID]
    return oid
