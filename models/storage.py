"""Where PostgreSQL keeps a vector: in the table's row, or out of line in its TOAST table.

Out of line, PostgreSQL's default for a vector, a table looks tiny to the planner, which then scans all of it rather
than use an index. What a model asks for is kept in its column's ``info``, and done where its table is created.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Table, event
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler

from pgcorpus.errors import DefinitionError

# The key in a column's info: unlike an event on the column, it survives mixins, copies and Annotated types.
STORAGE = "pgcorpus_storage"

# PostgreSQL documentation, "ALTER TABLE": SET STORAGE, and the storage parameter toast_tuple_target.
MODES = ("plain", "external", "extended", "main")
TOAST_TUPLE_TARGETS = range(128, 8_161)


@dataclass(frozen=True, slots=True)
class VectorStorage:
    """How a vector column is stored.

    Attributes:
        mode: The column's storage: plain, external, extended or main.
        toast_tuple_target: Bytes that a row may have before values are moved out of it, 128 to 8,160; None leaves
            the table's as it is.

    Raises:
        DefinitionError: The mode is unknown, or the target out of range.
    """

    mode: str
    toast_tuple_target: int | None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise DefinitionError(f"unknown storage {self.mode!r}: choose one of {', '.join(MODES)}")
        if self.toast_tuple_target is not None and self.toast_tuple_target not in TOAST_TUPLE_TARGETS:
            raise DefinitionError(f"toast_tuple_target must be 128 to 8,160, not {self.toast_tuple_target:,}")


# A vector stays in the row as long as the row fits into a page of 8 KB. MAIN without the target is worse than nothing.
STORAGE_IN_ROW = VectorStorage("main", 8160)

# 4 bytes a dimension; a document whose text is out of line leaves room for 1,980 (measured), a host's has more columns.
IN_ROW_DIMENSIONS = 1_950


def storage_of(column: Column[Any]) -> VectorStorage | None:
    """Return the storage that a model asks for, or None where it leaves the choice to PostgreSQL."""
    storage: VectorStorage | None = column.info.get(STORAGE)
    return storage


class SetStorage(ExecutableDDLElement):
    """``ALTER TABLE ... ALTER COLUMN ... SET STORAGE ...``; it rewrites nothing, and holds for rows to come."""

    def __init__(self, column: Column[Any], mode: str) -> None:
        self.column = column
        self.mode = mode


class SetToastTupleTarget(ExecutableDDLElement):
    """``ALTER TABLE ... SET (toast_tuple_target = ...)``; it rewrites nothing, and holds for rows to come."""

    def __init__(self, table: Table, size: int) -> None:
        self.table = table
        self.size = size


@compiles(SetStorage, "postgresql")
def _compile_storage(ddl: SetStorage, compiler: DDLCompiler, **_: Any) -> str:
    table = compiler.preparer.format_table(ddl.column.table)
    column = compiler.preparer.format_column(ddl.column)
    return f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE {ddl.mode.upper()}"


@compiles(SetToastTupleTarget, "postgresql")
def _compile_toast_tuple_target(ddl: SetToastTupleTarget, compiler: DDLCompiler, **_: Any) -> str:
    return f"ALTER TABLE {compiler.preparer.format_table(ddl.table)} SET (toast_tuple_target = {ddl.size})"


# On every table, as GeoAlchemy2 does: a listener on a column is lost where an Annotated type is merged into another.
@event.listens_for(Table, "after_create")
def _store_vectors(table: Table, connection: Connection, **_: Any) -> None:
    if connection.dialect.name == PGDialect.name:
        for ddl in storage_ddl(table):
            connection.execute(ddl)


def storage_ddl(table: Table) -> Iterator[SetStorage | SetToastTupleTarget]:
    """Yield the statements that give a table the storage its columns ask for, one sub-command each."""
    wanted = [(column, storage) for column in table.columns if (storage := storage_of(column))]
    for column, storage in wanted:
        yield SetStorage(column, storage.mode)
    targets = [storage.toast_tuple_target for _, storage in wanted if storage.toast_tuple_target]
    # A partitioned table has no rows of its own, and refuses the parameter; its partitions take over the mode alone.
    if targets and not table.dialect_options[PGDialect.name]["partition_by"]:
        yield SetToastTupleTarget(table, max(targets))
