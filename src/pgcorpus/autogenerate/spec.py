"""A vector index between its two forms: the arguments of an operation, and SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import check_parameters, metric_of, opclass_of
from pgcorpus.names import qualified, quote


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An HNSW or IVFFlat index.

    Attributes:
        name: Its name, without a schema.
        table: The table's name.
        key: What is indexed, as SQL: a quoted column, or an expression in parentheses.
        opclass: Operator class without a schema; None for the method's default.
        method: ``hnsw`` or ``ivfflat``.
        options: ``m`` and ``ef_construction``, or ``lists``; the method's defaults are left out or spelled out.
        where: Predicate of a partial index, as SQL.
        schema: The table's schema; None for the first on the search_path.
        tablespace: Where to build it; None for the table's default. Two indexes are equal wherever they are.

    Raises:
        DefinitionError: pgvector could not build it.
    """

    name: str
    table: str
    key: str
    opclass: str | None
    method: str = "hnsw"
    options: Mapping[str, int] = field(default_factory=dict)
    where: str | None = None
    schema: str | None = None
    tablespace: str | None = None

    def __post_init__(self) -> None:
        """Refuse what pgvector would refuse, before the server is asked."""
        with _about(self.name, self.table):
            for option, value in self.options.items():
                if not is_whole(value):
                    raise DefinitionError(f"{option} must be a whole number, not {value!r}")
            check_parameters(self.method, self.options)

    @property
    def column(self) -> str | None:
        """Return the name of the column that is indexed as it is, or None for an expression."""
        return None if self.key.startswith("(") else unquoted(self.key)

    def named(self, name: str) -> VectorIndex:
        """Return the same index under another name."""
        return replace(self, name=name)

    def create_sql(self, *, concurrently: bool, only: bool = False) -> str:
        """Return the statement that builds it; the extension must be on the search_path."""
        key = self.key if self.opclass is None else f"{self.key} {self.opclass}"
        parts = [
            "CREATE INDEX CONCURRENTLY" if concurrently else "CREATE INDEX",
            quote(self.name),
            "ON ONLY" if only else "ON",
            qualified(self.schema, self.table),
            f"USING {self.method} ({key})",
        ]
        if self.options:
            parts.append(f"WITH ({', '.join(f'{name} = {value}' for name, value in self.options.items())})")
        if self.tablespace is not None:
            parts.append(f"TABLESPACE {quote(self.tablespace)}")
        if self.where is not None:
            parts.append(f"WHERE {self.where}")
        return " ".join(parts)


# What PostgreSQL prints of the expression that ``halfvec=`` stands for: ((embedding)::halfvec(1536)); and what a model
# that declares it so is compiled to.
_HALFVEC = re.compile(
    r'^\((?:\(?(?P<printed>"(?:[^"]|"")+"|\w+)\)?::(?:\w+\.)?halfvec\((?P<length>\d+)\)'
    r'|CAST\((?P<declared>"(?:[^"]|"")+"|\w+) AS (?:\w+\.)?halfvec\((?P<dimensions>\d+)\)\))\)$'
)


def from_arguments(
    name: str,
    table: str,
    column: str | None,
    *,
    method: str,
    metric: str | None,
    type_: str,
    halfvec: int | None,
    expression: str | None,
    opclass: str | None,
    options: Mapping[str, int | None],
    where: str | None,
    schema: str | None,
    tablespace: str | None = None,
) -> VectorIndex:
    """Return the index that an operation's arguments describe.

    Raises:
        DefinitionError: They contradict each other or are of the wrong type, or pgvector cannot build it.
    """
    texts = {"column": column, "expression": expression, "opclass": opclass, "where": where, "schema": schema}
    _check_texts(name, texts | {"table_name": table, "tablespace": tablespace})
    if halfvec is not None and not is_whole(halfvec):
        raise DefinitionError(f"{name}: halfvec is a number of dimensions, not {halfvec!r}")
    if (column is None) == (expression is None):
        raise DefinitionError(f"{name}: give the column to index, or an expression")
    if halfvec is not None and column is None:
        raise DefinitionError(f"{name}: halfvec is the number of dimensions of a column indexed as halfvec")
    if opclass is None and metric is not None:
        with _about(name, table):
            opclass = opclass_of("halfvec" if halfvec is not None else type_, metric)
    given = {option: value for option, value in options.items() if value is not None}
    key = _key(column, halfvec, expression)
    return VectorIndex(name, table, key, opclass, method, given, where, schema, tablespace)


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number, which SQL can take as it is."""
    return isinstance(value, int) and not isinstance(value, bool)


def _check_texts(name: str, texts: Mapping[str, object]) -> None:
    for argument, value in texts.items():
        if value is not None and not isinstance(value, str):
            raise DefinitionError(f"{name}: {argument} is a string, not {value!r}")


@contextmanager
def _about(name: str, table: str) -> Iterator[None]:
    """Say of which index an error is."""
    try:
        yield
    except DefinitionError as exc:
        raise DefinitionError(f"index {name} of {table}: {exc}") from exc


def to_arguments(index: VectorIndex) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of the operation that builds an index: the inverse of :func:`from_arguments`."""
    positional: list[Any] = [index.name, index.table]
    keywords: dict[str, Any] = {}
    halfvec = _HALFVEC.match(index.key)
    if halfvec:
        positional.append(unquoted(halfvec["printed"] or halfvec["declared"]))
        keywords["halfvec"] = int(halfvec["length"] or halfvec["dimensions"])
    elif index.key.startswith("("):
        keywords["expression"] = index.key[1:-1]
    else:
        positional.append(unquoted(index.key))
    keywords["method"] = index.method
    keywords |= _metric_arguments(index.opclass, halfvec is not None)
    keywords |= index.options
    others = {"where": index.where, "schema": index.schema, "tablespace": index.tablespace}
    keywords |= {name: value for name, value in others.items() if value is not None}
    return positional, keywords


def _metric_arguments(opclass: str | None, halfvec: bool) -> dict[str, Any]:
    known = metric_of(opclass or "")
    if known is None:
        return {"metric": None} if opclass is None else {"opclass": opclass}
    type_, metric = known
    if halfvec:
        return {"metric": metric} if type_ == "halfvec" else {"opclass": opclass}
    return {"metric": metric} if type_ == "vector" else {"metric": metric, "type_": type_}


def _key(column: str | None, halfvec: int | None, expression: str | None) -> str:
    if column is None:
        return f"({expression})"
    quoted = quote(column)
    return quoted if halfvec is None else f"(({quoted})::halfvec({halfvec}))"


def unquoted(name: str) -> str:
    """Return the name that :func:`pgcorpus.names.quote` was given."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
