"""What the server's catalogue says of vector indexes, and what it would say of an index that is not there yet."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.errors import DatabaseError
from pgcorpus.indexing import with_defaults
from pgcorpus.marking import before_tuning
from pgcorpus.names import qualified, quote, regclass_name

_INDEXES = """
    SELECT i.relname AS name, n.nspname AS schema, t.relname AS table, a.amname AS method,
           pg_get_indexdef(i.oid, 1, false) AS key, x.indkey[0] = 0 AS is_expression,
           o.opcname AS opclass, i.reloptions AS options,
           pg_get_expr(x.indpred, x.indrelid) AS "where", x.indisvalid AS valid,
           obj_description(i.oid, 'pg_class') AS comment,
           ARRAY(
               SELECT attname FROM pg_depend d
               JOIN pg_attribute ON attrelid = d.refobjid AND attnum = d.refobjsubid
               WHERE d.classid = 'pg_class'::regclass AND d.objid = i.oid AND d.refobjid = x.indrelid
           ) AS columns
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace
    JOIN pg_am a ON a.oid = i.relam
    JOIN pg_opclass o ON o.oid = x.indclass[0]
    WHERE a.amname IN ('hnsw', 'ivfflat') AND
"""
_OF_TABLE = text(_INDEXES + "x.indrelid = to_regclass(:name)")
_BY_NAME = text(_INDEXES + "x.indexrelid = to_regclass(:name)")

_TEMPORARY = "pg_temp"

_log = logging.getLogger("alembic.pgcorpus")


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """An index as PostgreSQL prints it: two of them are equal if their printed parts are.

    Attributes:
        key: A quoted column, or an expression in parentheses.
        opclass: Name of the operator class, without a schema.
        options: All of the method's parameters, its defaults included.
        where: The predicate of a partial index.
        valid: Whether queries may use it; a build that failed leaves one that they may not.
        columns: The columns of the table that its key and its predicate use.
        comment: What ``COMMENT ON INDEX`` said of it.
    """

    name: str
    schema: str
    table: str
    method: str
    key: str
    opclass: str
    options: Mapping[str, int]
    where: str | None
    valid: bool
    columns: frozenset[str]
    comment: str | None = None

    def index(self, schema: str | None) -> VectorIndex:
        """Return what an operation takes to build it again."""
        return VectorIndex(
            self.name, self.table, self.key, self.opclass, self.method, dict(self.options), self.where, schema
        )


def read_index(connection: Connection, name: str, schema: str | None) -> IndexFacts | None:
    """Return a vector index by its name, or None if there is none.

    Args:
        schema: Its schema; None for the search_path's.
    """
    row = connection.execute(_BY_NAME, {"name": regclass_name(schema, name)}).one_or_none()
    return None if row is None else _facts(row)


def read_indexes(connection: Connection, table: str, schema: str | None) -> dict[str, IndexFacts]:
    """Return the vector indexes of a table by name."""
    rows = connection.execute(_OF_TABLE, {"name": regclass_name(schema, table)})
    return {row.name: _facts(row) for row in rows}


def canonical(connection: Connection, index: VectorIndex) -> IndexFacts | None:
    """Return what PostgreSQL makes of an index, by building it on an empty temporary copy of its table.

    Only the server knows that ``embedding::halfvec(3)`` and ``CAST(embedding AS halfvec(3))`` are the same. The copy
    has the table's name, which the index may use; nothing of it is left, in a transaction or outside one.

    Returns:
        None where it cannot be built on the table as it is now; the log has the server's reason.

    Raises:
        DatabaseError: There may be no temporary table.
    """
    copy = replace(index, schema=_TEMPORARY, tablespace=None)
    with _undone(connection, copy):
        _make_copy(connection, index)
        try:
            run(connection, copy.create_sql(concurrently=False))
        except DBAPIError as exc:
            if exc.connection_invalidated:
                raise
            _log.info("index %s on %s cannot be built on the table as it is: %s", index.name, index.table, exc.orig)
            return None
        return read_index(connection, index.name, _TEMPORARY)


def _make_copy(connection: Connection, index: VectorIndex) -> None:
    like = qualified(index.schema, index.table)
    try:
        run(connection, f"CREATE TEMPORARY TABLE {quote(index.table)} (LIKE {like})")
    except DBAPIError as exc:
        raise DatabaseError(
            f"the indexes of {index.table} cannot be compared without an empty temporary copy of it: {exc.orig}. "
            "That takes TEMPORARY on the database, SELECT on the table, and a server that takes writes"
        ) from exc


def is_as_written(found: IndexFacts, wanted: VectorIndex) -> bool:
    """Say whether an index is as the model writes it, to the letter; if not, the server has to say what it means."""
    return (found.method, found.key, found.opclass, found.options, found.where) == (
        wanted.method,
        wanted.key,
        wanted.opclass,
        with_defaults(wanted.method, wanted.options),
        wanted.where,
    )


def as_declared(found: IndexFacts, wanted: VectorIndex) -> IndexFacts:
    """Return an index that was tuned by hand as it was before, where its model still says so."""
    before = before_tuning(found.comment, found.options)
    return replace(found, options=before) if before == with_defaults(wanted.method, wanted.options) else found


def differences(found: IndexFacts, wanted: IndexFacts) -> list[str]:
    """Return in words how an index differs from the wanted one; nothing where queries see no difference."""
    parts = [
        f"{name} {getattr(found, name)!r} to {getattr(wanted, name)!r}"
        for name in ("method", "key", "opclass", "where")
        if getattr(found, name) != getattr(wanted, name)
    ]
    if found.method == wanted.method:
        parts += [
            f"{name} {found.options[name]} to {value}"
            for name, value in wanted.options.items()
            if found.options[name] != value
        ]
    return parts if found.valid else ["invalid, left by a build that failed", *parts]


def run(connection: Connection, sql: str) -> None:
    """Run DDL; a name may hold a percent sign, which no driver is to take for a parameter."""
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def is_autocommit(connection: Connection) -> bool:
    """Say whether every statement is a transaction of its own; the isolation level does not say."""
    driver: Any = connection.connection.dbapi_connection  # SQLAlchemy's adapter, where the driver is async
    return bool(driver.autocommit)


@contextmanager
def _undone(connection: Connection, copy: VectorIndex) -> Iterator[None]:
    """Take back what is done inside: by a savepoint, or outside a transaction by hand."""
    if not is_autocommit(connection):
        savepoint = connection.begin_nested()
        try:
            yield
        finally:
            savepoint.rollback()
        return
    try:
        yield
    finally:
        run(connection, f"DROP TABLE IF EXISTS {qualified(copy.schema, copy.table)}")


def _facts(row: Row[tuple[object, ...]]) -> IndexFacts:
    options = dict(option.split("=") for option in row.options or ())
    return IndexFacts(
        name=row.name,
        schema=row.schema,
        table=row.table,
        method=row.method,
        key=f"({row.key})" if row.is_expression else row.key,
        opclass=row.opclass,
        options=with_defaults(row.method, {name: int(value) for name, value in options.items()}),
        where=row.where,
        valid=row.valid,
        columns=frozenset(row.columns),
        comment=row.comment,
    )
