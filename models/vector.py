"""The column type: pgvector's, but binary under psycopg 3, float32 arrays back, and at home in any schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

import psycopg
from pgvector.sqlalchemy import VECTOR
from psycopg.adapt import AdaptersMap, PyFormat
from sqlalchemy import BinaryExpression, ColumnElement, Dialect, Float
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute, Mapped
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import UserDefinedType

from pgcorpus import vectors
from pgcorpus.adapters import BinaryVector
from pgcorpus.errors import DefinitionError

# pgvector README, "Reference": a vector column holds up to 16,000 dimensions.
MAX_DIMENSIONS = 16_000

# Set on a dialect when its database keeps the extension off the search_path; see pgcorpus.database.
EXTENSION_SCHEMA = "pgcorpus_extension_schema"

_T = TypeVar("_T")


class Distance(BinaryExpression[float]):
    """``column <=> vector``, with the operator qualified where the extension is off the search_path."""

    inherit_cache = True


class Vector(VECTOR):
    """A ``vector(dimensions)`` column.

    Args:
        dim: Number of float32 dimensions, 1 to 16,000.

    Raises:
        DefinitionError: The number of dimensions is out of range.
    """

    cache_ok = True
    # Inside a multi-row INSERT the server would otherwise take the parameter for text.
    render_bind_cast = True

    def __init__(self, dim: int | None = None) -> None:
        if dim is not None and not 1 <= dim <= MAX_DIMENSIONS:
            raise DefinitionError(f"a vector column has 1 to {MAX_DIMENSIONS:,} dimensions, not {dim:,}")
        super().__init__(dim)

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
        """Send binary where the driver can (0.002 ms a vector against 1.1 as text), else text."""
        encode = _binary if _takes_binary(dialect) else vectors.to_text
        return lambda value: None if value is None else encode(vectors.as_array(value, self.dim))

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:  # noqa: ARG002 -- SQLAlchemy's signature
        """Quote a vector inside SQL text: digits, commas and brackets only."""
        return lambda value: f"'{vectors.to_text(vectors.as_array(value, self.dim))}'"

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:  # noqa: ARG002
        """Return float32 arrays, whatever the driver hands over."""
        return vectors.from_database

    class Distances(UserDefinedType.Comparator[Any]):
        """pgvector's distances, whose operators are found in whatever schema the extension lives."""

        def cosine_distance(self, other: object, /) -> ColumnElement[float]:
            """``<=>``: 0 is the same direction, 2 the opposite."""
            return self._distance("<=>", other)

        def l2_distance(self, other: object, /) -> ColumnElement[float]:
            """``<->``: Euclidean distance."""
            return self._distance("<->", other)

        def max_inner_product(self, other: object, /) -> ColumnElement[float]:
            """``<#>``: the negative inner product, so that smaller is nearer."""
            return self._distance("<#>", other)

        def l1_distance(self, other: object, /) -> ColumnElement[float]:
            """``<+>``: taxicab distance."""
            return self._distance("<+>", other)

        def _distance(self, operator: str, other: object) -> Distance:
            plain: Any = self.op(operator, return_type=Float())(other)
            return Distance(plain.left, plain.right, plain.operator, type_=plain.type, modifiers=plain.modifiers)

    comparator_factory = Distances  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


@compiles(Distance, "postgresql")
def _compile_distance(element: Distance, compiler: SQLCompiler, **kw: Any) -> str:
    schema = extension_schema(compiler.dialect)
    if schema is None:
        text: str = compiler.visit_binary(element, **kw)  # type: ignore[no-untyped-call]
        return text
    left, right = (compiler.process(side, **kw) for side in (element.left, element.right))
    operator = f"{compiler.preparer.quote(schema)}.{element.operator.opstring}"  # type: ignore[attr-defined]
    return f"{left} OPERATOR({operator}) {right}"


@compiles(Vector, "postgresql")
def _compile_type(type_: Vector, compiler: Any, **kw: Any) -> str:
    schema = extension_schema(compiler.dialect)
    spec: str = type_.get_col_spec(**kw)
    return spec if schema is None else f"{compiler.dialect.identifier_preparer.quote(schema)}.{spec}"


class vector_bytes(FunctionElement[Any]):  # noqa: N801 -- a SQL function
    """``vector_send(column)``: a vector as bytes, which every driver reads 100 times faster than its text.

    A text result carries the 6 KB of 1,536 dimensions as hexadecimal digits; printing and parsing decimal numbers
    takes the server and the client half a millisecond each.
    """

    name = "vector_send"
    type = Vector()
    inherit_cache = True


@compiles(vector_bytes, "postgresql")
def _compile_vector_bytes(element: vector_bytes, compiler: SQLCompiler, **kw: Any) -> str:
    schema = extension_schema(compiler.dialect)
    prefix = "" if schema is None else f"{compiler.preparer.quote(schema)}."
    return f"{prefix}{element.name}({compiler.process(element.clauses, **kw)})"


def extension_schema(dialect: Dialect) -> str | None:
    """Return the schema to qualify the extension's names with, or None where the search_path finds them."""
    return getattr(dialect, EXTENSION_SCHEMA, None)


def _binary(array: vectors.Array) -> BinaryVector:
    return BinaryVector(vectors.to_binary(array))


def _takes_binary(dialect: Dialect) -> bool:
    """Whether every connection of this dialect knows :class:`BinaryVector`.

    SQLAlchemy copies psycopg's adapters when an engine is made; an engine older than this module's import has none
    of ours, and takes text.
    """
    adapters = getattr(dialect, "_psycopg_adapters_map", None)
    if not isinstance(adapters, AdaptersMap):
        return False
    try:
        adapters.get_dumper(BinaryVector, PyFormat.AUTO)
    except psycopg.ProgrammingError:
        return False
    return True


class VectorMapped(Mapped[_T]):
    """``Mapped`` for a vector column: ``embedding: VectorMapped[Array | None] = vector_column(1536)``."""

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any) -> VectorAttribute[_T]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> _T: ...
        def __get__(self, instance: object | None, owner: Any) -> VectorAttribute[_T] | _T: ...


if TYPE_CHECKING:

    class VectorAttribute(InstrumentedAttribute[_T]):  # pyright: ignore[reportIncompatibleVariableOverride]
        # What a type checker sees of ``Document.embedding``.

        def cosine_distance(self, other: object, /) -> ColumnElement[float]: ...
        def l2_distance(self, other: object, /) -> ColumnElement[float]: ...
        def max_inner_product(self, other: object, /) -> ColumnElement[float]: ...
        def l1_distance(self, other: object, /) -> ColumnElement[float]: ...
