"""Vector indexes built, changed and dropped on a running server: no writer waits, and no half-built index stays.

Whatever ends a run, the next one with the same arguments finishes the job from what it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection, Row, text

from pgcorpus.autogenerate.blocks import do_block
from pgcorpus.autogenerate.extension import see_sql
from pgcorpus.autogenerate.resources import CHOSEN, BuildSettings, provided
from pgcorpus.autogenerate.session import log, turn, undisturbed, using
from pgcorpus.autogenerate.site import RELATION, Found, Site, aside
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.errors import DatabaseError
from pgcorpus.indexing import METHODS
from pgcorpus.names import literal, qualified, quote, regclass_name

__all__ = [
    "BuildSettings",
    "create_index",
    "drop_index",
    "new_name",
    "offline_create",
    "offline_drop",
    "offline_replace",
    "old_name",
    "refuse_other",
    "replace_index",
    "with_build_settings",
]

_TABLE = """
    SELECT t.oid::bigint AS oid, t.relname AS table, n.nspname AS schema, t.relkind = 'p' AS partitioned
    FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
"""
_HAS_COLUMN = text("""
    SELECT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = :table AND attname = :column AND attnum > 0 AND NOT attisdropped
    )
""")
_TABLE_BY_NAME = text(_TABLE + "WHERE t.oid = to_regclass(:name)")
_TABLE_OF_INDEX = text(_TABLE + "JOIN pg_index x ON x.indrelid = t.oid WHERE x.indexrelid = to_regclass(:name)")


def create_index(connection: Connection, index: VectorIndex, settings: BuildSettings) -> None:
    """Build an index without keeping writers out; an invalid one of its name is replaced.

    Args:
        connection: In autocommit; its settings are put back.
        index: The index.
        settings: Memory and workers.

    Raises:
        DatabaseError: There is no such table, or the name is taken by something else.
        DBAPIError: It cannot be built.
    """
    with _site(connection, index, settings) as (site, placed):
        site.ensure(placed)


def replace_index(connection: Connection, index: VectorIndex, settings: BuildSettings, *, anew: bool = False) -> None:
    """Change an index while it serves: build the new one beside it, swap the names, drop the old one.

    The names that it takes meanwhile, :func:`new_name` and :func:`old_name`, are its own: indexes of the table that
    are called so are dropped in the end. The comment and the tablespace are kept.

    Args:
        connection: In autocommit; its settings are put back.
        index: The index as it is to be; it is created where there is none.
        settings: Memory and workers.
        anew: Whether to build also one that is as it is to be; what an earlier call left is finished instead.

    Raises:
        DatabaseError: There is no such table, or a name is taken by something else.
        DBAPIError: It cannot be built, or the names not be swapped for a lock that others hold.
    """
    with _site(connection, index, settings) as (site, placed):
        old, new = old_name(index.name), new_name(index.name)
        aside = [name for name in (old, new) if site.relation(name) is not None]
        found = site.look(placed)
        serves = found is not None and found.valid
        if not serves and new not in aside:
            site.ensure(placed, stale=True)
        elif found is None or not serves or found.changes or (anew and old not in aside):
            _exchange(site, placed, found)
        for name in (old, new):
            if site.relation(name) is not None:
                site.drop(name)


def _exchange(site: Site, index: VectorIndex, found: Found | None) -> None:
    old, new = old_name(index.name), new_name(index.name)
    if found is not None and found.valid and site.relation(old) is not None:
        site.drop(old)
    # One that the caller names comes before this.
    place = {} if found is None or found.tablespace is None else {"default_tablespace": found.tablespace}
    with using(site.connection, place):
        site.ensure(index.named(new), stale=True)
    log.info("putting the new %s in the place of the old one", index.name)
    site.swap(index.name, old, new)


def drop_index(connection: Connection, name: str, schema: str | None) -> None:
    """Drop an index if it is there, without keeping anybody out; of a partitioned table, with a short lock.

    Args:
        connection: In autocommit; its settings are put back.
        name: The index.
        schema: Its schema; None for the first on the search_path that has it.

    Raises:
        DatabaseError: The name is something else's.
    """
    row = connection.execute(_TABLE_OF_INDEX, {"name": regclass_name(schema, name)}).one_or_none()
    if row is None:
        return _refuse_other(connection, name, schema)
    site = Site(connection, row.oid, row.table, row.schema, row.partitioned, name)
    with undisturbed(connection), turn(connection, site.oid, site.table):
        return site.drop(name)


def _refuse_other(connection: Connection, name: str, schema: str | None) -> None:
    other = connection.execute(RELATION, {"name": regclass_name(schema, name), "table": 0}).first()
    if other is not None:
        raise DatabaseError(f"{name} is no index to drop: it is {other.description}")
    log.info("there is no index %s to drop", name)


@contextmanager
def with_build_settings(connection: Connection, index: VectorIndex, settings: BuildSettings) -> Iterator[None]:
    """Have memory and time for a build in the caller's transaction, and its settings as they were after.

    Args:
        connection: In a transaction.
        index: What is built inside.
        settings: Memory and workers.

    Raises:
        DatabaseError: There is no such table.
    """
    with undisturbed(connection), provided(connection, _placed(connection, index)[1], settings):
        yield


@contextmanager
def _site(connection: Connection, index: VectorIndex, settings: BuildSettings) -> Iterator[tuple[Site, VectorIndex]]:
    row, placed = _placed(connection, index)
    site = Site(connection, row.oid, row.table, row.schema, row.partitioned, index.name, settings)
    with undisturbed(connection), turn(connection, site.oid, site.table):
        yield site, placed


def _placed(connection: Connection, index: VectorIndex) -> tuple[Row[tuple[int, str, str, bool]], VectorIndex]:
    """Return the table and the index with its schema: the path to look it up on is the host's, not ours."""
    name = regclass_name(index.schema, index.table)
    row = connection.execute(_TABLE_BY_NAME, {"name": name}).one_or_none()
    if row is None:
        raise DatabaseError(f"there is no table {name} to build {index.name} on")
    column = index.column
    if column is not None and not connection.scalar(_HAS_COLUMN, {"table": row.oid, "column": column}):
        raise DatabaseError(f"the table {name} has no column {column} to build {index.name} on")
    return row, replace(index, schema=row.schema)


# Names


def new_name(name: str) -> str:
    """Return what a new index is called until it takes the place of the old one."""
    return aside(name, "__new")


def old_name(name: str) -> str:
    """Return what an old index is called from the swap until it is dropped."""
    return aside(name, "__old")


# Offline: what psql can run. Every name is looked up when the statement runs, nothing is known of the server here.


_TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
_KEPT = (*_TIMEOUTS, "search_path", "maintenance_work_mem", "max_parallel_maintenance_workers")

_DROP_INVALID = """
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({name}) AND NOT indisvalid) THEN
        DROP INDEX {index};
    END IF;
END
"""

# SQLSTATE PGC02 marks an index that is not ours to drop.
_REFUSE_OTHER = """
DECLARE
    other text := (
        SELECT CASE WHEN x.indexrelid IS NULL THEN pg_describe_object('pg_class'::regclass, c.oid, 0)
                    ELSE concat_ws(' ', a.amname, 'index of', x.indrelid::regclass) END
        FROM pg_class c LEFT JOIN pg_index x ON x.indexrelid = c.oid LEFT JOIN pg_am a ON a.oid = c.relam
        WHERE c.oid = to_regclass({name})
          AND (x.indrelid IS DISTINCT FROM to_regclass({table}) OR {other_method})
    );
BEGIN
    IF other IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PGC02', MESSAGE = {message} || other;
    END IF;
END
"""


def refuse_other(name: str, table: str, schema: str | None, *, vectors: bool = False) -> str:
    """Return the statement that fails where a name is that of something else than an index of a table.

    Args:
        name: The name, which may be nobody's.
        table: The table whose index it should be.
        schema: The schema of both.
        vectors: Whether it has to be a vector index.
    """
    methods = ", ".join(literal(method) for method in METHODS)
    kind = "vector index" if vectors else "index"
    return do_block(
        _REFUSE_OTHER.format(
            name=literal(regclass_name(schema, name)),
            table=literal(regclass_name(schema, table)),
            other_method=f"a.amname NOT IN ({methods})" if vectors else "false",
            message=literal(f"{name} is no {kind} of {table} to drop: it is "),
        )
    )


def offline_create(index: VectorIndex, settings: BuildSettings = CHOSEN) -> list[str]:
    """Return the statements that do what :func:`create_index` does, for a table that is not partitioned.

    A script cannot tell whether a valid index of that name is the wanted one: it fails on it, and so does the same
    script when it is run again after it was done.

    Args:
        index: The index.
        settings: Memory and workers; what is not given stays the server's.
    """
    name = literal(regclass_name(index.schema, index.name))
    drop_invalid = do_block(_DROP_INVALID.format(name=name, index=qualified(index.schema, index.name)))
    return [*_begin(settings), drop_invalid, index.create_sql(concurrently=True), *_end()]


def offline_replace(index: VectorIndex, settings: BuildSettings = CHOSEN) -> list[str]:
    """Return the statements that do what :func:`replace_index` does; run again after a failure, they begin anew.

    What an earlier run has left under :func:`new_name` may be of another definition, and is built again.

    Args:
        index: The index as it is to be.
        settings: Memory and workers; what is not given stays the server's.
    """
    old, new = old_name(index.name), new_name(index.name)
    names = {name: qualified(index.schema, name) for name in (index.name, old, new)}
    drop = {name: f"DROP INDEX CONCURRENTLY IF EXISTS {names[name]}" for name in (old, new)}
    return [
        *_begin(settings),
        *(refuse_other(name, index.table, index.schema) for name in names),
        *drop.values(),
        index.named(new).create_sql(concurrently=True),
        "BEGIN",
        f"ALTER INDEX IF EXISTS {names[index.name]} RENAME TO {quote(old)}",
        f"ALTER INDEX {names[new]} RENAME TO {quote(index.name)}",
        "COMMIT",
        drop[old],
        *_end(),
    ]


def offline_drop(name: str, schema: str | None) -> list[str]:
    """Return the statements that do what :func:`drop_index` does."""
    return [*_begin(CHOSEN), f"DROP INDEX CONCURRENTLY IF EXISTS {qualified(schema, name)}", *_end()]


def _begin(settings: BuildSettings) -> list[str]:
    given = _given(settings)
    return [
        _set(_KEPT, "'pgcorpus.' || name", "current_setting(name)"),
        _set(_TIMEOUTS, "name", "'0'"),
        *(_set([name], "name", literal(value)) for name, value in given.items()),
        see_sql("vector", local=False),
    ]


def _end() -> list[str]:
    return [_set(_KEPT, "name", "current_setting('pgcorpus.' || name)")]


def _set(names: Iterable[str], setting: str, value: str) -> str:
    """Return one statement for those of the settings that the server knows."""
    known = ", ".join(literal(name) for name in names)
    return f"SELECT set_config({setting}, {value}, false) FROM pg_settings WHERE name IN ({known})"  # noqa: S608


def _given(settings: BuildSettings) -> dict[str, str]:
    workers = None if settings.parallel_workers is None else str(settings.parallel_workers)
    given = {"maintenance_work_mem": settings.maintenance_work_mem, "max_parallel_maintenance_workers": workers}
    return {name: value for name, value in given.items() if value is not None}
