"""Vector columns: their dimension and their storage, as SQL."""

from __future__ import annotations

from pgcorpus.autogenerate.blocks import do_block
from pgcorpus.autogenerate.operations import TRUNCATE, AlterVectorDimensionsOp, SetVectorStorageOp
from pgcorpus.names import literal, qualified, quote, regclass_name

# SQLSTATE PGC02 marks a change that would lose vectors.
_REFUSE = """
BEGIN
    IF EXISTS (SELECT FROM {table} WHERE {column} IS NOT NULL) THEN
        RAISE EXCEPTION USING ERRCODE = 'PGC02', MESSAGE = {message}, HINT = {hint};
    END IF;
END
"""

# The cosine distance to a zero vector is NaN, and pgvector leaves it out of an index (README, "Indexing").
_REFUSE_ZEROS = """
DECLARE
    lost bigint := (
        SELECT count(*) FROM {table}
        WHERE vector_norm({column}::vector) <> 0 AND vector_norm(subvector({column}, 1, {dimensions})::vector) = 0
    );
BEGIN
    IF lost > 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PGC02', MESSAGE = lost || {message}, HINT = {hint};
    END IF;
END
"""

# ALTER TYPE puts a column back to its type's own storage, and what it rewrites out of the row (PostgreSQL,
# tablecmds.c: attstorage): the same statement has to say otherwise.
_CHANGE = """
DECLARE
    storage text := (
        SELECT CASE attstorage WHEN 'm' THEN 'MAIN' WHEN 'x' THEN 'EXTENDED' WHEN 'p' THEN 'PLAIN' ELSE 'EXTERNAL' END
        FROM pg_attribute WHERE attrelid = to_regclass({name}) AND attname = {attribute}
    );
BEGIN
    EXECUTE {change} || coalesce({keep} || storage, '');
END
"""


def alter_dimensions_sql(op: AlterVectorDimensionsOp) -> list[str]:
    """Return the statements that change a dimension, and refuse where vectors would be lost."""
    table = qualified(op.schema, op.table)
    column = quote(op.column)
    if op.dimensions is not None and op.dimensions == op.existing_dimensions:
        return []
    type_ = op.type_ if op.dimensions is None else f"{op.type_}({op.dimensions})"
    change = f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {type_}"
    if op.how is not None:
        zeros = [_refuse_zeros(op, table, column)] if op.how == TRUNCATE else []
        return [*zeros, _keeping_storage(op, f"{change} USING {_converted(op, column)}")]
    if op.dimensions is None or op.existing_dimensions is None:
        return [_keeping_storage(op, change)]  # the server refuses vectors of another length by itself
    return [_refusal(op, table, column), _keeping_storage(op, change)]


def _keeping_storage(op: AlterVectorDimensionsOp, change: str) -> str:
    return do_block(
        _CHANGE.format(
            name=literal(regclass_name(op.schema, op.table)),
            attribute=literal(op.column),
            change=literal(change),
            keep=literal(f", ALTER COLUMN {quote(op.column)} SET STORAGE "),
        )
    )


def _refusal(op: AlterVectorDimensionsOp, table: str, column: str) -> str:
    message = (
        f"{op.table}.{op.column} has vectors of {op.existing_dimensions} dimensions, "
        f"which do not fit into {op.dimensions}"
    )
    hint = "embed again into a new column, or empty this one first."
    hint = f"E{hint[1:]}" if op.possible is None else f"Say how={op.possible!r}, or {hint}"
    return do_block(_REFUSE.format(table=table, column=column, message=literal(message), hint=literal(hint)))


def _refuse_zeros(op: AlterVectorDimensionsOp, table: str, column: str) -> str:
    message = f" vectors of {op.table}.{op.column} have only zeros in their first {op.dimensions} dimensions"
    hint = "No search by cosine would find them: set them to NULL or delete them first, or embed again."
    return do_block(
        _REFUSE_ZEROS.format(
            table=table, column=column, dimensions=op.dimensions, message=literal(message), hint=literal(hint)
        )
    )


def _converted(op: AlterVectorDimensionsOp, column: str) -> str:
    if op.how == TRUNCATE:
        return f"l2_normalize(subvector({column}, 1, {op.dimensions})::{op.type_})::{op.type_}({op.dimensions})"
    assert op.dimensions is not None  # noqa: S101 -- checked by the operation
    assert op.existing_dimensions is not None  # noqa: S101
    zeros = f"array_fill(0::real, ARRAY[{op.dimensions - op.existing_dimensions}])::{op.type_}"
    return f"({column} || {zeros})::{op.type_}({op.dimensions})"


def set_storage_sql(op: SetVectorStorageOp) -> list[str]:
    """Return the statements that say where a column is stored: one sub-command an ALTER, as Citus wants it."""
    table = qualified(op.schema, op.table)
    column = quote(op.column)
    statements = [f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE {op.storage.upper()}"]
    match op.toast_tuple_target:
        case int(target):
            statements.append(f"ALTER TABLE {table} SET (toast_tuple_target = {target})")
        case str():
            statements.append(f"ALTER TABLE {table} RESET (toast_tuple_target)")
    return statements
