"""The order of the operations in a revision.

A concurrent build leaves the transaction and commits what came before it. So it comes first: a revision that is
killed in the middle of it has done nothing else yet, and runs again from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alembic.operations.ops import (
    MigrateOperation,
    ModifyTableOps,
    OpContainer,
    UpgradeOps,
)

from pgcorpus.autogenerate.operations import CreateVectorIndexOp, DropVectorIndexOp, PluginOperation, SeeExtensionOp


class OneWay(OpContainer):
    """Operations that stand here in one direction, and somewhere else in the other."""

    def __init__(self, ops: Sequence[MigrateOperation] = (), other: Sequence[MigrateOperation] = ()) -> None:
        super().__init__(ops)
        self.other = list(other)

    def reverse(self) -> OneWay:
        """Return what stands here on the way back."""
        return OneWay(self.other, self.ops)


class Note(OpContainer):
    """A comment in the revision; it counts for nothing in ``alembic check``."""

    def __init__(self, *lines: str) -> None:
        super().__init__()
        self.lines = lines

    def reverse(self) -> Note:
        """Say nothing on the way back."""
        return Note()


def arrange(upgrade: UpgradeOps, create: Sequence[MigrateOperation], see: tuple[bool, bool]) -> None:
    """Put what leaves the transaction first, in both directions, and our operations out of Alembic's batches.

    Args:
        upgrade: What autogenerate has found; changed in place.
        create: What creates the extension, before all else.
        see: Whether the types have to be found, on the way up and on the way down. A transaction forgets that when
            it is left, so it comes after what leaves it.
    """
    flat = [op for each in upgrade.ops for op in _unbatched(each)]
    outside = [op for op in flat if _leaves_transaction(op)]
    inside = [op for op in flat if not _leaves_transaction(op)]
    there, back = ([SeeExtensionOp("vector")] if needed else [] for needed in see)
    upgrade.ops[:] = [
        *create,
        *_one_way(ops=outside),
        *_one_way(ops=there),
        *inside,
        *_one_way(other=back),
        *_one_way(other=[op.reverse() for op in reversed(outside)]),
    ]


def _one_way(ops: Sequence[MigrateOperation] = (), other: Sequence[MigrateOperation] = ()) -> list[OneWay]:
    return [OneWay(ops, other)] if ops or other else []


def _unbatched(op: MigrateOperation) -> Iterable[MigrateOperation]:
    """Split a table's operations at ours: ``batch_op``, which queues what it is told, has none of them."""
    if not isinstance(op, ModifyTableOps):
        return [op]
    parts: list[MigrateOperation] = []
    for each in op.ops:
        if isinstance(each, (PluginOperation, OneWay, Note)):
            parts.append(each)
        elif parts and isinstance(parts[-1], ModifyTableOps):
            parts[-1].ops.append(each)
        else:
            parts.append(ModifyTableOps(op.table_name, [each], schema=op.schema))
    return parts


def _leaves_transaction(op: MigrateOperation) -> bool:
    """Whether an operation runs outside the transaction."""
    return isinstance(op, (CreateVectorIndexOp, DropVectorIndexOp)) and op.concurrently
