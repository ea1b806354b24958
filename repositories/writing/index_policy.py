"""The vector indexes during a load: dropped and rebuilt in the caller's own transaction, or left alone.

A row costs 30 times as much with an HNSW index as without. All that is done here is undone by a rollback, and by
whatever kills the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, func, select, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.errors import DatabaseError, DefinitionError
from pgcorpus.faults import sqlstate
from pgcorpus.repositories.writing.indexes import is_empty, table_name, vector_indexes

# COPY with an index 286 rows a second, without 8,000, and a build of 1,300 (1,536 dimensions): dropping pays
# where more than about a quarter of what is there is added.
_WORTH_A_REBUILD = 4

_WAIT = "1s"
# Somebody uses the table; this very session has a cursor open on it.
_IN_USE = frozenset({"55P03", "40P01", "55006"})

_TABLE = text("""
    SELECT relkind = 'r' AND pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE')
           -- A cursor of this session's would be in the way of the rebuilding.
           AND NOT EXISTS (SELECT FROM pg_cursors WHERE pg_cursors.name <> '') AS ours,
           reltuples
    FROM pg_class WHERE oid = to_regclass(:name)
""")
# As the database has them: a host may have made other indexes than the model says, or under other names.
_INDEXES = text("""
    SELECT c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted, pg_get_indexdef(c.oid) AS definition,
           coalesce(t.spcname, '') AS tablespace,
           format('COMMENT ON INDEX %I.%I IS %L', n.nspname, c.relname, obj_description(c.oid, 'pg_class')) AS comment
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_am m ON m.oid = c.relam
    LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace
    WHERE i.indrelid = to_regclass(:name) AND m.amname IN ('hnsw', 'ivfflat')
          AND (t.oid IS NULL OR has_tablespace_privilege(t.oid, 'CREATE'))
    ORDER BY c.relname
""")


class IndexPolicy(StrEnum):
    """What a load does with the vector indexes."""

    AUTO = "auto"
    KEEP = "keep"
    DEFER = "defer"


def parse_policy(policy: IndexPolicy | str) -> IndexPolicy:
    """Return the policy of that name.

    Raises:
        DefinitionError: There is none.
    """
    try:
        return IndexPolicy(policy)
    except ValueError:
        raise DefinitionError(f"index is one of {', '.join(IndexPolicy)}, not {policy!r}") from None


@contextmanager
def indexes_aside(
    connection: Connection, model: type[Any], policy: IndexPolicy, expected: int | None
) -> Iterator[None]:
    """Have the vector indexes out of the way of what is loaded inside, where that pays and harms nobody.

    Args:
        connection: In a savepoint that the caller rolls back after a failure.
        model: The mapped class.
        policy: ``auto`` drops and rebuilds, ``defer`` drops the model's own, ``keep`` leaves them.
        expected: Rows to come, if known; else only an empty table counts as worth it.
    """
    dropped: Sequence[Row[Any]] = []
    if policy is not IndexPolicy.KEEP:
        dropped = _drop(connection, model, policy, expected)
    yield
    if policy is IndexPolicy.AUTO:
        for index in dropped:
            _rebuild(connection, index)


@contextmanager
def setting(connection: Connection, name: str, value: str) -> Iterator[None]:
    """Change a setting of the transaction and put it back; after a failure the caller's savepoint does."""
    before = connection.scalar(select(func.current_setting(name)))
    connection.execute(select(func.set_config(name, value, True)))
    yield
    connection.execute(select(func.set_config(name, before, True)))


def _drop(connection: Connection, model: type[Any], policy: IndexPolicy, expected: int | None) -> Sequence[Row[Any]]:
    """Drop the indexes and return them; none where the policy does not pay, or somebody uses the table."""
    name = table_name(connection, model.__table__)
    found = connection.execute(_TABLE, {"name": name}).one_or_none()
    if found is None or not found.ours:
        return []
    if policy is IndexPolicy.AUTO and not _pays(connection, model, found.reltuples, expected):
        return []
    indexes = connection.execute(_INDEXES, {"name": name}).all()
    if policy is IndexPolicy.DEFER:
        own = {index.name for index in vector_indexes(model)}  # what nobody could build again stays
        indexes = [index for index in indexes if index.name in own]
    return indexes if _dropped(connection, indexes) else []


def _pays(connection: Connection, model: type[Any], estimate: float, expected: int | None) -> bool:
    if is_empty(connection, model):
        return True
    if expected is None:
        return False
    return expected * _WORTH_A_REBUILD > (estimate if estimate >= 0 else _count(connection, model, expected))


def _count(connection: Connection, model: type[Any], expected: int) -> int:
    """Count a table that was never analysed, no further than it matters."""
    some = select(model.__table__.c[0]).limit(expected * _WORTH_A_REBUILD).subquery()
    return connection.scalar(select(func.count()).select_from(some)) or 0


def _dropped(connection: Connection, indexes: Sequence[Row[Any]]) -> bool:
    try:
        with connection.begin_nested(), setting(connection, "lock_timeout", _WAIT):
            for index in indexes:
                _run(connection, f"DROP INDEX {index.quoted}")
    except DBAPIError as exc:
        if sqlstate(exc) not in _IN_USE:
            raise
        return False
    return True


def _rebuild(connection: Connection, index: Row[Any]) -> None:
    try:
        with setting(connection, "default_tablespace", index.tablespace):  # the definition does not tell it
            _run(connection, index.definition)
        _run(connection, index.comment)
    except DBAPIError as exc:
        if sqlstate(exc) not in _IN_USE:
            raise
        # A deferred constraint of the host's has rows to check, say.
        raise DatabaseError(f"{index.quoted} cannot be rebuilt in this transaction: load with index='keep'") from exc


def _run(connection: Connection, ddl: str) -> None:
    """A name may hold a percent sign, which no driver is to take for a parameter."""
    connection.exec_driver_sql(ddl, execution_options={"no_parameters": True})
