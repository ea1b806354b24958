"""New ORM instances into a table, persistent in their session afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.orm.attributes import instance_dict, instance_state
from sqlalchemy.sql.elements import ClauseElement

from pgcorpus.repositories.transactions import connection_of
from pgcorpus.repositories.writing.drafts import columns_of, has_default
from pgcorpus.repositories.writing.inserting import Completion, insert_rows
from pgcorpus.repositories.writing.rows import RowMaker, Shape


def forget_nones(model: type[Any], instances: Iterable[Any]) -> None:
    """Take None for not given where a column has a default: so does a flush, but of JSON it stores the null."""
    defaulted = [name for name, column in columns_of(model).items() if has_default(column)]
    for values in map(instance_dict, instances):
        for name in defaulted:
            if name in values and values[name] is None:
                del values[name]


def flush_new(session: Session, model: type[Any], instances: Sequence[Any]) -> None:
    """Insert instances and have them in the session as its flush leaves them.

    A flush takes 130 microseconds for a row of 1,536 dimensions, an INSERT from arrays 70. It is used where nobody
    can tell the difference: no events to be called, no related objects to be saved.

    Args:
        session: In a savepoint that is rolled back after a failure; that makes the instances transient again.
        model: The instances' class.
        instances: With what identifies them set but for the number that the server gives.
    """
    session.add_all(instances)
    if _is_simple(session, model, instances):
        _insert(session, model, instances)
    else:
        session.flush()


def _is_simple(session: Session, model: type[Any], instances: Sequence[Any]) -> bool:
    mapper: Mapper[Any] = inspect(model)
    if mapper.inherits or mapper.polymorphic_on is not None or len(mapper.tables) != 1:
        return False
    events = mapper.dispatch.before_insert, mapper.dispatch.after_insert
    if any((*events, session.dispatch.before_flush, session.dispatch.after_flush)):
        return False
    related = frozenset(mapper.relationships.keys())
    return all(type(each) is model and _has_plain_values(instance_dict(each), related) for each in instances)


def _has_plain_values(values: dict[str, Any], related: frozenset[str]) -> bool:
    return related.isdisjoint(values) and not any(isinstance(value, ClauseElement) for value in values.values())


def _insert(session: Session, model: type[Any], instances: Sequence[Any]) -> None:
    maker = RowMaker(model, checked=True, noun="document")
    names = columns_of(model).keys()
    given = ({name: value for name, value in instance_dict(each).items() if name in names} for each in instances)
    rows = list(maker.rows(given))
    by_key: dict[str, dict[str, Any]] = {}
    for instance, (shape, row) in zip(instances, rows, strict=True):
        values = instance_dict(instance)
        values.update(zip(shape.attributes, row, strict=True))
        by_key[values["key"]] = values
    for _, returned in insert_rows(connection_of(session, model), rows, _returning(model)):
        for row in returned:
            by_key[row.key].update(row._mapping)
    # What a flush ends with: the only way to have a savepoint's rollback make them transient again.
    session._register_persistent({instance_state(each) for each in instances})
    if expressions := inspect(model).column_attrs.keys() - names:
        for instance in instances:
            session.expire(instance, expressions)


def _returning(model: type[Any]) -> Completion:
    """Return the key and what the server made; the order of the rows is not that of the parameters."""
    columns = columns_of(model)

    def complete(shape: Shape, statement: Insert) -> Any:
        made = [column.label(name) for name, column in columns.items() if name not in shape.attributes]
        return statement.returning(shape.table.c.key, *made)

    return complete
