"""What autogenerate finds: vector indexes, dimensions, storage and the extension, model against database."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from alembic.operations.ops import AlterColumnOp, CreateIndexOp, DropIndexOp, MigrateOperation, ModifyTableOps
from sqlalchemy import Index
from sqlalchemy.dialects import postgresql

from pgcorpus.autogenerate import storing
from pgcorpus.autogenerate.catalog import (
    IndexFacts,
    as_declared,
    canonical,
    differences,
    is_as_written,
    read_indexes,
)
from pgcorpus.autogenerate.extension import extension_in_sight
from pgcorpus.autogenerate.operations import AlterVectorDimensionsOp, CreateVectorIndexOp, DropVectorIndexOp
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.autogenerate.tables import TableComparison
from pgcorpus.autogenerate.wanted import final_name, method_of, vector_indexes, vector_type
from pgcorpus.indexing import METHODS
from pgcorpus.marking import built_instead_of, is_built

_log = logging.getLogger("alembic.pgcorpus")


def compare_table(table: TableComparison) -> None:
    """Compare one table, after Alembic has: its findings on vector indexes and dimensions give way to ours."""
    if not _has_vectors(table):
        return
    with extension_in_sight(table.connection):
        _take_over_types(table.modify)
        _Indexes(table).compare()
        table.modify.ops += storing.compare(table)


def _has_vectors(table: TableComparison) -> bool:
    sides = [side for side in (table.found, table.model) if side is not None]
    return any(
        any(vector_type(column.type) is not None for column in side.columns)
        or any(method_of(index) in METHODS for index in side.indexes)
        for side in sides
    )


class _Indexes:
    """The vector indexes of one table, in the model and in the database."""

    def __init__(self, table: TableComparison) -> None:
        self.table = table
        self.modify = table.modify
        self.wanted = {} if table.model is None else vector_indexes(table.model, table.dialect)
        self.found = {} if table.found is None else self._read()
        # Of an index on one of these, the order of the operations matters: it stays in the transaction.
        self.moving = _moving_columns(table)

    def compare(self) -> None:
        """Replace what Alembic says of these indexes; a new one comes before an old one goes."""
        names = {*self.wanted, *self.found, *(index.name for index, _ in self.wanted.values())}
        self.modify.ops[:] = [op for op in self.modify.ops if not _is_about(op, names)]
        for name in sorted(self.wanted.keys() - self.found.keys()):
            self._added(*self.wanted[name])
        for name in sorted(self.wanted.keys() & self.found.keys()):
            self._compared(self.found[name], *self.wanted[name])
        for name in sorted(self.found.keys() - self.wanted.keys()):
            self._removed(self.found[name])

    def _read(self) -> dict[str, IndexFacts]:
        """Return what is in the database, but for what the host's ``include_name`` leaves out."""
        found = read_indexes(self.table.connection, self.table.name, self.table.schema)
        where: Any = {"table_name": self.table.name, "schema_name": self.table.schema}
        keep = self.table.context.run_name_filters
        return {name: facts for name, facts in found.items() if keep(name, "index", where)}

    def _stands_still(self, *facts: IndexFacts | None) -> bool:
        """Say whether indexes can be built and dropped apart from what else this revision does to the table."""
        if self.table.found is None or self.table.model is None:
            return False
        return all(each is not None and not each.columns & self.moving for each in facts)

    def _removed(self, facts: IndexFacts) -> None:
        if not self.table.context.run_object_filters(self._reflected(facts.name), facts.name, "index", True, None):
            return
        successor = self._ordinary(facts.name)
        if is_built(facts.comment) and not successor and self._stands_still(facts):
            _log.info("Leaving vector index %r alone, which `pgcorpus index` built", facts.name)
            return
        _log.info("Detected removed vector index %r", facts.name)
        if successor or not self._stands_still(facts):
            self._drop_first(facts)
        else:
            self.modify.ops.append(self._drop(facts, concurrently=True))
        self.modify.ops += successor

    def _ordinary(self, name: str) -> list[MigrateOperation]:
        """Return what makes the model's index of that name, if it has one that is no vector index: a btree, say."""
        indexes = () if self.table.model is None else self.table.model.indexes
        return [CreateIndexOp.from_index(each) for each in indexes if final_name(each, self.table.dialect) == name]

    def _added(self, index: Index, wanted: VectorIndex) -> None:
        if not self.table.context.run_object_filters(index, wanted.name, "index", False, None):
            return
        if self._is_replaced(wanted.name):
            _log.info("Leaving vector index %r out, which `pgcorpus index` dropped for another one", wanted.name)
            return
        _log.info("Detected added vector index %r", wanted.name)
        apart = not self._was_ordinary(wanted.name) and self._is_buildable(wanted)
        self.modify.ops.append(CreateVectorIndexOp(wanted, concurrently=apart))

    def _is_replaced(self, name: str) -> bool:
        standing = (each for each in self.found.values() if each.valid and self._stands_still(each))
        return any(name in built_instead_of(each.comment) for each in standing)

    def _is_buildable(self, wanted: VectorIndex) -> bool:
        """Say whether an index can be built now: it may need something else of this revision first."""
        if self.table.found is None or self.table.model is None:
            return False
        return self._stands_still(canonical(self.table.connection, wanted))

    def _was_ordinary(self, name: str) -> bool:
        """Drop what has the name in the database and is no vector index."""
        indexes = () if self.table.found is None else self.table.found.indexes
        old = next((each for each in indexes if each.name == name), None)
        if old is not None:
            self.modify.ops.append(DropIndexOp.from_index(old))
        return old is not None

    def _compared(self, facts: IndexFacts, index: Index, wanted: VectorIndex) -> None:
        facts = as_declared(facts, wanted)
        if facts.valid and is_as_written(facts, wanted):
            return
        made = canonical(self.table.connection, wanted)
        if made is None and not self._needs_more():
            _log.warning("%s on %s cannot be built, nor compared: see the log for why", wanted.name, wanted.table)
            return
        changes = ["what it is built on"] if made is None else differences(facts, made)
        old = self._reflected(facts.name)
        if changes and self.table.context.run_object_filters(index, facts.name, "index", False, old):
            _log.info("Detected changed vector index %r: %s", facts.name, ", ".join(changes))
            self._changed(facts, wanted, made)

    def _needs_more(self) -> bool:
        """Say whether the table changes in this revision in a way that its indexes may need."""
        found, model = self.table.found, self.table.model
        assert found is not None  # noqa: S101 -- an index was found
        assert model is not None  # noqa: S101
        return bool(self.moving) or bool({column.name for column in model.c} - {column.name for column in found.c})

    def _changed(self, facts: IndexFacts, wanted: VectorIndex, made: IndexFacts | None) -> None:
        if self._stands_still(facts, made):
            old = facts.index(self.table.schema)
            self.modify.ops.append(CreateVectorIndexOp(wanted, replace=True, existing=old))
        else:
            self._drop_first(facts)
            self.modify.ops.append(CreateVectorIndexOp(wanted, concurrently=False))

    def _drop_first(self, facts: IndexFacts) -> None:
        """Drop an index before its column changes, so that the way back builds it after."""
        self.modify.ops.insert(0, self._drop(facts, concurrently=False))

    def _drop(self, facts: IndexFacts, *, concurrently: bool) -> DropVectorIndexOp:
        index = facts.index(self.table.schema)
        return DropVectorIndexOp(index.name, index.table, index.schema, concurrently=concurrently, index=index)

    def _reflected(self, name: str) -> Index:
        assert self.table.found is not None  # noqa: S101 -- it has an index
        return next((each for each in self.table.found.indexes if each.name == name), Index(name))


def _moving_columns(table: TableComparison) -> set[str]:
    """Return the columns that go in this revision, or change their type."""
    if table.found is None or table.model is None:
        return set()
    gone = {column.name for column in table.found.c} - {column.name for column in table.model.c}
    return gone | {name for op in table.modify.ops if (name := _retyped(op)) is not None}


def _retyped(op: MigrateOperation) -> str | None:
    if isinstance(op, AlterVectorDimensionsOp):
        return op.column
    return op.column_name if isinstance(op, AlterColumnOp) and op.modify_type is not None else None


def _is_about(op: MigrateOperation, names: Iterable[str | None]) -> bool:
    return isinstance(op, (CreateIndexOp, DropIndexOp)) and op.index_name in names


def _take_over_types(modify: ModifyTableOps) -> None:
    """Have a changed dimension refuse to lose vectors; Alembic's own ALTER fails on them, or truncates bits.

    A type that differs in its spelling alone, with a schema or without, is no difference.
    """
    modify.ops[:] = [each for op in modify.ops for each in _types_told(op)]


def _types_told(op: MigrateOperation) -> list[MigrateOperation]:
    # A plain BIT is PostgreSQL's own, flags perhaps, and Alembic's business.
    if not isinstance(op, AlterColumnOp) or type(op.modify_type) is postgresql.BIT:
        return [op]
    old, new = vector_type(op.existing_type), vector_type(op.modify_type)
    if old is None or new is None or old[0] != new[0]:
        return [op]
    op.modify_type = None
    rest: list[MigrateOperation] = [op] if op.has_changes() else []
    if old == new:
        return rest
    change = AlterVectorDimensionsOp(
        op.table_name, op.column_name, new[1], existing_dimensions=old[1], type_=new[0], schema=op.schema
    )
    return [change, *rest]
