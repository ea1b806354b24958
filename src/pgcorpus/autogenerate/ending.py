"""The last word on a revision: the extension first, what is ours left alone, and an order that can be killed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateTableOp,
    DropColumnOp,
    DropTableOp,
    MigrateOperation,
    OpContainer,
    UpgradeOps,
)

from pgcorpus.autogenerate.arranging import arrange
from pgcorpus.autogenerate.extension import extension_home
from pgcorpus.autogenerate.operations import CreateVectorIndexOp, EnableExtensionOp
from pgcorpus.autogenerate.wanted import names_vectors

# The name of our own schema, as pgcorpus.models has it, which is too much to load for a host without models of ours.
_OURS = "pgcorpus"

_log = logging.getLogger("alembic.pgcorpus")


def finish(context: AutogenContext, upgrade: UpgradeOps) -> None:
    """Complete what the comparisons have found."""
    if not any(table.schema == _OURS for table in context.sorted_tables):
        _leave_ours_alone(upgrade)
    assert context.connection is not None  # noqa: S101 -- autogenerate has one
    home = extension_home(context.connection)
    create = _missing_extension(upgrade) if home is None else []
    if not upgrade.is_empty():
        off_path = home is not None and not home[1]
        arrange(upgrade, create, see=_directions(upgrade) if off_path else (False, False))


def _leave_ours_alone(upgrade: UpgradeOps) -> None:
    """A host that compares all schemas (include_schemas) would drop tables that its models do not know."""
    upgrade.ops[:] = [op for op in upgrade.ops if getattr(op, "schema", None) != _OURS]


def _missing_extension(upgrade: UpgradeOps) -> list[MigrateOperation]:
    """Return what creates it, where it is needed: without it the database has no vectors yet, so all are to come."""
    if not (_directions(upgrade)[0] or any(isinstance(op, CreateVectorIndexOp) for op in _each(upgrade))):
        return []
    _log.info("Detected missing extension 'vector'")
    return [EnableExtensionOp("vector")]


def _each(op: MigrateOperation) -> Iterator[MigrateOperation]:
    if isinstance(op, OpContainer):
        for part in op.ops:
            yield from _each(part)
    else:
        yield op


def _directions(upgrade: UpgradeOps) -> tuple[bool, bool]:
    """Return whether Alembic's own operations name pgvector's types on the way up, and on the way down."""
    there = [type_ for op in _each(upgrade) for type_ in _types(op, CreateTableOp, AddColumnOp)]
    back = [type_ for op in _each(upgrade) for type_ in _types(op, DropTableOp, DropColumnOp)]
    return any(map(names_vectors, there)), any(map(names_vectors, back))


def _types(op: MigrateOperation, *kinds: type[MigrateOperation]) -> Iterable[Any]:
    """Return the column types that operations of these kinds, or a changed type, spell out."""
    match op:
        case CreateTableOp() | DropTableOp() if isinstance(op, kinds):
            return [column.type for column in op.to_table().columns]
        case AddColumnOp() if isinstance(op, kinds):
            return [op.column.type]
        case DropColumnOp() if isinstance(op, kinds):
            return [op.to_column().type]
        case AlterColumnOp() if op.modify_type is not None:
            return [op.modify_type, op.existing_type]
    return []
