"""What a model's metadata asks for, in the words of this plugin."""

from __future__ import annotations

import re
from typing import Any

from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy import Dialect, Index, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ClauseElement, ColumnClause, TextClause
from sqlalchemy.types import TypeDecorator, TypeEngine

from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.indexing import METHODS
from pgcorpus.names import quote

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

# An operator class written into the expression itself, which Alembic's own comparison gives up on.
_INLINE_OPCLASS = re.compile(r'^(.*\S)\s+((?:[\w"]+\.)?\w+_ops)$', re.DOTALL | re.IGNORECASE)

# pgvector's SQL scripts: the operator classes that are a method's default for a type.
_DEFAULT_OPCLASSES = {("ivfflat", "vector"): "vector_l2_ops", ("ivfflat", "bit"): "bit_hamming_ops"}


def vector_type(type_: Any) -> tuple[str, int | None] | None:
    """Return the name and the dimensions of one of pgvector's types, or None for any other type.

    A host's own type around it counts as what it stores, and a variant as what it is on PostgreSQL.
    """
    if not isinstance(type_, TypeEngine):
        return None
    stored: Any = type_.dialect_impl(_DIALECT)
    if isinstance(stored, TypeDecorator):
        stored = stored.impl_instance
    for class_, name in ((VECTOR, "vector"), (HALFVEC, "halfvec"), (SPARSEVEC, "sparsevec")):
        if isinstance(stored, class_):
            return name, stored.dim
    return ("bit", stored.length) if isinstance(stored, postgresql.BIT) and not stored.varying else None


def names_vectors(type_: Any) -> bool:
    """Say whether a type takes the extension: one of pgvector's own, or an array of it."""
    found = vector_type(getattr(type_, "item_type", type_))
    return found is not None and found[0] != "bit"  # PostgreSQL's own


def vector_indexes(table: Table, dialect: Dialect) -> dict[str, tuple[Index, VectorIndex]]:
    """Return a table's HNSW and IVFFlat indexes by the names that they get in the database."""
    found = {}
    for index in table.indexes:
        name = final_name(index, dialect)
        if method_of(index) in METHODS and name is not None:
            found[name] = index, _index(index, name, dialect)
    return found


def method_of(index: Index) -> str:
    """Return an index's access method, ``btree`` by default."""
    return str(index.dialect_options["postgresql"]["using"] or "btree").lower()


def final_name(index: Index, dialect: Dialect) -> str | None:
    """Return an index's name as the database has it: by the naming convention, cut to what PostgreSQL takes."""
    return dialect.identifier_preparer.format_constraint(index, _alembic_quote=False)


def _index(index: Index, name: str, dialect: Dialect) -> VectorIndex:
    options = index.dialect_options["postgresql"]
    table = index.table
    assert table is not None  # noqa: S101 -- taken from a table
    key, opclass = _key(index, options["ops"] or {}, dialect)
    where = options["where"]
    return VectorIndex(
        name=name,
        table=str(table.name),
        key=key,
        opclass=opclass or _default_opclass(index, key),
        method=method_of(index),
        options={option: _number(value) for option, value in (options["with"] or {}).items()},
        where=None if where is None else sql_of(where, dialect),
        schema=table.schema,
        tablespace=options["tablespace"],
    )


def _number(value: Any) -> Any:
    """Take a number written as text, as SQLAlchemy prints either; the index itself refuses what is none."""
    return int(value) if str(value).isdecimal() else value


def _key(index: Index, opclasses: dict[str, str], dialect: Dialect) -> tuple[str, str | None]:
    """Return what is indexed and its operator class, wherever the model has put it."""
    expression = next(iter(index.expressions))
    opclass = opclasses.get(getattr(expression, "key", None) or "")
    if isinstance(expression, ColumnClause) and not isinstance(expression, TextClause):
        return quote(expression.name), opclass
    sql = sql_of(expression, dialect)
    inline = _INLINE_OPCLASS.match(sql)
    if inline and opclass is None:
        sql, opclass = inline.groups()
    return (sql if _is_name(sql) or _is_wrapped(sql) else f"({sql})"), opclass


def sql_of(expression: ClauseElement | str, dialect: Dialect) -> str:
    """Return an expression as SQL text with its values in it, columns without their table."""
    if isinstance(expression, str):
        return expression
    element: Any = expression
    element = element if isinstance(element, ColumnClause) else element.self_group()
    compiler = dialect.statement_compiler(dialect, None)
    text: str = compiler.process(element, include_table=False, literal_binds=True)
    # Where the driver's parameters are spelled with it, the compiler doubles the percent sign.
    return text.replace("%%", "%") if compiler.preparer._double_percents else text


def _default_opclass(index: Index, key: str) -> str | None:
    columns = list(index.columns)
    type_ = vector_type(columns[0].type) if _is_name(key) and len(columns) == 1 else None
    return None if type_ is None else _DEFAULT_OPCLASSES.get((method_of(index), type_[0]))


def _is_name(sql: str) -> bool:
    return re.fullmatch(r'\w+|"(?:[^"]|"")+"', sql) is not None


def _is_wrapped(sql: str) -> bool:
    """Whether one pair of parentheses encloses it all."""
    depth = 0
    for position, character in enumerate(sql):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return position == len(sql) - 1 and position > 0
    return False
