"""Distances as the smaller forms of an index know them: of halved numbers, or of signs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from pgcorpus.indexing import IndexForm
from pgcorpus.models.metric import Metric
from pgcorpus.models.vector import Distance, extension_schema

_OPERATORS = {Metric.COSINE: "<=>", Metric.L2: "<->", Metric.INNER_PRODUCT: "<#>", Metric.L1: "<+>"}
_HAMMING = "<~>"


class halved(FunctionElement[Any]):  # noqa: N801 -- a SQL expression
    """``vector::halfvec(dimensions)``, the expression of a halfvec index.

    Args:
        vector: A vector column or parameter.
        dimensions: Of the vector.
    """

    name = "halfvec"
    type = NullType()
    inherit_cache = False

    def __init__(self, vector: Any, dimensions: int) -> None:
        super().__init__(vector)
        self.dimensions = int(dimensions)


class signs(halved):  # noqa: N801 -- a SQL expression
    """``binary_quantize(vector)::bit(dimensions)``, the expression of a binary index."""

    name = "binary_quantize"
    inherit_cache = False


@compiles(halved, "postgresql")
def _compile_halved(element: halved, compiler: SQLCompiler, **kw: Any) -> str:
    vector = compiler.process(element.clauses, **kw)
    return f"CAST({vector} AS {_prefix(compiler)}halfvec({element.dimensions}))"


@compiles(signs, "postgresql")
def _compile_signs(element: signs, compiler: SQLCompiler, **kw: Any) -> str:
    vector = compiler.process(element.clauses, **kw)
    return f"CAST({_prefix(compiler)}binary_quantize({vector}) AS bit({element.dimensions}))"


def _prefix(compiler: SQLCompiler) -> str:
    schema = extension_schema(compiler.dialect)
    return "" if schema is None else f"{compiler.preparer.quote(schema)}."


def distance_in(form: IndexForm, column: Any, vector: Any, metric: Metric, dimensions: int) -> Any:
    """Return the distance that an index of a form is in order by.

    Args:
        form: Of the index.
        column: The vector column.
        vector: The query, a bound parameter.
        metric: How vectors are compared; signs by the number of those that differ, whatever the metric is.
        dimensions: Of the column.
    """
    if form is IndexForm.VECTOR:
        return getattr(column, metric.method)(vector)
    if form is IndexForm.HALFVEC:
        return _distance(halved(column, dimensions), _OPERATORS[metric], halved(vector, dimensions))
    return _distance(signs(column, dimensions), _HAMMING, signs(vector, dimensions))


def _distance(left: Any, operator: str, right: Any) -> Distance:
    plain: Any = left.op(operator, return_type=Float())(right)
    return Distance(plain.left, plain.right, plain.operator, type_=plain.type, modifiers=plain.modifiers)
