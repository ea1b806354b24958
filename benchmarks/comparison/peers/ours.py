"""pgcorpus itself, in each way that people search and write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from benchmarks.comparison.peers.base import Peer, Search
from benchmarks.data import Row
from benchmarks.target import Target
from benchmarks.terms import COLLECTION, K
from pgcorpus.database import autocommit, create_engine, session_factory
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.tuning import DEFAULT_EF_SEARCH

# On a session that is held, of the AUTOCOMMIT view of the engine.
HELD: dict[str, dict[str, Any]] = {
    "search": {},
    "entities": {"entities": True},
    "embedding": {"include_embedding": True},
}
# A new session, and with it a transaction, for each search.
NEW: dict[str, dict[str, Any]] = {"session": {}, "entities_session": {"entities": True}, "psycopg2": {}}


class This(Peer):
    """pgcorpus."""

    distributions = ("pgcorpus", "sqlalchemy", "psycopg", "pgvector")

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._engines: dict[str, sessionmaker[Session]] = {}

    def searcher(self, mode: str, field: str | None = None) -> Search:
        where = None if field is None else {f"meta.{field}": 0}
        # At the default nothing is set, as by whoever leaves it out.
        ef_search = {} if self.target.ef_search == DEFAULT_EF_SEARCH else {"ef_search": self.target.ef_search}
        if mode in HELD:
            return self._held(where, HELD[mode] | ef_search)
        return self._new(self._sessions("psycopg2" if mode == "psycopg2" else "psycopg"), where, NEW[mode] | ef_search)

    def numbers(self, found: Any) -> list[int]:
        return [int(hit.document.key) for hit in found]

    def write(self, mode: str, rows: Sequence[Row]) -> None:
        write: Callable[[DocumentRepository, Sequence[Row]], object] = WRITES[mode]
        with self._sessions("psycopg").begin() as session:
            write(DocumentRepository(session, COLLECTION), rows)

    def _held(self, where: Any, options: dict[str, Any]) -> Search:
        session = session_factory(autocommit(self._sessions("psycopg").kw["bind"]))()

        def search(vector: Any) -> Any:
            return DocumentRepository(session, COLLECTION).search(vector, K, where=where, **options)

        return search

    def _new(self, sessions: sessionmaker[Session], where: Any, options: dict[str, Any]) -> Search:
        def search(vector: Any) -> Any:
            with sessions() as session:
                return DocumentRepository(session, COLLECTION).search(vector, K, where=where, **options)

        return search

    def _sessions(self, driver: str) -> sessionmaker[Session]:
        if driver not in self._engines:
            self._engines[driver] = session_factory(create_engine(self.target.url(driver)))
        return self._engines[driver]


def _drafts(rows: Sequence[Row]) -> Iterator[Draft]:
    for row in rows:
        yield Draft(str(row.number), row.content, row.metadata, row.vector, source=row.source, position=row.position)


def _documents(rows: Sequence[Row]) -> list[Document]:
    return [
        Document(
            key=str(row.number),
            content=row.content,
            source=row.source,
            position=row.position,
            meta=row.metadata,
            embedding=row.vector,
        )
        for row in rows
    ]


WRITES: dict[str, Callable[[Any, Sequence[Row]], object]] = {
    # "keep": the index is there or not, as the run has arranged it.
    "bulk_load": lambda repository, rows: repository.bulk_load(_drafts(rows), index="keep"),
    "add_many": lambda repository, rows: repository.add_many(_documents(rows)),
    "upsert": lambda repository, rows: repository.upsert(list(_drafts(rows))),
}
