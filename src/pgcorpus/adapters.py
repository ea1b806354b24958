"""How vectors cross the wire: dumpers and loaders for psycopg 3 and psycopg2.

Two things are kept apart. What SQLAlchemy binds (:class:`BinaryVector`) needs no type OID, so it is known to every
psycopg connection from import on, whether or not the extension exists. What a person gives to a raw cursor (an
array, ``pgvector.Vector``) needs the type's OID, so it is registered on each connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pgvector
import psycopg
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo
from psycopg2.extensions import AsIs, new_array_type, new_type, register_adapter, register_type

from pgcorpus import vectors

# The extension may live in any schema, on the search_path or not: its own entry names where (pg_extension).
EXTENSION_TYPES_SQL = """
SELECT t.typname, t.oid, t.typarray, n.nspname, pg_type_is_visible(t.oid)
FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace
JOIN pg_type t ON t.typnamespace = e.extnamespace AND t.typname IN ('vector', 'halfvec', 'sparsevec')
WHERE e.extname = 'vector'
"""


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


class _TextLoader(Loader):
    format = Format.TEXT

    def load(self, data: Buffer) -> vectors.Array:
        return vectors.from_text(bytes(data).decode("ascii"))


class _BinaryLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> vectors.Array:
        return vectors.from_binary(data)


def register_psycopg(connection: psycopg.BaseConnection[Any], types: list[ExtensionType]) -> None:
    """Make a psycopg 3 connection send arrays and ``pgvector.Vector`` in binary and return float32 arrays.

    Args:
        connection: A sync or async connection; nothing is sent over it.
        types: The extension's types in its database; none leaves the connection as it is.
    """
    for type_ in types:
        info = TypeInfo(type_.name, type_.oid, type_.array_oid)
        info.register(connection)
        if type_.name == "vector":
            _register_psycopg_vector(connection.adapters, info)


def _register_psycopg_vector(adapters: AdaptersMap, info: TypeInfo) -> None:
    dumper = type("VectorDumper", (_ArrayDumper,), {"oid": info.oid})
    adapters.register_dumper(pgvector.Vector, dumper)
    adapters.register_dumper(np.ndarray, dumper)
    adapters.register_loader(info.oid, _TextLoader)
    adapters.register_loader(info.oid, _BinaryLoader)


def register_psycopg2(connection: Any, types: list[ExtensionType]) -> None:
    """Make a psycopg2 connection take arrays and ``pgvector.Vector`` and return float32 arrays.

    Args:
        connection: A ``psycopg2`` connection. Adapters of Python classes are global in psycopg2, loaders are not.
        types: The extension's types in its database; none leaves the connection as it is.
    """
    for type_ in types:
        if type_.name == "vector":
            vector = new_type((type_.oid,), "VECTOR", _cast_psycopg2)
            register_type(vector, connection)
            register_type(new_array_type((type_.array_oid,), "VECTOR[]", vector), connection)
            register_adapter(pgvector.Vector, _quote_psycopg2)
            register_adapter(np.ndarray, _quote_psycopg2)


def _cast_psycopg2(value: Any, _cursor: Any) -> vectors.Array | None:
    return None if value is None else vectors.from_text(value)


def _quote_psycopg2(value: Any) -> AsIs:
    return AsIs(f"'{vectors.to_text(vectors.as_array(value))}'")  # digits, commas and brackets only
