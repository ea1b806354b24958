"""The statements of a nearest-neighbour search, as pure functions of a shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Float, and_, bindparam, case, func, inspect, literal_column, select, union_all
from sqlalchemy.orm import aliased, undefer
from sqlalchemy.sql.expression import Subquery

from pgcorpus.indexing import IndexForm
from pgcorpus.models import Metric
from pgcorpus.models.forms import distance_in
from pgcorpus.models.vector import vector_bytes
from pgcorpus.repositories.filters import compile_field
from pgcorpus.repositories.search.requests import taken
from pgcorpus.repositories.target import Statement, Target

DISTANCE = "pgcorpus_distance"
_GROUP = "pgcorpus_group"
_PLACE = "pgcorpus_place"
# The parameter of the query vector; of several, with their numbers.
QUERY = "pgcorpus_vector"
_NUMBER = "pgcorpus_query"


@dataclass(frozen=True, slots=True)
class Shape:
    """All of a search that is in its SQL text rather than in its parameters.

    Attributes:
        target: What is searched.
        columns: The attributes fetched.
        metric: How vectors are compared.
        limit: Rows returned.
        offset: Rows skipped.
        candidates: Rows taken from the index.
        exact: Compare with every row rather than ask the index.
        embedding: Whether the vector itself is fetched, last before the distance.
        group_by: A field of which each value is to come once.
        form: Of the index that is asked.
    """

    target: Target
    columns: tuple[str, ...]
    metric: Metric
    limit: int
    offset: int
    candidates: int
    exact: bool = False
    embedding: bool = False
    group_by: str | None = None
    form: IndexForm = IndexForm.VECTOR

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns fetched, without the distance."""
        return (*self.columns, self.target.column) if self.embedding else self.columns


def nearest(shape: Shape, condition: ColumnElement[bool] | None = None) -> Statement:
    """Return the search: nearest rows inside, in order outside; the last column is the distance.

    The outer query sorts by ``distance + 0``: without it the planner trusts the index's order and drops the sort,
    and an iterative scan goes on in a relaxed order.
    """
    if shape.group_by is not None:
        return _nearest_of_groups(shape, condition)
    inner = _candidates(shape, _fetched(shape), condition).subquery("candidates")
    return _in_order(select(*_answer(shape, inner)), inner, shape)


def nearest_to_each(shape: Shape, count: int, condition: ColumnElement[bool] | None = None) -> Statement:
    """Return the searches for several vectors (``pgcorpus_vector_0``, ``pgcorpus_vector_1``, ...) as one statement.

    The first column is the vector's number. Not LATERAL, which a sharded table refuses.
    """
    branches = []
    for number in range(count):
        inner = _candidates(shape, _fetched(shape, number), condition, number).subquery(f"candidates_{number}")
        answer = select(_literal(number).label(_NUMBER), *_answer(shape, inner))
        branches.append(select(*_in_order(answer, inner, shape).subquery(f"query_{number}").c))
    return union_all(*branches)


def nearest_entities(shape: Shape, condition: ColumnElement[bool] | None = None) -> Statement:
    """Return the search for mapped objects: the entity, then the distance."""
    model = shape.target.model
    inner = _candidates(shape, [*_entity_columns(shape), _distance(shape)], condition).subquery("candidates")
    entity = aliased(model, inner)
    statement: Statement = _in_order(select(entity, inner.c[DISTANCE]), inner, shape)
    return statement.options(undefer(getattr(entity, shape.target.column))) if shape.embedding else statement


def nearest_keys(shape: Shape, limit: int, condition: ColumnElement[bool] | None = None) -> Statement:
    """Return the primary keys and distances of the nearest rows, in order."""
    keys = [getattr(shape.target.model, key).label(key) for key in shape.target.keys]
    wide = replace(shape, limit=limit, offset=0, candidates=taken(shape.form, 2 * limit))
    inner = _candidates(wide, [*keys, _distance(shape)], condition).subquery("candidates")
    return _in_order(select(*inner.c), inner, wide)


def _nearest_of_groups(shape: Shape, condition: ColumnElement[bool] | None) -> Statement:
    """Return the nearest row of each group, and the nearest of those.

    Only keys and distances are sorted; the columns are fetched for the rows that are returned.
    """
    target = shape.target
    keys = [getattr(target.model, key) for key in target.keys]
    group = compile_field(shape.group_by or "", target.model).label(_GROUP)
    inner = _candidates(shape, [*keys, group, _distance(shape)], condition).subquery("candidates")
    of_group = inner.c[_GROUP]
    # Rows without a group are not one group.
    alone = [case((of_group.is_(None), inner.c[key])) for key in target.keys]
    order = (unindexed(inner.c[DISTANCE]), *_key_order(inner, target))
    place = func.row_number().over(partition_by=(of_group, *alone), order_by=order).label(_PLACE)
    placed = select(*inner.c, place).subquery("placed")
    best = _in_order(select(*placed.c).where(placed.c[_PLACE] == _literal(1)), placed, shape).subquery("best")
    same = and_(*(getattr(target.model, key) == best.c[key] for key in target.keys))
    statement: Statement = (
        select(*_columns(shape), best.c[DISTANCE])
        .join(best, same)
        .order_by(unindexed(best.c[DISTANCE]), *_key_order(best, target))
    )
    return statement


def _candidates(
    shape: Shape, columns: Sequence[Any], condition: ColumnElement[bool] | None, number: int | None = None
) -> Statement:
    target = shape.target
    statement: Statement = select(*columns).where(*target.conditions(checked=True), target.vector.is_not(None))
    if condition is not None:
        statement = statement.where(condition)
    distance = _distance(shape, number)
    if not shape.exact:
        return statement.order_by(_by_index(shape, distance, number)).limit(_literal(shape.candidates))
    if shape.group_by is not None:
        return statement  # which rows are needed is known only after grouping
    exact = unindexed(distance.element)
    return statement.order_by(exact).limit(_literal(shape.limit + shape.offset))


def _fetched(shape: Shape, number: int | None = None) -> list[Any]:
    """The columns and the distance; the primary key too, by which equal distances are ordered."""
    return [*_columns(shape), *_extra_keys(shape), _distance(shape, number)]


def _answer(shape: Shape, rows: Subquery) -> list[Any]:
    return [rows.c[name] for name in (*shape.names, DISTANCE)]


def _columns(shape: Shape) -> list[Any]:
    columns = [getattr(shape.target.model, name).label(name) for name in shape.columns]
    return [*columns, vector_bytes(shape.target.vector).label(shape.target.column)] if shape.embedding else columns


def _extra_keys(shape: Shape) -> list[Any]:
    return [getattr(shape.target.model, key).label(key) for key in shape.target.keys if key not in shape.columns]


def _entity_columns(shape: Shape) -> list[Any]:
    attributes = inspect(shape.target.model).column_attrs
    wanted = [each for each in attributes if not each.deferred or (shape.embedding and each.key == shape.target.column)]
    return [getattr(shape.target.model, each.key) for each in wanted]


def _distance(shape: Shape, number: int | None = None) -> Any:
    return getattr(shape.target.vector, shape.metric.method)(_query(shape, number)).label(DISTANCE)


def _by_index(shape: Shape, distance: Any, number: int | None) -> Any:
    """The distance that the index is in order by; of a smaller form it only chooses the rows to be compared."""
    dimensions = shape.target.dimensions
    if shape.form is IndexForm.VECTOR or dimensions is None:
        return distance
    return distance_in(shape.form, shape.target.vector, _query(shape, number), shape.metric, dimensions)


def _query(shape: Shape, number: int | None) -> Any:
    name = QUERY if number is None else f"{QUERY}_{number}"
    return bindparam(name, type_=shape.target.vector.type)


def _in_order(statement: Any, rows: Subquery, shape: Shape) -> Any:
    order = (unindexed(rows.c[DISTANCE]), *_key_order(rows, shape.target))
    return statement.order_by(*order).limit(_literal(shape.limit)).offset(_literal(shape.offset))


def _key_order(rows: Subquery, target: Target) -> list[Any]:
    """Equal distances come in the order of the key, so that pages follow each other."""
    return [rows.c[key] for key in target.keys]


def unindexed(distance: Any) -> ColumnElement[float]:
    """Return a distance by which no index is in order."""
    element: ColumnElement[float] = distance.op("+", return_type=Float())(_literal(0))
    return element


def _literal(value: int) -> Any:
    """A number in the SQL text: with a bound LIMIT a generic plan is 60 times slower."""
    return literal_column(str(int(value)))
