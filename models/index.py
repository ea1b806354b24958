"""Vector indexes with their parameters checked where they are declared."""

from __future__ import annotations

from typing import Any

from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy import ColumnElement, Index, Table, event, quoted_name
from sqlalchemy.dialects.postgresql.base import PGDialect

from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import IndexForm, check_parameters, opclass_of, parse_form
from pgcorpus.models.forms import halved, signs
from pgcorpus.models.metric import Metric, parse_metric

# pgvector README, "Reference" and "HNSW": what an index of each type can hold.
INDEX_DIMENSIONS = {"vector": 2_000, "halfvec": 4_000, "bit": 64_000}

# The number of signs that differ grows with the angle (Charikar 2002, "Similarity Estimation Techniques from Rounding
# Algorithms"), and tells nothing of lengths.
METRICS_BY_SIGNS = (Metric.COSINE, Metric.INNER_PRODUCT)

_EXPRESSIONS = {IndexForm.HALFVEC: halved, IndexForm.BINARY: signs}


def hnsw_index(
    column: str,
    *,
    metric: Metric | str = Metric.COSINE,
    form: IndexForm | str = IndexForm.VECTOR,
    m: int = 16,
    ef_construction: int = 64,
    where: ColumnElement[bool] | None = None,
    name: str | None = None,
) -> Index:
    """Declare an HNSW index for ``__table_args__``.

    Args:
        column: Name of a vector (at most 2,000 dimensions) or halfvec (4,000) column.
        metric: The metric that queries will use; an index serves one.
        form: What the index keeps of a vector: ``vector`` all of it, ``halfvec`` half of each number (at most 4,000
            dimensions), ``binary`` the signs (64,000; for cosine and inner product).
        m: Connections per element and layer, 2 to 100 (pgvector README, "HNSW"; default 16).
        ef_construction: Candidates kept while building, 4 to 1,000 and at least 2 m (default 64).
        where: Predicate of a partial index.
        name: Name of the index; the naming convention's by default.

    Raises:
        DefinitionError: A parameter is out of range, the metric is unknown, or the column cannot be indexed so.
    """
    options = {"m": m, "ef_construction": ef_construction}
    return _vector_index("hnsw", column, parse_metric(metric), parse_form(form), options, where, name)


def ivfflat_index(
    column: str,
    *,
    lists: int,
    metric: Metric | str = Metric.COSINE,
    form: IndexForm | str = IndexForm.VECTOR,
    where: ColumnElement[bool] | None = None,
    name: str | None = None,
) -> Index:
    """Declare an IVFFlat index for ``__table_args__``; build it after the data, whose clusters it learns.

    Args:
        column: Name of a vector (at most 2,000 dimensions) or halfvec (4,000) column.
        lists: Number of clusters, 1 to 32,768: rows / 1,000 up to a million rows, then their square root
            (pgvector README, "IVFFlat").
        metric: The metric that queries will use; an index serves one, and IVFFlat has none for L1.
        form: As in :func:`hnsw_index`.
        where: Predicate of a partial index.
        name: Name of the index; the naming convention's by default.

    Raises:
        DefinitionError: A parameter is out of range, the metric is unknown or unsupported, or the column cannot
            be indexed so.
    """
    parsed = parse_metric(metric)
    if parsed is Metric.L1:
        raise DefinitionError("IVFFlat has no operator class for l1: use hnsw_index, or another metric")
    return _vector_index("ivfflat", column, parsed, parse_form(form), {"lists": lists}, where, name)


def form_opclass(form: IndexForm, metric: Metric) -> str:
    """Return the operator class of an index of a form.

    Raises:
        DefinitionError: Signs say nothing of that metric.
    """
    if form is not IndexForm.BINARY:
        return opclass_of(form.type, metric)
    if metric not in METRICS_BY_SIGNS:
        raise DefinitionError(f"a binary index serves {' and '.join(METRICS_BY_SIGNS)}, not {metric}")
    return opclass_of(form.type, "hamming")


def _vector_index(
    method: str,
    column: str,
    metric: Metric,
    form: IndexForm,
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
        postgresql_ops={column: form_opclass(form, metric)},
        postgresql_where=where,
    )

    @event.listens_for(index, "after_parent_attach")
    def _choose_opclass(target: Index, table: Table) -> None:
        if form is not IndexForm.VECTOR:
            return _index_form(target, table, column, form, metric, method, name)
        column_type = _indexed_type(table, column, method)
        target.dialect_options[PGDialect.name]["ops"] = {column: metric.opclass(column_type)}
        return None

    return index


def _index_form(
    index: Index, table: Table, column: str, form: IndexForm, metric: Metric, method: str, name: str | None
) -> None:
    """Have an index keep an expression of its column, by which searches of that form are in order."""
    type_ = table.c[column].type
    if _type_name(type_) != "vector":
        raise DefinitionError(f"{table.name}.{column} is {type_!r}: a {form} index keeps less of a vector column")
    dimensions = _checked(table, column, method, form.type)
    label = f"{column}_{form}"
    # The second is what a copy of the table is made from.
    index.expressions = index._table_bound_expressions = [_EXPRESSIONS[form](table.c[column], dimensions).label(label)]
    index.dialect_options[PGDialect.name]["ops"] = {label: form_opclass(form, metric)}
    if name is None:  # a naming convention sees the column, and would call all forms the same
        index.name = quoted_name(f"ix_{table.name}_{label}", quote=None)


def _indexed_type(table: Table, column: str, method: str) -> str:
    type_ = table.c[column].type
    name = _type_name(type_)
    if name is None:
        raise DefinitionError(f"{table.name}.{column} is {type_!r}: {method} indexes vector and halfvec columns")
    _checked(table, column, method, name)
    return name


def _checked(table: Table, column: str, method: str, type_: str) -> int:
    """Return a column's dimensions if an index can hold so many of a type."""
    limit = INDEX_DIMENSIONS[type_]
    dimensions: int | None = getattr(table.c[column].type, "dim", None)
    if dimensions is None or dimensions > limit:
        raise DefinitionError(
            f"{table.name}.{column} has {dimensions or 'unstated'} dimensions: "
            f"{method} indexes a {type_} of at most {limit:,}"
        )
    return dimensions


def _type_name(type_: Any) -> str | None:
    if isinstance(type_, VECTOR):
        return "vector"
    return "halfvec" if isinstance(type_, HALFVEC) else None
