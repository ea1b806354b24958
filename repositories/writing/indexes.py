"""The vector indexes of a model: dropped before a first load, built after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Index, MetaData, Table, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex, DropIndex

from pgcorpus.faults import sqlstate
from pgcorpus.indexing import METHODS
from pgcorpus.locks import advisory_lock
from pgcorpus.marking import built_instead_of
from pgcorpus.models.vector import extension_schema
from pgcorpus.names import regclass_name

_DROP_WAIT = "1s"
_LOCK_NOT_AVAILABLE = "55P03"
_BUILD_WAIT = 3600.0  # seconds: another process may be building the same index

# Only the owner of a table may drop and create its indexes.
_OWNED = text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass(:name)")
_VALID = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
_COMMENTS = text("""
    SELECT obj_description(indexrelid, 'pg_class') FROM pg_index WHERE indrelid = to_regclass(:name) AND indisvalid
""")
_SEE_SCHEMA = text(
    "SELECT set_config('search_path', concat_ws(', ', current_setting('search_path'), quote_ident(:schema)), false)"
)


def vector_indexes(model: type[Any]) -> list[Index]:
    """Return a model's HNSW and IVFFlat indexes."""
    table: Table = model.__table__
    return [index for index in table.indexes if index.dialect_options["postgresql"]["using"] in METHODS]


def drop_for_first_load(engine: Engine, model: type[Any]) -> bool:
    """Drop the vector indexes if the table is empty and ours, and return whether they are gone.

    Copying rows with an HNSW index present takes 30 times as long as without. It is no more than that: where others
    use the table, the indexes stay, rather than that every reader waits behind the DROP.

    Args:
        engine: The database; the work is done outside any other transaction.
        model: The mapped class.
    """
    with _own_connection(engine, lock_timeout=_DROP_WAIT) as connection:
        if not _owns(connection, model.__table__) or not is_empty(connection, model):
            return False
        try:
            for index in vector_indexes(model):
                connection.execute(DropIndex(index, if_exists=True))
        except DBAPIError as exc:
            if sqlstate(exc) != _LOCK_NOT_AVAILABLE:
                raise
            return False
        return True


def is_missing(engine: Engine, model: type[Any]) -> bool:
    """Return whether the database lacks a vector index of the model, or has it as invalid, and we may build it."""
    with _own_connection(engine) as connection:
        return _owns(connection, model.__table__) and bool(_absent(connection, model))


def build_missing(engine: Engine, model: type[Any]) -> None:
    """Build the vector indexes that are missing without blocking writers; an invalid leftover is replaced.

    Args:
        engine: The database; two that build at once take turns.
        model: The mapped class.

    Raises:
        DatabaseError: Another process has been building for an hour.
    """
    lock = advisory_lock(engine, f"index build on {model.__table__.fullname}", _BUILD_WAIT)
    with lock, _own_connection(engine) as connection:
        for index in _absent(connection, model):
            connection.execute(DropIndex(index, if_exists=True))
            connection.execute(CreateIndex(_concurrent(index)))


@contextmanager
def _own_connection(engine: Engine, lock_timeout: str = "0") -> Iterator[Connection]:
    """Yield a connection outside transactions whose settings never reach the pool."""
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        try:
            # A concurrent build waits for every older transaction: a timeout would leave it half-built.
            connection.execute(text(f"SET lock_timeout = '{lock_timeout}'"))
            connection.execute(text("SET statement_timeout = 0"))
            if schema := extension_schema(connection.dialect):
                connection.execute(_SEE_SCHEMA, {"schema": schema})
            yield connection
        finally:
            connection.invalidate()


def table_name(connection: Connection, table: Table) -> str:
    """Return a table's name for ``to_regclass``, in the schema that the connection's translate map puts it in."""
    return regclass_name(connection.schema_for_object(table), table.name)


def _owns(connection: Connection, table: Table) -> bool:
    return bool(connection.scalar(_OWNED, {"name": table_name(connection, table)}))


def is_empty(connection: Connection, model: type[Any]) -> bool:
    """Return whether a model's table has no row."""
    return connection.execute(select(literal(1)).select_from(model.__table__).limit(1)).first() is None


def _absent(connection: Connection, model: type[Any]) -> list[Index]:
    """Return what is not there and valid; what was dropped for another one is no more wanted."""
    schema = connection.schema_for_object(model.__table__)
    comments = connection.scalars(_COMMENTS, {"name": table_name(connection, model.__table__)})
    dropped = frozenset().union(*map(built_instead_of, comments))
    wanted = [index for index in vector_indexes(model) if index.name not in dropped]
    names = {index: regclass_name(schema, index.name) for index in wanted}
    return [index for index, name in names.items() if not connection.scalar(_VALID, {"name": name})]


def _concurrent(index: Index) -> Index:
    """Return a copy to be built CONCURRENTLY: the model's own index is shared by the whole process."""
    assert index.table is not None  # noqa: S101 -- taken from a table
    table = index.table.to_metadata(MetaData())
    copy = next(each for each in table.indexes if each.name == index.name)
    copy.dialect_options["postgresql"]["concurrently"] = True
    return copy
