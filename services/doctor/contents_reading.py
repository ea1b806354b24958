"""The contents read: of a few collections both ends, or all documents in pages; no statement reads a whole table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, TextClause, text

from pgcorpus.models import SCHEMA
from pgcorpus.services.doctor.aside import aside
from pgcorpus.services.doctor.extension import schema_of_extension
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.tallies import CollectionContents, Tally

# A sample: of the newest collections the oldest and the newest documents, between which a model may have changed.
COLLECTIONS = 10
END = 20
# Of all: so many documents in a statement.
PAGE = 2_000

# Of a bigint, which is what an id is; one less is no bigint to SQL, but a number and its sign.
_HIGHEST = 2**63 - 1
_LOWEST = -_HIGHEST

_COLLECTIONS = f"""
    SELECT id, tenant_id, name, language, embedding_model FROM {SCHEMA}.collections
    WHERE shadow_of IS NULL ORDER BY id DESC
"""  # noqa: S608

_KEYS = text(f"SELECT key FROM {SCHEMA}.documents WHERE collection_id = :collection AND id = ANY (:ids) ORDER BY id")  # noqa: S608


def can_read_contents(facts: Facts) -> bool:
    """Say whether the role can read what is asked for here, and nobody holds the tables."""
    extension = facts.extension
    return (
        not facts.locks
        and bool(extension and extension.usable)
        and facts.can_read("collections", "embedding_model", "shadow_of", "language")
        and facts.can_read("documents", "embedding", "content_hash", "language")
    )


def read_sample(connection: Connection, facts: Facts) -> list[CollectionContents]:
    """Read some documents of some collections, by the primary key: at most 400 in one statement."""
    with aside(connection):
        collections = _collections(connection, COLLECTIONS)
        tallies: dict[int, Tally] = defaultdict(Tally)
        for row in connection.execute(_sample(facts), {"ids": [each.id for each in collections]}):
            tallies[row.collection_id].add(row)
    return [tallies[each.id].contents(each) for each in collections]


def read_all(connection: Connection, facts: Facts) -> list[CollectionContents]:
    """Read all documents, a page in each transaction, unless the caller's is around them."""
    with aside(connection):
        collections = _collections(connection, None)
    return [_read_whole(connection, facts, each) for each in collections]


def _collections(connection: Connection, limit: int | None) -> list[CollectionContents]:
    rows = connection.execute(text(f"{_COLLECTIONS} LIMIT :limit"), {"limit": limit})
    return [CollectionContents(*row) for row in rows]


def _read_whole(connection: Connection, facts: Facts, collection: CollectionContents) -> CollectionContents:
    tally = Tally()
    for row in _pages(connection, _page(facts), collection.id):
        tally.add(row)
    return tally.contents(collection)


def _pages(connection: Connection, statement: TextClause, collection: int) -> Iterator[Any]:
    """Yield a collection's documents by their ids, which may be negative."""
    after = _LOWEST
    while True:
        with aside(connection):
            rows = connection.execute(statement, {"collection": collection, "after": after}).all()
        yield from rows
        if len(rows) < PAGE:
            return
        after = rows[-1].id


def read_keys(connection: Connection, collection: int, ids: Iterable[int]) -> list[str]:
    """Return the keys of documents."""
    with aside(connection):
        return list(connection.scalars(_KEYS, {"collection": collection, "ids": list(ids)}))


# What is read of a document

# Where it has no statistics, the planner would read and sort a whole collection to find an end of it, and whole rows to
# find a few. So both ends are asked for in the order of the key, and each row by itself.
_IDS = f"SELECT collection_id, id FROM {SCHEMA}.documents WHERE (collection_id, id)"  # noqa: S608
_OLDEST = f"{_IDS} >= (collection.id, {_LOWEST}) ORDER BY collection_id, id LIMIT {END}"
_NEWEST = f"{_IDS} <= (collection.id, {_HIGHEST}) ORDER BY collection_id DESC, id DESC LIMIT {END}"
_NEXT = f"{_IDS} > (:collection, :after) ORDER BY collection_id, id LIMIT {PAGE}"
_ROW = f"SELECT * FROM {SCHEMA}.documents WHERE collection_id = wanted.collection_id AND id = wanted.id LIMIT 1"  # noqa: S608


def _sample(facts: Facts) -> TextClause:
    return text(f"""
        SELECT {_columns(facts)}, d.content_hash AS hash, false AS stale
        FROM unnest(CAST(:ids AS bigint[])) AS collection (id)
        CROSS JOIN LATERAL (({_OLDEST}) UNION ({_NEWEST})) AS wanted
        CROSS JOIN LATERAL ({_ROW}) AS d
        WHERE d.collection_id = collection.id
        ORDER BY d.id
    """)  # noqa: S608


def _page(facts: Facts) -> TextClause:
    """The hash is the content's own, whatever the column says."""
    return text(f"""
        SELECT {_columns(facts)}, hashed.hash, d.content_hash <> hashed.hash AS stale
        FROM ({_NEXT}) AS wanted
        CROSS JOIN LATERAL ({_ROW}) AS d
        CROSS JOIN LATERAL (SELECT {hash_of("d.content")} AS hash) AS hashed
        WHERE d.collection_id = :collection
        ORDER BY d.id
    """)  # noqa: S608


def hash_of(content: str) -> str:
    """Return the expression of :func:`pgcorpus.models.content_hash`."""
    return f"sha256(convert_to({content}, 'UTF8'))"


def _columns(facts: Facts) -> str:
    """Norm, and length and number of the components that are not zero: those above it, and those below.

    binary_quantize() has a 1 for each that is above; there is no other way to the components that takes no
    millisecond a row.
    """
    schema = schema_of_extension(facts)
    minus = f"OPERATOR({schema}.-)"
    above = f"{schema}.binary_quantize(d.embedding)"
    below = f"{schema}.binary_quantize((d.embedding {minus} d.embedding) {minus} d.embedding)"
    return f"""
        d.collection_id, d.id, d.language, {schema}.vector_norm(d.embedding) AS norm,
        greatest(length(rtrim(CAST({above} AS text), '0')), length(rtrim(CAST({below} AS text), '0'))) AS length,
        bit_count({above}) + bit_count({below}) AS components
    """
