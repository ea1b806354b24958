"""The passages around a hit in its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Text, any_, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY

from pgcorpus.errors import SearchError
from pgcorpus.repositories.hits import VIEW_COLUMNS, DocumentView, Hit
from pgcorpus.repositories.search.running import Line, fetch
from pgcorpus.repositories.target import SCOPE, Statement, Target


def with_context(
    line: Line,
    target: Target,
    hits: Sequence[Hit[Any]],
    width: int,
    parameters: Mapping[str, Any],
) -> list[Hit[Any]]:
    """Return the hits with their neighbours.

    Args:
        line: The search's.
        target: A document's class.
        hits: Of documents that tell their ``id`` and ``source``.
        width: Passages wanted on each side.
        parameters: Those of the scope.

    Raises:
        SearchError: The rows are no documents with a source.
    """
    if not (target.is_document and target.scoped):
        raise SearchError("context needs documents with a source and a position")
    wanted = [hit.document.id for hit in hits if hit.document.source is not None]
    if not wanted:
        return list(hits)
    sources = sorted({hit.document.source for hit in hits if hit.document.source is not None})
    arguments = {SCOPE: parameters[SCOPE], "pgcorpus_hits": wanted, "pgcorpus_sources": sources}
    before: dict[int, list[DocumentView]] = {}
    after: dict[int, list[DocumentView]] = {}
    for hit_id, place, *values in fetch(line, neighbours, (target, width), arguments):
        (before if place < 0 else after).setdefault(hit_id, []).append(DocumentView(*values))
    return [
        hit._replace(before=tuple(before.get(hit.document.id, ())), after=tuple(after.get(hit.document.id, ())))
        for hit in hits
    ]


def neighbours(target: Target, width: int, _condition: None = None) -> Statement:
    """Return the neighbours of hits: the hit's id, the place beside it, and the passage's columns.

    Only ids are numbered; the texts are fetched for the neighbours alone.
    """
    model = target.model
    number = func.row_number().over(partition_by=model.source, order_by=(model.position, model.id)).label("number")
    numbered = (
        select(model.id, model.source, number)
        .where(*target.conditions(), model.source == any_(bindparam("pgcorpus_sources", type_=ARRAY(Text))))
        .cte("numbered")
    )
    hit, other = numbered.alias("hit"), numbered.alias("other")
    place = (other.c.number - hit.c.number).label("place")
    reach: Any = literal_column(str(int(width)))
    statement: Statement = (
        select(hit.c.id.label("hit_id"), place, *(getattr(model, name).label(name) for name in VIEW_COLUMNS))
        .join(other, other.c.source == hit.c.source)
        .join(model, model.id == other.c.id)
        .where(
            *target.conditions(),
            hit.c.id == any_(bindparam("pgcorpus_hits", type_=ARRAY(BigInteger))),
            place.element.between(-reach, reach),
            other.c.id != hit.c.id,
        )
        .order_by(hit.c.id, place)
    )
    return statement
