"""Sources into a collection: read, split, embed what is new, write, and delete what vanished."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from pgcorpus.database import session_factory
from pgcorpus.errors import VectorError
from pgcorpus.models import Document
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories import DocumentRepository, Draft, SyncReport
from pgcorpus.repositories.writing.indexes import build_missing, drop_for_first_load, is_empty, is_missing
from pgcorpus.services.chunking import keyed
from pgcorpus.services.embedding import Embedder, pad
from pgcorpus.services.sources import Source, belongs_to
from pgcorpus.vectors import Array

# A group is embedded and written together: large enough for full requests, small enough to lose little.
GROUP_PASSAGES = 1_000
GROUP_SOURCES = 200


class Stage(StrEnum):
    """What an ingest is doing."""

    EMBEDDING = "embedding"
    DELETING = "deleting what vanished"
    INDEXING = "building the vector index"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is.

    Attributes:
        stage: What it is doing.
        size: Bytes of the sources done with, of those the caller gave sizes for.
        passages: Passages read.
        embedded: Passages embedded.
    """

    stage: Stage = Stage.EMBEDDING
    size: float = 0
    passages: int = 0
    embedded: int = 0


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        sources: Sources read.
        passages: Passages they have.
        embedded: Passages that were embedded; the others were stored already.
        changes: Documents added, updated, unchanged, deleted.
        seconds: Time spent, by part: ``read``, ``embed``, ``write``, ``index``.
    """

    sources: int = 0
    passages: int = 0
    embedded: int = 0
    changes: SyncReport = field(default_factory=SyncReport)
    seconds: dict[str, float] = field(default_factory=dict)


class Ingestor:
    """Brings sources into one collection; each source changes whole or not at all.

    A second run embeds and writes only what changed, and takes up what an interrupted run left. A first load into
    an empty table builds the vector index after the data.

    Args:
        engine: The database, migrated.
        embedder: Embeds the passages; the collection remembers its model.
        collection: The collection's name.
        tenant: Whose collection.
        progress: Called after every step.
    """

    def __init__(
        self,
        engine: Engine,
        embedder: Embedder,
        collection: str = "default",
        tenant: str = DEFAULT_TENANT,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        self._engine = engine
        self._sessions = session_factory(engine)
        self._embedder = embedder
        self._collection = collection
        self._tenant = tenant
        self._notify = progress
        self._progress = Progress()
        self._wrote = False
        self._counted = 0.0  # bytes of the present group that the progress has already
        self._seconds: dict[str, float] = dict.fromkeys(("read", "embed", "write", "index"), 0.0)

    def ingest(self, sources: Iterable[Source], roots: Sequence[str] = ()) -> IngestReport:
        """Make the collection hold these sources as they are now.

        Args:
            sources: Each with all its passages; one without any is emptied.
            roots: Directories whose vanished files are deleted too; see
                :func:`pgcorpus.services.sources.belongs_to`.

        Raises:
            EmbeddingModelMismatchError: The collection was embedded with another model.
            SourceError: A source cannot be read.
            EmbeddingError: The embedder failed.
            DocumentError: A passage cannot be stored.
        """
        self._check_model()
        names: set[str] = set()
        changes = SyncReport()
        with self._index_mended():
            for group in self._groups(sources):
                changes += self._ingest_group(group)
                names.update(group)
            changes += self._delete_vanished(roots, names)
        self._build_index()
        progress = self._progress
        return IngestReport(len(names), progress.passages, progress.embedded, changes, dict(self._seconds))

    def _check_model(self) -> None:
        """Refuse a collection of another model before anything is read or paid for."""
        with self._sessions() as session:
            self._repository(session).plan_sources({})

    def _groups(self, sources: Iterable[Source]) -> Iterator[dict[str, _Read]]:
        """Read sources into groups that are embedded and written together."""
        group: dict[str, _Read] = {}
        for source in sources:
            group[source.name] = self._read(source)
            if len(group) == GROUP_SOURCES or sum(len(read.drafts) for read in group.values()) >= GROUP_PASSAGES:
                yield group
                group = {}
        if group:
            yield group

    def _read(self, source: Source) -> _Read:
        with self._timed("read"):
            pairs = keyed(source.name, source.passages())
        self._advance(passages=len(pairs))
        return _Read([Draft(key, passage.content, passage.metadata) for key, passage in pairs], source.size)

    def _ingest_group(self, group: dict[str, _Read]) -> SyncReport:
        """Embed and write; once more where another process changed the same sources in between."""
        vectors: dict[str, Array] = {}
        self._embed_missing(group, vectors)
        try:
            report = self._write(group, vectors)
        except VectorError:
            self._embed_missing(group, vectors)
            report = self._write(group, vectors)
        self._advance(size=sum(read.size for read in group.values()) - self._counted)
        self._counted = 0.0
        return report

    def _embed_missing(self, group: dict[str, _Read], vectors: dict[str, Array]) -> None:
        """Add the embeddings that neither the database nor ``vectors`` has."""
        with self._timed("read"), self._sessions() as session:
            needed = self._repository(session).plan_sources({name: read.drafts for name, read in group.items()})
        wanted = [draft for draft in needed if draft.key not in vectors]
        share = sum(read.size for read in group.values()) / max(1, sum(len(read.drafts) for read in group.values()))
        for start in range(0, len(wanted), self._embedder.batch_size):
            batch = wanted[start : start + self._embedder.batch_size]
            with self._timed("embed"):
                rows = pad(self._embedder.embed([draft.content for draft in batch]))
            vectors.update(zip((draft.key for draft in batch), rows, strict=True))
            self._counted += share * len(batch)
            self._advance(size=share * len(batch), embedded=len(batch))

    def _write(self, group: dict[str, _Read], vectors: dict[str, Array]) -> SyncReport:
        if not self._wrote:
            # Not earlier: a wrong key or model would leave an empty table without its index.
            drop_for_first_load(self._engine, Document)
            self._wrote = True
        drafts = {
            name: [replace(draft, embedding=vectors.get(draft.key)) for draft in read.drafts]
            for name, read in group.items()
        }
        with self._timed("write"), self._sessions.begin() as session:
            return self._repository(session).sync_sources(drafts)

    def _delete_vanished(self, roots: Sequence[str], names: set[str]) -> SyncReport:
        if not roots:
            return SyncReport()
        self._advance(stage=Stage.DELETING)
        with self._timed("write"), self._sessions.begin() as session:
            repository = self._repository(session)
            vanished = [
                name
                for name in repository.sources()
                if name not in names and any(belongs_to(name, root) for root in roots)
            ]
            return SyncReport(deleted=repository.delete_sources(vanished)) if vanished else SyncReport()

    @contextmanager
    def _index_mended(self) -> Iterator[None]:
        """After a failure build the index, if nothing was stored; otherwise that takes long, and the next run does."""
        try:
            yield
        except Exception:
            with suppress(SQLAlchemyError):
                if self._wrote and self._is_empty():
                    build_missing(self._engine, Document)
            raise

    def _is_empty(self) -> bool:
        with self._engine.connect() as connection:
            return is_empty(connection, Document)

    def _build_index(self) -> None:
        """Build what a first load, or an interrupted one, left out."""
        if is_missing(self._engine, Document):
            self._advance(stage=Stage.INDEXING)
            with self._timed("index"):
                build_missing(self._engine, Document)

    def _repository(self, session: Session) -> DocumentRepository:
        return DocumentRepository(session, self._collection, self._tenant, embedding_model=self._embedder.model)

    def _advance(self, *, stage: Stage | None = None, size: float = 0, passages: int = 0, embedded: int = 0) -> None:
        now = self._progress
        self._progress = Progress(stage or now.stage, now.size + size, now.passages + passages, now.embedded + embedded)
        self._notify(self._progress)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - started


@dataclass(frozen=True, slots=True)
class _Read:
    drafts: list[Draft]
    size: int
