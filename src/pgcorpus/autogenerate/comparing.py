"""What autogenerate finds: vector indexes, dimensions, storage and the extension, model against database."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from alembic.operations.ops import AlterColumnOp, CreateIndexOp, DropIndexOp, MigrateOperation, ModifyTableOps
from sqlalchemy import Index

from pgcorpus.autogenerate import storing
from pgcorpus.autogenerate.catalog import IndexFacts, canonical, differences, read_indexes
from pgcorpus.autogenerate.extension import extension_in_sight
from pgcorpus.autogenerate.operations import AlterVectorDimensionsOp, CreateVectorIndexOp, DropVectorIndexOp
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.autogenerate.tables import TableComparison
from pgcorpus.autogenerate.wanted import final_name, vector_indexes, vector_type

_log = logging.getLogger("pgcorpus.autogenerate")


def compare_table(table: TableComparison) -> None:
    """Compare one table, after Alembic has: its findings on vector indexes and dimensions give way to ours."""
    with extension_in_sight(table.connection):
        _take_over_types(table.modify)
        _Indexes(table).compare()
        table.modify.ops += storing.compare(table)


class _Indexes:
    """The vector indexes of one table, in the model and in the database."""

    def __init__(self, table: TableComparison) -> None:
        self.table = table
        self.modify = table.modify
        self.wanted = {} if table.model is None else vector_indexes(table.model, table.dialect)
        self.found = {} if table.found is None else self._read()
        # The order of the operations matters then, and they stay in the transaction.
        self.in_place = _is_reshaped(table)

    def compare(self) -> None:
        """Replace what Alembic says of these indexes."""
        names = {*self.wanted, *self.found, *(index.name for index, _ in self.wanted.values())}
        self.modify.ops[:] = [op for op in self.modify.ops if not _is_about(op, names)]
        for name in sorted(self.found.keys() - self.wanted.keys()):
            self._removed(name)
        for name in sorted(self.wanted.keys() - self.found.keys()):
            self._added(*self.wanted[name])
        for name in sorted(self.wanted.keys() & self.found.keys()):
            self._compared(self.found[name], *self.wanted[name])

    def _read(self) -> dict[str, IndexFacts]:
        """Return what is in the database, but for what the host's ``include_name`` leaves out."""
        found = read_indexes(self.table.connection, self.table.name, self.table.schema)
        where: Any = {"table_name": self.table.name, "schema_name": self.table.schema}
        keep = self.table.context.run_name_filters
        return {name: facts for name, facts in found.items() if keep(name, "index", where)}

    def _removed(self, name: str) -> None:
        if self.table.context.run_object_filters(self._reflected(name), name, "index", True, None):
            _log.info("Detected removed vector index %r", name)
            successor = self._ordinary(name)
            self.modify.ops.append(self._drop(self.found[name].index(self.table.schema), in_place=bool(successor)))
            self.modify.ops += successor

    def _ordinary(self, name: str) -> list[MigrateOperation]:
        """Return what makes the model's index of that name, if it has one that is no vector index: a btree, say."""
        indexes = () if self.table.model is None else self.table.model.indexes
        return [CreateIndexOp.from_index(each) for each in indexes if final_name(each, self.table.dialect) == name]

    def _added(self, index: Index, wanted: VectorIndex) -> None:
        if self.table.context.run_object_filters(index, wanted.name, "index", False, None):
            was_ordinary = self._was_ordinary(wanted.name)
            # One that cannot be built yet needs something else of this revision first.
            now = not (self.in_place or was_ordinary) and canonical(self.table.connection, wanted) is not None
            _log.info("Detected added vector index %r", wanted.name)
            self.modify.ops.append(CreateVectorIndexOp(wanted, concurrently=now))

    def _was_ordinary(self, name: str) -> bool:
        """Drop what has the name in the database and is no vector index."""
        indexes = () if self.table.found is None else self.table.found.indexes
        old = next((each for each in indexes if each.name == name), None)
        if old is not None:
            self.modify.ops.append(DropIndexOp.from_index(old))
        return old is not None

    def _compared(self, facts: IndexFacts, index: Index, wanted: VectorIndex) -> None:
        made = canonical(self.table.connection, wanted)
        changes = ["what it is built on"] if made is None else differences(facts, made)
        if changes and self.table.context.run_object_filters(
            index, facts.name, "index", False, self._reflected(facts.name)
        ):
            _log.info("Detected changed vector index %r: %s", facts.name, ", ".join(changes))
            self._changed(facts.index(self.table.schema), wanted, made is not None)

    def _changed(self, old: VectorIndex, wanted: VectorIndex, buildable: bool) -> None:
        if buildable and not self.in_place:
            self.modify.ops.append(CreateVectorIndexOp(wanted, replace=True, existing=old))
        else:
            self.modify.ops.insert(0, self._drop(old, in_place=True))
            self.modify.ops.append(CreateVectorIndexOp(wanted, concurrently=False))

    def _drop(self, index: VectorIndex, *, in_place: bool) -> DropVectorIndexOp:
        concurrently = not (self.in_place or in_place)
        return DropVectorIndexOp(index.name, index.table, index.schema, concurrently=concurrently, index=index)

    def _reflected(self, name: str) -> Index:
        assert self.table.found is not None  # noqa: S101 -- it has an index
        return next((each for each in self.table.found.indexes if each.name == name), Index(name))


def _is_reshaped(table: TableComparison) -> bool:
    """Whether in this revision the table comes or goes, a vector column changes its type, or a column goes."""
    if table.found is None or table.model is None:
        return True
    if {column.name for column in table.found.c} - {column.name for column in table.model.c}:
        return True
    changed = [
        op.modify_type for op in table.modify.ops if isinstance(op, AlterColumnOp) and op.modify_type is not None
    ]
    return any(vector_type(type_) is not None for type_ in changed)


def _is_about(op: MigrateOperation, names: Iterable[str | None]) -> bool:
    return isinstance(op, (CreateIndexOp, DropIndexOp)) and op.index_name in names


def _take_over_types(modify: ModifyTableOps) -> None:
    """Have a changed dimension refuse to lose vectors; Alembic's own ALTER fails on them, or truncates bits.

    A type that differs in its spelling alone, with a schema or without, is no difference.
    """
    modify.ops[:] = [each for op in modify.ops for each in _types_told(op)]


def _types_told(op: MigrateOperation) -> list[MigrateOperation]:
    if not isinstance(op, AlterColumnOp):
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
