"""Documents picked at random, with the vectors that two collections have of them."""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import Connection, Table, func, select

from pgcorpus.models.vector import vector_bytes
from pgcorpus.vectors import Array


def sampled_vectors(
    connection: Connection, model: type[Any], one: int, other: int, size: int
) -> list[tuple[Array, Array, int]]:
    """Return the vectors in both collections, and the id, of documents that have one in each.

    Random ids are looked up in the primary key: sorting a collection by random() would read all of it.

    Args:
        connection: To the database.
        model: The mapped document class.
        one: A collection's id.
        other: Another one's.
        size: How many documents; fewer come where two ids lead to one.
    """
    table: Table = model.__table__
    in_one, in_other = table.alias("one"), table.alias("other")
    bounds = select(func.min(table.c.id), func.max(table.c.id)).where(table.c.collection_id == one)
    low, high = connection.execute(bounds).one()
    both = (
        select(vector_bytes(in_one.c.embedding), vector_bytes(in_other.c.embedding), in_one.c.id)
        .join_from(in_one, in_other, in_other.c.id == in_one.c.id)
        .where(in_one.c.collection_id == one, in_other.c.collection_id == other)
        .where(in_one.c.embedding.is_not(None), in_other.c.embedding.is_not(None))
        .order_by(in_one.c.id)
        .limit(1)
    )
    found: dict[int, tuple[Array, Array, int]] = {}
    for _ in range(size if low is not None else 0):
        row = connection.execute(both.where(in_one.c.id >= random.randint(low or 0, high or 0))).one_or_none()
        if row is not None:
            found[row[2]] = (row[0], row[1], row[2])
    return list(found.values())
