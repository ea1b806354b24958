"""What the commands note in the comments of indexes: what they built, tuned and dropped is then no drift."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from sqlalchemy import Connection

from pgcorpus.autogenerate.catalog import IndexFacts, read_index, read_indexes, run
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.indexing import with_defaults
from pgcorpus.marking import built_instead_of, is_built, mark_built, mark_tuned
from pgcorpus.names import literal, qualified
from pgcorpus.services.indexes.planning import Place


def note_built(connection: Connection, place: Place, index: VectorIndex, replaced: IndexFacts | None) -> None:
    """Note that an index was built, or of a declared one that it is there again; the comment of an invalid is kept."""
    if index.name in place.declared:
        for facts in _built(connection, place):
            _note(connection, facts, mark_built(facts.comment, built_instead_of(facts.comment) - {index.name}))
    elif (made := read_index(connection, index.name, index.schema)) is not None:
        comment = made.comment if replaced is None else replaced.comment
        _note(connection, made, mark_built(comment, built_instead_of(comment)))


def note_tuned(connection: Connection, place: Place, facts: IndexFacts, index: VectorIndex) -> None:
    """Note that a declared index gets other parameters, before it does: until then it means nothing."""
    now = with_defaults(index.method, index.options)
    if index.name in place.declared and now != facts.options:
        _note(connection, facts, mark_tuned(facts.comment, facts.options, now))


def note_dropped(connection: Connection, place: Place, facts: IndexFacts) -> None:
    """Note in those that stay that a declared index is dropped, before it is; who was there for one hands it on."""
    dropped: AbstractSet[str] = built_instead_of(facts.comment) | ({facts.name} & place.declared)
    for other in _built(connection, place) if dropped else []:
        if other.name != facts.name:
            _note(connection, other, mark_built(other.comment, built_instead_of(other.comment) | dropped))


def _built(connection: Connection, place: Place) -> list[IndexFacts]:
    """Return those of the column that a command built."""
    found = read_indexes(connection, place.table.name, place.schema)
    return [each for each in found.values() if place.column in each.columns and is_built(each.comment)]


def _note(connection: Connection, facts: IndexFacts, comment: str) -> None:
    if comment != (facts.comment or ""):
        run(connection, f"COMMENT ON INDEX {qualified(facts.schema, facts.name)} IS {literal(comment)}")
