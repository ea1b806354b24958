"""Vector indexes with their parameters checked where they are declared."""

from __future__ import annotations

from typing import Any

from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy import ColumnElement, Index, Table, event
from sqlalchemy.dialects.postgresql.base import PGDialect

from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import check_parameters
from pgcorpus.models.metric import Metric, parse_metric

# pgvector README, "Reference" and "HNSW": what an index of each type can hold.
INDEX_DIMENSIONS = {"vector": 2_000, "halfvec": 4_000}


def hnsw_index(
    column: str,
    *,
    metric: Metric | str = Metric.COSINE,
    m: int = 16,
    ef_construction: int = 64,
    where: ColumnElement[bool] | None = None,
    name: str | None = None,
) -> Index:
    """Declare an HNSW index for ``__table_args__``.

    Args:
        column: Name of a vector (at most 2,000 dimensions) or halfvec (4,000) column.
        metric: The metric that queries will use; an index serves one.
        m: Connections per element and layer, 2 to 100 (pgvector README, "HNSW"; default 16).
        ef_construction: Candidates kept while building, 4 to 1,000 and at least 2 m (default 64).
        where: Predicate of a partial index.
        name: Name of the index; the naming convention's by default.

    Raises:
        DefinitionError: A parameter is out of range, the metric is unknown, or the column cannot be indexed so.
    """
    options = {"m": m, "ef_construction": ef_construction}
    return _vector_index("hnsw", column, parse_metric(metric), options, where, name)


def ivfflat_index(
    column: str,
    *,
    lists: int,
    metric: Metric | str = Metric.COSINE,
    where: ColumnElement[bool] | None = None,
    name: str | None = None,
) -> Index:
    """Declare an IVFFlat index for ``__table_args__``; build it after the data, whose clusters it learns.

    Args:
        column: Name of a vector (at most 2,000 dimensions) or halfvec (4,000) column.
        lists: Number of clusters, 1 to 32,768: rows / 1,000 up to a million rows, then their square root
            (pgvector README, "IVFFlat").
        metric: The metric that queries will use; an index serves one, and IVFFlat has none for L1.
        where: Predicate of a partial index.
        name: Name of the index; the naming convention's by default.

    Raises:
        DefinitionError: A parameter is out of range, the metric is unknown or unsupported, or the column cannot
            be indexed so.
    """
    parsed = parse_metric(metric)
    if parsed is Metric.L1:
        raise DefinitionError("IVFFlat has no operator class for l1: use hnsw_index, or another metric")
    return _vector_index("ivfflat", column, parsed, {"lists": lists}, where, name)


def _vector_index(
    method: str,
    column: str,
    metric: Metric,
    options: dict[str, int],
    where: ColumnElement[bool] | None,
    name: str | None,
) -> Index:
    check_parameters(method, options)
    index = Index(
        name,
        column,
        postgresql_using=method,
        postgresql_with=options,
        postgresql_ops={column: metric.opclass("vector")},
        postgresql_where=where,
    )

    @event.listens_for(index, "after_parent_attach")
    def _choose_opclass(target: Index, table: Table) -> None:
        column_type = _indexed_type(table, column, method)
        target.dialect_options[PGDialect.name]["ops"] = {column: metric.opclass(column_type)}

    return index


def _indexed_type(table: Table, column: str, method: str) -> str:
    type_ = table.c[column].type
    name = _type_name(type_)
    if name is None:
        raise DefinitionError(f"{table.name}.{column} is {type_!r}: {method} indexes vector and halfvec columns")
    limit = INDEX_DIMENSIONS[name]
    dimensions = getattr(type_, "dim", None)
    if dimensions is None or dimensions > limit:
        raise DefinitionError(
            f"{table.name}.{column} has {dimensions or 'unstated'} dimensions: "
            f"{method} indexes a {name} of at most {limit:,}"
        )
    return name


def _type_name(type_: Any) -> str | None:
    if isinstance(type_, VECTOR):
        return "vector"
    return "halfvec" if isinstance(type_, HALFVEC) else None
