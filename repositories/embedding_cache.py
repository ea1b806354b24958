"""Embeddings kept by their model and the hash of their text: found, stored, counted and deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Delete, LargeBinary, any_, bindparam, delete, exists, func, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, Insert
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from pgcorpus.models import CachedEmbedding, Collection, Document
from pgcorpus.repositories.search.running import fetch, open_line
from pgcorpus.repositories.target import Statement
from pgcorpus.repositories.transactions import connection_of
from pgcorpus.repositories.writing.arrays import EncodedArray, array_parameter
from pgcorpus.repositories.writing.inserting import Completion, insert_rows
from pgcorpus.repositories.writing.rows import RowMaker, Shape
from pgcorpus.vectors import Array, VectorLike, as_searchable

# Measured at 1,536 dimensions: 75,000 entries a second at 100, 97,000 at 400 and 1,000, 85,000 at 5,000.
PAGE = 1_000

# So many entries tell the length of a model's vectors: one that is damaged does not decide.
_SAMPLE = 100

_HASH = LargeBinary()
_STORED = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What is kept of one model.

    Attributes:
        model: The embedder's ``model``.
        entries: Texts.
        bytes: Of their vectors; an entry takes about 150 more.
    """

    model: str
    entries: int
    bytes: int


class EmbeddingCache:
    """The table ``pgcorpus.embedding_cache``, in the caller's transaction; nothing is committed here.

    A text is known by :func:`pgcorpus.models.content_hash`.

    Args:
        session: Any session.
        documents: The document classes whose texts are in use, for ``unused``; a host names its own here.
    """

    def __init__(self, session: Session, documents: Sequence[type[Any]] = (Document,)) -> None:
        self._session = session
        self._documents = documents

    def find(self, model: str, hashes: Iterable[bytes], dimensions: int | None = None) -> dict[bytes, Array]:
        """Return the vectors that are known, by hash.

        An entry that is damaged (of a wrong length, not finite, zero) is not among them; ``store`` replaces it.

        Args:
            model: The embedder's ``model``.
            hashes: Any number.
            dimensions: The length a vector must have; without it any.
        """
        line = open_line(self._session, CachedEmbedding)
        array = array_parameter(_HASH, line.connection)
        form = (isinstance(array.type, EncodedArray),)
        found: dict[bytes, Array] = {}
        for page in _pages(hashes):
            for key, stored in fetch(line, entries_of, form, {"model": model, "hashes": array.encode(page)}):
                if (vector := _usable(stored, dimensions)) is not None:
                    found[key] = vector
        return found

    def dimensions(self, model: str) -> int | None:
        """Return the length that a model's vectors have, as most of a few entries say; None where there are none."""
        lengths = self._session.scalars(some_lengths(model)).all()
        whole = Counter(length // _STORED.itemsize for length in lengths if length and length % _STORED.itemsize == 0)
        return whole.most_common(1)[0][0] if whole else None

    def store(self, model: str, vectors: Mapping[bytes, VectorLike]) -> int:
        """Keep vectors by hash, and return how many were written.

        What is there already stays, unless it is damaged. Two writers wait for each other at most, and fail in no
        case: rows are written in the order of their hashes.

        Args:
            model: The embedder's ``model``.
            vectors: All of one length.

        Raises:
            VectorError: A vector is not finite or zero, or its length is not that of the others.
        """
        encoded = _encoded(vectors)
        conflicts = encoded.keys() - self._insert(model, encoded, kept)
        mended = self._mend(model, {key: encoded[key] for key in conflicts}) if conflicts else 0
        return len(encoded) - len(conflicts) + mended

    def _mend(self, model: str, encoded: Mapping[bytes, bytes]) -> int:
        """Write those whose entry is damaged."""
        size = len(next(iter(encoded.values()))) // _STORED.itemsize
        whole = self.find(model, encoded, size)
        damaged = {key: value for key, value in encoded.items() if key not in whole}
        return len(self._insert(model, damaged, replaced)) if damaged else 0

    def _insert(self, model: str, encoded: Mapping[bytes, bytes], complete: Completion) -> set[bytes]:
        items = ({"model": model, "content_hash": key, "embedding": encoded[key]} for key in sorted(encoded))
        connection = connection_of(self._session, CachedEmbedding)
        pages = insert_rows(connection, RowMaker(CachedEmbedding).rows(items), complete)
        return {bytes(row.content_hash) for _, written in pages for row in written}

    def stats(self) -> list[CacheStats]:
        """Return what is kept of each model, by name; it reads the whole table, though not its vectors."""
        rows: Any = self._session.execute(per_model())
        return [CacheStats(model, entries, int(size)) for model, entries, size in rows]

    def count(self, model: str | None = None, *, older_than: timedelta | None = None, unused: bool = False) -> int:
        """Return how many entries :meth:`delete` would delete; the arguments are the same."""
        number = select(func.count()).select_from(CachedEmbedding)
        return self._session.scalar(number.where(*self._conditions(model, older_than, unused))) or 0

    def delete(
        self,
        model: str | None = None,
        *,
        older_than: timedelta | None = None,
        unused: bool = False,
        limit: int | None = None,
    ) -> int:
        """Delete the entries that meet all conditions given, without any all entries, and return how many.

        Args:
            model: Of this model.
            older_than: Stored longer ago than this.
            unused: Of texts that no document has in a collection of that model, such as those of questions. There is
                no index for it: each call reads the whole table of documents once.
            limit: At most so many, to keep transactions short.
        """
        statement = deletion(self._conditions(model, older_than, unused), limit)
        result = self._session.execute(statement, execution_options={"synchronize_session": False})
        return int(result.rowcount)  # type: ignore[attr-defined]

    def _conditions(self, model: str | None, older_than: timedelta | None, unused: bool) -> list[ColumnElement[bool]]:
        conditions = [~is_used(documents) for documents in self._documents] if unused else []
        if model is not None:
            conditions.append(CachedEmbedding.model == model)
        if older_than is not None:
            conditions.append(CachedEmbedding.created_at < func.now() - older_than)
        return conditions


def entries_of(encoded: bool, _condition: None = None) -> Statement:
    """Return the entries of a model for some hashes.

    Args:
        encoded: Whether the hashes come as one encoded parameter.
    """
    hashes: TypeEngine[Any] = EncodedArray("BYTEA") if encoded else ARRAY(_HASH)
    statement = select(CachedEmbedding.content_hash, CachedEmbedding.embedding)
    return statement.where(
        CachedEmbedding.model == bindparam("model"),
        CachedEmbedding.content_hash == any_(bindparam("hashes", type_=hashes)),
    )


def some_lengths(model: str) -> Statement:
    """Return the sizes of a few of a model's entries, in bytes."""
    statement = select(func.octet_length(CachedEmbedding.embedding))
    return statement.where(CachedEmbedding.model == model).limit(_SAMPLE)


def per_model() -> Statement:
    """Return each model with its entries and the bytes of their vectors."""
    size = func.sum(func.octet_length(CachedEmbedding.embedding))
    statement = select(CachedEmbedding.model, func.count(), size)
    return statement.group_by(CachedEmbedding.model).order_by(CachedEmbedding.model)


def kept(_shape: Shape, statement: Insert) -> Any:
    """Complete an INSERT of entries so that what is there stays; it returns the hashes of the others."""
    return statement.on_conflict_do_nothing(index_elements=_KEY).returning(CachedEmbedding.content_hash)


def replaced(_shape: Shape, statement: Insert) -> Any:
    """Complete an INSERT of entries so that what is there is replaced; it returns the hashes."""
    given = statement.excluded
    values = {"embedding": given.embedding, "created_at": given.created_at}
    updated = statement.on_conflict_do_update(index_elements=_KEY, set_=values)
    return updated.returning(CachedEmbedding.content_hash)


def is_used(documents: type[Any]) -> ColumnElement[bool]:
    """Say whether a document has an entry's text in a collection of its model."""
    document = documents.__table__.c
    collection = Collection.__table__.c
    return exists(
        select(document.content_hash)
        .join_from(documents.__table__, Collection.__table__, document.collection_id == collection.id)
        .where(
            document.content_hash == CachedEmbedding.content_hash,
            collection.embedding_model == CachedEmbedding.model,
        )
    )


def deletion(conditions: Sequence[ColumnElement[bool]], limit: int | None) -> Delete:
    """Delete the entries that meet all conditions, at most so many."""
    if limit is None:
        return delete(CachedEmbedding).where(*conditions)
    keys = select(CachedEmbedding.model, CachedEmbedding.content_hash).where(*conditions).limit(limit)
    return delete(CachedEmbedding).where(tuple_(CachedEmbedding.model, CachedEmbedding.content_hash).in_(keys))


_KEY = ("model", "content_hash")


def _pages(hashes: Iterable[bytes]) -> Iterator[list[bytes]]:
    remaining = iter(hashes)
    while page := list(islice(remaining, PAGE)):
        yield page


def _encoded(vectors: Mapping[bytes, VectorLike]) -> dict[bytes, bytes]:
    encoded: dict[bytes, bytes] = {}
    dimensions: int | None = None
    for key, given in vectors.items():
        vector = as_searchable(given, dimensions)
        dimensions = vector.size
        encoded[key] = vector.astype(_STORED, copy=False).tobytes()
    return encoded


def _usable(stored: bytes, dimensions: int | None) -> Array | None:
    """Return an entry's vector; None where it is damaged."""
    try:
        return as_searchable(np.frombuffer(stored, _STORED).astype(np.float32), dimensions)
    except ValueError:  # VectorError is one, and so is what numpy raises for bytes that are no whole numbers
        return None
