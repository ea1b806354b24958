"""One ingest: read, split, plan, embed what is new, write, and delete what vanished."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from threading import Event, Lock
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from pgcorpus import events
from pgcorpus.errors import CollectionNotFoundError, TextTooLongError, VectorError
from pgcorpus.models import DIMENSIONS, Document, content_hash
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories import DocumentRepository, SyncReport
from pgcorpus.repositories.embedding_cache import EmbeddingCache
from pgcorpus.repositories.writing.indexes import build_missing, drop_for_first_load, is_empty, is_missing
from pgcorpus.services.embedding import pad
from pgcorpus.services.embedding.asking import checked
from pgcorpus.services.embedding.telling import embedding
from pgcorpus.services.ingesting.ahead import ahead
from pgcorpus.services.ingesting.groups import GROUP_PASSAGES, GROUP_SOURCES, Group, read_groups
from pgcorpus.services.ingesting.ports import Ports
from pgcorpus.services.ingesting.report import IngestReport, Progress, Stage
from pgcorpus.services.sources import Source, belongs_to

T = TypeVar("T")

# English has a token for every four bytes or so (OpenAI, "What are tokens and how to count them?").
BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Plan:
    """What an ingest is to do, and how.

    Attributes:
        collection: The collection's name.
        tenant: Whose collection.
        embedding_model: The identity of the embedder.
        embedding_dimensions: The length of its vectors, where it tells without asking a server.
        model: The mapped document class.
        piece: Texts that the embedder is given at once.
        depth: Groups that are embedded at once.
        cached: Whether embeddings are kept by their text.
        dry_run: Neither embed nor write.
        notify: Called after every step, from several threads, one at a time.
    """

    collection: str
    embedding_model: str
    embedding_dimensions: int | None = None
    tenant: str = DEFAULT_TENANT
    model: type[Any] = Document
    piece: int = 256
    depth: int = 2
    cached: bool = False
    dry_run: bool = False
    notify: Callable[[Progress], None] = lambda _: None

    def repository(self, session: Session) -> DocumentRepository:
        """Return the repository of the collection."""
        return DocumentRepository(
            session, self.collection, self.tenant, embedding_model=self.embedding_model, model=self.model
        )

    @property
    def dimensions(self) -> int:
        """The length of the column."""
        dimensions: int = self.model.__table__.c.embedding.type.dim or DIMENSIONS
        return dimensions


class StoppedError(Exception):
    """The ingest was asked to stop."""


@dataclass
class Run:
    """The state of one ingest.

    Attributes:
        plan: What to do.
        ports: The database and the embedder.
        stop: Set by who wants it to end; what was written is whole.
    """

    plan: Plan
    ports: Ports
    stop: Event = field(default_factory=Event)
    _progress: Progress = field(default_factory=Progress)
    _lock: Lock = field(default_factory=Lock)
    _wrote: bool = False
    _cached: int = 0
    _unpaid_bytes: int = 0
    _seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "embed", "write", "index"), 0.0))

    def ingest(self, sources: Iterable[Source], roots: Sequence[str], prefix: str | None) -> IngestReport:
        """Make the collection hold these sources as they are now; see :class:`Ingestor`."""
        plan = self.plan
        named = {"collection": plan.collection, "tenant": plan.tenant, "dry_run": plan.dry_run}
        with events.told(events.IngestEvent, **named) as known:
            try:
                report = self._ingest(sources, roots, prefix)
                known |= {"sources": report.sources, **asdict(report.changes)}
            finally:
                known |= self._account()
        return report

    def _account(self) -> dict[str, Any]:
        """Return what was done until now, for an event."""
        seconds = {f"{part}_seconds": spent for part, spent in self._seconds.items()}
        return {"passages": self._progress.passages, "embedded": self._progress.embedded, **seconds}

    def _ingest(self, sources: Iterable[Source], roots: Sequence[str], prefix: str | None) -> IngestReport:
        # A collection of another model, or vectors too long for it, are refused before anything is read or paid for.
        pad(np.empty(self.plan.embedding_dimensions or 0, np.float32), self.plan.dimensions)
        self._transaction(lambda repository: repository.plan_sources({}))
        names: set[str] = set()
        changes = SyncReport()
        with self._index_mended(), closing(self._finished(sources)) as groups:
            for group in groups:
                changes += self._complete(group)
                names.update(group.shelves)
            changes += self._delete_vanished(roots, prefix, names)
        self._build_index()
        return self._report(len(names), changes)

    def _report(self, sources: int, changes: SyncReport) -> IngestReport:
        return IngestReport(
            sources,
            self._progress.passages,
            self._progress.embedded,
            self._cached,
            changes,
            tokens=math.ceil(self._unpaid_bytes / BYTES_PER_TOKEN),
            seconds=dict(self._seconds),
            dry_run=self.plan.dry_run,
        )

    # Reading and embedding

    def _finished(self, sources: Iterable[Source]) -> Generator[Group, None, None]:
        """Yield groups whose embeddings are there, in order, while the next ones are being embedded."""
        planned = self._planned(sources)
        if self.plan.dry_run:
            return planned
        return ahead(planned, self._embed, self.plan.depth, stop=self.stop.set, drop=Group.close)

    def _planned(self, sources: Iterable[Source]) -> Generator[Group, None, None]:
        groups = read_groups(sources, GROUP_PASSAGES, GROUP_SOURCES)
        while True:
            self._check_stop()
            with self._timed("read"):
                group = next(groups, None)
            if group is None:
                return
            with group.closed_on_failure():
                self._find_needed(group)
                self._advance(passages=group.passages)
            yield group

    def _find_needed(self, group: Group) -> None:
        with self._timed("read"):
            plan = self._transaction(lambda repository: repository.plan_sources(group.shelves))
        group.needed, group.foreseen = plan.needed, plan.report

    def _embed(self, group: Group) -> None:
        """Give the passages of a group the embeddings that neither the database has nor they themselves."""
        wanting = group.wanting()
        share = group.size / max(1, group.passages)
        for start in range(0, len(wanting), self.plan.piece):
            self._check_stop()
            piece = wanting[start : start + self.plan.piece]
            self._embed_piece(group, piece)
            group.counted += share * len(piece)
            self._advance(size=share * len(piece), embedded=len(piece))

    def _embed_piece(self, group: Group, piece: Sequence[tuple[str, int]]) -> None:
        with self._timed("embed"):
            try:
                texts = [group.shelves[name].text(place) for name, place in piece]
                with embedding(self.plan.embedding_model, len(texts)):
                    vectors = checked(self.ports.embed(texts), len(texts))
            except TextTooLongError as exc:
                name, place = piece[exc.position]
                raise TextTooLongError(f"{name}, passage {place}: {exc}", exc.position) from exc
            for (name, place), vector in zip(piece, pad(vectors, self.plan.dimensions), strict=True):
                group.shelves[name].put(place, vector)

    # Writing

    def _complete(self, group: Group) -> SyncReport:
        try:
            self._check_stop()
            changes = self._foresee(group) if self.plan.dry_run else self._write_or_retry(group)
        finally:
            group.close()
        self._advance(size=group.size - group.counted, stored=group.passages)
        return changes

    def _foresee(self, group: Group) -> SyncReport:
        """Return what would be written, and count what would be embedded and paid for."""
        texts = [group.shelves[name].text(place) for name, place in group.wanting()]
        unpaid = self._unpaid(texts)
        self._cached += len(texts) - len(unpaid)
        self._unpaid_bytes += sum(len(text.encode()) for text in unpaid)
        self._advance(embedded=len(texts))
        return group.foreseen

    def _unpaid(self, texts: Sequence[str]) -> Collection[str]:
        if not self.plan.cached:
            return texts
        by_hash = {content_hash(text): text for text in texts}
        known = self.ports.transaction(lambda session: EmbeddingCache(session).find(self.plan.embedding_model, by_hash))
        return [text for key, text in by_hash.items() if key not in known]

    def _write_or_retry(self, group: Group) -> SyncReport:
        """Write; again where another process changed the same sources in between, at last with all embeddings."""
        for find_needed in (self._find_needed, Group.need_all):
            try:
                return self._write(group)
            except VectorError:
                find_needed(group)
                self._embed(group)
        return self._write(group)

    def _write(self, group: Group) -> SyncReport:
        if not self._wrote:
            # Not earlier: a wrong key or model would leave an empty table without its index.
            self.ports.outside(lambda engine: _drop_for_first_load(engine, self.plan.model))
            self._wrote = True
        with self._timed("write"):
            return self._transaction(lambda repository: repository.sync_sources(group.shelves))

    def _delete_vanished(self, roots: Sequence[str], prefix: str | None, names: set[str]) -> SyncReport:
        if not roots and prefix is None:
            return SyncReport()

        def is_ours(name: str) -> bool:
            return any(belongs_to(name, root) for root in roots) or (prefix is not None and name.startswith(prefix))

        def delete(repository: DocumentRepository) -> int:
            vanished = [name for name in _sources(repository) if name not in names and is_ours(name)]
            if not vanished:
                return 0
            return (
                repository.count({"source": {"$in": vanished}})
                if self.plan.dry_run
                else repository.delete_sources(vanished)
            )

        self._advance(stage=Stage.DELETING)
        with self._timed("write"):
            return SyncReport(deleted=self._transaction(delete))

    # The vector index

    @contextmanager
    def _index_mended(self) -> Iterator[None]:
        """After a failure build the index, if nothing was stored; otherwise that takes long, and the next run does."""
        try:
            yield
        except Exception:
            if self._wrote:
                with suppress(SQLAlchemyError):
                    self.ports.outside(lambda engine: _build_if_empty(engine, self.plan.model))
            raise

    def _build_index(self) -> None:
        """Build what a first load, or an interrupted one, left out."""

        def build(engine: Engine) -> None:
            if is_missing(engine, self.plan.model):
                self._advance(stage=Stage.INDEXING)
                with self._timed("index"):
                    build_missing(engine, self.plan.model)

        if not self.plan.dry_run:
            self.ports.outside(build)

    # Keeping account

    def _transaction(self, work: Callable[[DocumentRepository], T]) -> T:
        return self.ports.transaction(lambda session: work(self.plan.repository(session)))

    def _check_stop(self) -> None:
        if self.stop.is_set():
            raise StoppedError

    def _advance(self, *, stage: Stage | None = None, **more: float) -> None:
        with self._lock:
            now = self._progress
            counts = {name: getattr(now, name) + amount for name, amount in more.items()}
            self._progress = replace(now, stage=stage or now.stage, **counts)
            self.plan.notify(self._progress)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._seconds[part] += time.perf_counter() - started


def _drop_for_first_load(engine: Engine, model: type[Any]) -> None:
    drop_for_first_load(engine, model)


def _build_if_empty(engine: Engine, model: type[Any]) -> None:
    with engine.connect() as connection:
        empty = is_empty(connection, model)
    if empty:
        build_missing(engine, model)


def _sources(repository: DocumentRepository) -> Sequence[str]:
    try:
        return repository.sources()
    except CollectionNotFoundError:
        return ()
