"""Where vectors are stored: what a model asks for, and a hint where it asks for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.operations.ops import MigrateOperation
from sqlalchemy import Column, Row, text

from pgcorpus.autogenerate.arranging import Note, OneWay
from pgcorpus.autogenerate.operations import DEFAULT, SetVectorStorageOp
from pgcorpus.autogenerate.tables import TableComparison
from pgcorpus.autogenerate.wanted import vector_type
from pgcorpus.models.storage import storage_of
from pgcorpus.names import regclass_name

_STORAGE = text("""
    SELECT attname AS "column",
           CASE attstorage WHEN 'm' THEN 'main' WHEN 'e' THEN 'external' WHEN 'x' THEN 'extended' ELSE 'plain'
           END AS mode,
           (SELECT option_value::int FROM pg_options_to_table(reloptions)
            WHERE option_name = 'toast_tuple_target') AS target,
           relkind = 'p' AS partitioned
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped
""")

# PostgreSQL documentation, "TOAST": a row of more than about 2 KB has values moved out of it.
_TOAST_THRESHOLD = 2_000
_BYTES = {"vector": 4, "halfvec": 2}
# pgvector's SQL scripts: CREATE TYPE vector (..., STORAGE = external).
_EXTERNAL = "external"


def compare(table: TableComparison) -> list[MigrateOperation]:
    """Return what is to be done about the storage of a table's vectors, and hints if anything else is done."""
    if table.model is None:
        return []
    stored = {} if table.found is None else _stored(table)
    columns = [column for column in table.model.columns if vector_type(column.type) is not None]
    operations = [op for column in columns for op in _wished(table, column, stored)]
    busy = operations or table.modify.ops or table.found is None
    return [*operations, *(_hints(table, columns, stored) if busy else ())]


def _stored(table: TableComparison) -> dict[str, Row[Any]]:
    rows = table.connection.execute(_STORAGE, {"name": regclass_name(table.schema, table.name)})
    return {row.column: row for row in rows}


def _wished(table: TableComparison, column: Column[Any], stored: dict[str, Row[Any]]) -> Iterator[MigrateOperation]:
    wish = storage_of(column)
    if wish is None:
        return
    row = stored.get(column.name)
    of_table = next(iter(stored.values()), None)
    mode, target = _EXTERNAL if row is None else row.mode, None if of_table is None else of_table.target
    wanted = None if _is_partitioned(table, of_table) or wish.toast_tuple_target == target else wish.toast_tuple_target
    if mode == wish.mode and wanted is None:
        return
    operation = SetVectorStorageOp(
        table.name,
        column.name,
        storage=wish.mode,
        toast_tuple_target=wanted,
        existing_storage=mode,
        existing_toast_tuple_target=None if wanted is None else target or DEFAULT,
        schema=table.schema,
    )
    # What goes with a new table needs no way back.
    yield OneWay([operation]) if table.found is None else operation


def _is_partitioned(table: TableComparison, row: Row[Any] | None) -> bool:
    """A partitioned table has no rows of its own, and refuses toast_tuple_target."""
    if row is not None:
        return bool(row.partitioned)
    return table.model is not None and bool(table.model.dialect_options["postgresql"]["partition_by"])


def _hints(table: TableComparison, columns: list[Column[Any]], stored: dict[str, Row[Any]]) -> Iterator[Note]:
    for column in columns:
        row = stored.get(column.name)
        if storage_of(column) is None and _is_large(column) and (row is None or row.mode in ("external", "extended")):
            yield Note(
                f"{table.name}.{column.name} is stored out of line (TOAST): the table looks small to the planner,",
                "which may scan all of it rather than use an index. To store it in the row:",
                f"op.set_vector_storage({table.name!r}, {column.name!r})",
            )


def _is_large(column: Column[Any]) -> bool:
    name, dimensions = vector_type(column.type) or ("", None)
    return _BYTES.get(name, 0) * (dimensions or 0) > _TOAST_THRESHOLD
