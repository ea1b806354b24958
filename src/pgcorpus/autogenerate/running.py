"""What the operations do: on a connection, or as the statements of ``alembic upgrade --sql``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alembic.operations import Operations
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pgcorpus.autogenerate import building, columns, extension
from pgcorpus.autogenerate.catalog import is_autocommit, run
from pgcorpus.autogenerate.operations import (
    AlterVectorDimensionsOp,
    CreateVectorIndexOp,
    DisableExtensionOp,
    DropVectorIndexOp,
    EnableExtensionOp,
    SeeExtensionOp,
    SetVectorStorageOp,
)
from pgcorpus.errors import DatabaseError, ExtensionError
from pgcorpus.faults import sqlstate, translated
from pgcorpus.names import qualified, quote

_log = logging.getLogger("alembic.pgcorpus")

# What our own statements raise, by SQLSTATE.
_FAULTS = {"PGC01": ExtensionError, "PGC02": DatabaseError}


@Operations.implementation_for(EnableExtensionOp)
def _enable(operations: Operations, op: EnableExtensionOp) -> None:
    with _explained():
        _statements(operations, [extension.create_sql(op.name, op.schema), _see_sql(operations, op.name)])


@Operations.implementation_for(DisableExtensionOp)
def _disable(operations: Operations, op: DisableExtensionOp) -> None:
    _statements(operations, [extension.drop_sql(op.name)])


@Operations.implementation_for(SeeExtensionOp)
def _see(operations: Operations, op: SeeExtensionOp) -> None:
    _statements(operations, [_see_sql(operations, op.name)])


def _see_sql(operations: Operations, name: str) -> str:
    """Where every statement is a transaction of its own, what is the transaction's is gone with this one."""
    online = not operations.get_context().as_sql
    return extension.see_sql(name, local=not (online and is_autocommit(_connection(operations))))


@Operations.implementation_for(CreateVectorIndexOp)
def _create_index(operations: Operations, op: CreateVectorIndexOp) -> None:
    if op.concurrently and _may_leave_transaction(operations):
        with _outside_transaction(operations):
            _create_concurrently(operations, op)
    else:
        _create_in_transaction(operations, op)


def _create_concurrently(operations: Operations, op: CreateVectorIndexOp) -> None:
    if operations.get_context().as_sql:
        offline = building.offline_replace if op.replace else building.offline_create
        _statements(operations, offline(op.index, _settings(op)))
    else:
        online = building.replace_index if op.replace else building.create_index
        online(_connection(operations), op.index, _settings(op))


def _create_in_transaction(operations: Operations, op: CreateVectorIndexOp) -> None:
    create = op.index.create_sql(concurrently=False)
    if op.replace:
        name, old, schema = op.index.name, building.old_name(op.index.name), op.index.schema
        aside = f"ALTER INDEX IF EXISTS {qualified(schema, name)} RENAME TO {quote(old)}"
        away = f"DROP INDEX IF EXISTS {qualified(schema, old)}"
        ours = [building.refuse_other(each, op.index.table, schema) for each in (name, old)]
        # A concurrent change that was cut off leaves one under that name, too.
        statements = [*ours, away, aside, create, away]
    else:
        statements = [create]
    with _explained(), _prepared(operations, op):
        _statements(operations, statements)


@contextmanager
def _prepared(operations: Operations, op: CreateVectorIndexOp) -> Iterator[None]:
    """Have the extension in sight, time and memory for the build; offline the transaction is left so."""
    if operations.get_context().as_sql:
        _statements(operations, [extension.see_sql("vector")])
        yield
        return
    with building.with_build_settings(_connection(operations), op.index, _settings(op)):
        yield


@Operations.implementation_for(DropVectorIndexOp)
def _drop_index(operations: Operations, op: DropVectorIndexOp) -> None:
    with _explained():
        _statements(operations, [building.refuse_other(op.name, op.table, op.schema, vectors=True)])
    if not op.concurrently or not _may_leave_transaction(operations):
        name = qualified(op.schema, op.name)
        _statements(operations, [f"DROP INDEX IF EXISTS {name}"])
        return
    with _outside_transaction(operations):
        if operations.get_context().as_sql:
            _statements(operations, building.offline_drop(op.name, op.schema))
        else:
            building.drop_index(_connection(operations), op.name, op.schema)


@Operations.implementation_for(AlterVectorDimensionsOp)
def _alter_dimensions(operations: Operations, op: AlterVectorDimensionsOp) -> None:
    statements = columns.alter_dimensions_sql(op)
    if operations.get_context().as_sql:
        _statements(operations, [extension.see_sql("vector"), *statements])
        return
    with _explained(), extension.extension_in_sight(_connection(operations)):
        _statements(operations, statements)


@Operations.implementation_for(SetVectorStorageOp)
def _set_storage(operations: Operations, op: SetVectorStorageOp) -> None:
    _statements(operations, columns.set_storage_sql(op))


def _statements(operations: Operations, statements: Sequence[str]) -> None:
    """Run statements as they are, or print them: Alembic's own way would look for parameters in them."""
    context = operations.get_context()
    for statement in statements:
        if context.as_sql:
            context.impl.static_output(statement.strip() + context.impl.command_terminator)
        else:
            run(_connection(operations), statement)


@contextmanager
def _outside_transaction(operations: Operations) -> Iterator[None]:
    """Run what is inside in autocommit, and have its error: Alembic's block raises one of its own on top of it."""
    failed: BaseException | None = None
    try:
        with operations.get_context().autocommit_block():
            try:
                yield
            except BaseException as exc:
                failed = exc
                raise
    except SQLAlchemyError as exc:
        if failed is None or failed is exc:
            raise
        raise failed from failed.__cause__


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except DBAPIError as exc:
        fault = _FAULTS.get(sqlstate(exc) or "")
        if fault is None:
            raise
        raise fault(str(translated(exc))) from exc


def _settings(op: CreateVectorIndexOp) -> building.BuildSettings:
    return building.BuildSettings(op.maintenance_work_mem, op.parallel_workers)


def _connection(operations: Operations) -> Connection:
    connection = operations.get_context().connection
    assert connection is not None  # noqa: S101 -- online
    return connection


def _may_leave_transaction(operations: Operations) -> bool:
    """Whether an autocommit block can be had: not in a transaction that env.py began itself, around more than this.

    Alembic's own multidb template does so; its autocommit_block then ends in an AssertionError.
    """
    context = operations.get_context()
    if context.as_sql or context._transaction is not None or not context._in_connection_transaction():
        return True
    _log.warning(
        "env.py holds one transaction around all migrations: the index is built in it, and writers wait. "
        "To build concurrently, let env.py use context.begin_transaction()"
    )
    return False
