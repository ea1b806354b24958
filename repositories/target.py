"""What a repository's statements are about: a mapped class, its vector column, and whether collections scope it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    LargeBinary,
    Text,
    bindparam,
    exists,
    func,
    inspect,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import Mapper

from pgcorpus.errors import DefinitionError, SearchError
from pgcorpus.models import Collection, DocumentMixin, Metric
from pgcorpus.repositories.hits import VIEW_COLUMNS

# What a light row leaves out unless it is named: large, or nothing for a reader.
_HEAVY = (VECTOR, HALFVEC, BIT, SPARSEVEC, LargeBinary, TSVECTOR)
_MADE_COLUMNS = frozenset({"collection_id", "id", "content_hash", "version", "created_at", "updated_at"})
# The parameters of a scope: a collection's id, and all that is remembered of it, as one text.
SCOPE = "pgcorpus_scope"
SEEN = "pgcorpus_seen"
SEEN_COLUMNS = ("tenant_id", "name", "embedding_model", "distance", "language")
SEEN_SEPARATOR = "/"

_VECTOR_METHODS = ("hnsw", "ivfflat")


# SQLAlchemy 2.0 and 2.1 disagree on the type of a row of unknown length.
Statement: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Target:
    """A mapped class as a repository sees it.

    Attributes:
        model: The class.
        column: The attribute of the vector column.
        scoped: Whether statements are limited to the collection given as ``pgcorpus_scope``.
    """

    model: Any
    column: str
    scoped: bool = False

    @property
    def vector(self) -> Any:
        """The vector attribute."""
        return getattr(self.model, self.column)

    @property
    def column_name(self) -> str:
        """The name of the vector column in the database."""
        return _column_name(self.model, self.column)

    @property
    def table(self) -> Any:
        """The class's table."""
        return _table(self.model)

    @property
    def dimensions(self) -> int | None:
        """The length of the vectors, if the column has one."""
        dimensions: int | None = getattr(self.vector.type, "dim", None)
        return dimensions

    @property
    def is_document(self) -> bool:
        """Whether the class has a document's columns."""
        return issubclass(self.model, DocumentMixin)

    @property
    def keys(self) -> tuple[str, ...]:
        """The attributes of the primary key, in its order."""
        mapper = _mapper(self.model)
        return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)

    @property
    def light_columns(self) -> tuple[str, ...]:
        """The attributes of a row without its vectors."""
        return VIEW_COLUMNS if self.is_document else _light_columns(self.model)

    @property
    def written_columns(self) -> tuple[str, ...]:
        """The attributes that a row is written with, its vectors among them; the rest the database makes."""
        return tuple(name for name in _table_columns(self.model) if not (self.is_document and name in _MADE_COLUMNS))

    def is_vector(self, name: str) -> bool:
        """Whether an attribute is a column of vectors of float32."""
        return name in _vector_columns(self.model)

    def checked_columns(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names if all are columns.

        Raises:
            SearchError: One is not.
        """
        known = [attribute.key for attribute in _mapper(self.model).column_attrs]
        if len(set(names)) < len(names):
            raise SearchError("columns names a column twice")
        for name in names:
            if name not in known:
                raise SearchError(f"unknown column {name!r}; the columns are {', '.join(known)}")
        if not names:
            raise SearchError("columns names no column; leave it out for all of them")
        return names

    def conditions(self, *, checked: bool = False) -> tuple[ColumnElement[bool], ...]:
        """Return the scope: an id, never a name to join, so that partitions and shards are pruned.

        Args:
            checked: Whether nothing is to match unless the id is still that of the collection's name and embedding
                model: what is remembered of a collection is confirmed by the statement that uses it.
        """
        if not self.scoped:
            return ()
        # In the text, not a parameter: one prepared statement for collections of every size would have one plan.
        number = bindparam(SCOPE, type_=BigInteger, literal_execute=True)
        scope: ColumnElement[bool] = self.model.collection_id == number
        return (scope, _still_the_same()) if checked else (scope,)

    def indexed_metrics(self) -> frozenset[Metric]:
        """Return the metrics that a declared index of the column serves."""
        return _indexed_metrics(self.model, self.column)


def make_target(model: Any, column: str | None = None, *, scoped: bool = False) -> Target:
    """Return the target of a mapped class.

    Args:
        model: The class.
        column: The attribute of its vector column; not needed where there is one only.
        scoped: Whether its rows belong to collections.

    Raises:
        DefinitionError: The class is not mapped, or has no such vector column, or several to choose from.
    """
    vector_columns = _vector_columns(model)
    if column is None and len(vector_columns) == 1:
        return Target(model, vector_columns[0], scoped)
    if column in vector_columns:
        return Target(model, column, scoped)
    has = ", ".join(vector_columns) or "none"
    raise DefinitionError(f"name the vector column of {model.__name__} (column=...); it has {has}")


@lru_cache(maxsize=256)
def _vector_columns(model: Any) -> tuple[str, ...]:
    return tuple(
        attribute.key for attribute in _mapper(model).column_attrs if isinstance(attribute.columns[0].type, VECTOR)
    )


@lru_cache(maxsize=256)
def _table(model: Any) -> Any:
    return _mapper(model).local_table


@lru_cache(maxsize=256)
def _column_name(model: Any, column: str) -> str:
    name: str = _mapper(model).columns[column].name
    return name


@lru_cache(maxsize=256)
def _table_columns(model: Any) -> tuple[str, ...]:
    """The attributes of the table's own columns that can be written: no expression, nothing computed."""
    columns = ((each.key, each.columns[0]) for each in _mapper(model).column_attrs)
    return tuple(key for key, column in columns if isinstance(column, Column) and column.computed is None)


@lru_cache(maxsize=256)
def _light_columns(model: Any) -> tuple[str, ...]:
    return tuple(
        attribute.key
        for attribute in _mapper(model).column_attrs
        if not attribute.deferred and not isinstance(attribute.columns[0].type, _HEAVY)
    )


def _vector_indexes(model: type[Any], column: str) -> list[Any]:
    name = _mapper(model).columns[column].name
    return [
        index
        for index in model.__table__.indexes
        if index.dialect_options["postgresql"]["using"] in _VECTOR_METHODS
        and name in index.dialect_options["postgresql"]["ops"]
    ]


@lru_cache(maxsize=256)
def _indexed_metrics(model: Any, column: str) -> frozenset[Metric]:
    name = _mapper(model).columns[column].name
    classes = {index.dialect_options["postgresql"]["ops"][name] for index in _vector_indexes(model, column)}
    return frozenset(metric for metric in Metric if metric.opclass("vector") in classes)


def _mapper(model: type[Any]) -> Mapper[Any]:
    try:
        mapper: Mapper[Any] = inspect(model)
    except NoInspectionAvailable as exc:
        raise DefinitionError(f"{model!r} is not a mapped class") from exc
    return mapper


def _still_the_same() -> ColumnElement[bool]:
    """One look at the collection before the scan: it does not depend on the row, so the server asks it once."""
    columns = [func.coalesce(getattr(Collection, name), literal_column("''")) for name in SEEN_COLUMNS]
    seen = func.concat_ws(literal_column(f"'{SEEN_SEPARATOR}'"), *columns)
    number = bindparam(SCOPE, type_=BigInteger, literal_execute=True)
    return exists(select(literal_column("1")).where(Collection.id == number, seen == bindparam(SEEN, type_=Text)))
