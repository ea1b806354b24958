"""Objects brought in step: what they are now becomes what is stored of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import django.db
from sqlalchemy.orm import Session

from pgcorpus.errors import EmbeddingModelMismatchError, SourceError
from pgcorpus.integrations.django.conf import host
from pgcorpus.integrations.django.kept import DocumentsOf, Place
from pgcorpus.integrations.django.pooling import engine
from pgcorpus.integrations.django.stored import delete_stored, stored_places, turn
from pgcorpus.models import DIMENSIONS
from pgcorpus.repositories import DocumentRepository, Draft, SyncPlan, SyncReport
from pgcorpus.services.embedding import CachedEmbedder, Embedder, is_kept, pad
from pgcorpus.services.embedding.asking import checked
from pgcorpus.vectors import Array

# Objects in memory, and in a transaction.
PAGE = 100

# Turns that an object may take because its text is another one each time.
MOST_TURNS = 10

Sources = Mapping[str, Sequence[Draft]]

# By their places, the passages of objects by the names of their sources; None where they cannot be read.
Wanted = dict[Place, dict[str, list[Draft] | None]]


@dataclass(frozen=True, slots=True)
class StepReport:
    """What it took to bring objects in step, or of a dry run would take.

    Attributes:
        objects: How many were looked at.
        embedded: Passages that were embedded.
        changes: What was written.
        failures: Why objects could not be read, by the names of their sources. What was stored of them is as it was,
            but gone from where it does not belong, or from everywhere if that cannot be said.
    """

    objects: int = 0
    embedded: int = 0
    changes: SyncReport = SyncReport()  # noqa: RUF009 -- frozen
    failures: Mapping[str, Exception] = field(default_factory=dict)

    def __add__(self, other: StepReport) -> StepReport:
        return StepReport(
            self.objects + other.objects,
            self.embedded + other.embedded,
            self.changes + other.changes,
            {**self.failures, **other.failures},
        )


@dataclass(frozen=True, slots=True)
class _Planned:
    """What is to be written in one place.

    Attributes:
        repository: Of the collection.
        embedder: The one of its model.
        sources: All passages of each object.
        plan: What they change.
    """

    repository: DocumentRepository
    embedder: Embedder
    sources: Sources
    plan: SyncPlan

    def texts(self) -> list[str]:
        """Return those whose embedding is not stored."""
        return [self.sources[name][at].content for name, places in self.plan.needed.items() for at in places]

    def write(self, vectors: Mapping[tuple[str, str], Array]) -> SyncReport:
        """Write what differs."""
        if not _differs(self.plan.report):
            return self.plan.report
        model = self.embedder.model
        return self.repository.sync_sources(
            {
                name: [replace(draft, embedding=vectors.get((model, draft.content))) for draft in drafts]
                for name, drafts in self.sources.items()
            }
        )


@dataclass
class _Work:
    """Objects on their way into step.

    Attributes:
        kept: What is kept of their model.
        keys: Theirs.
        dry_run: Read and compare only.
        vectors: What was embedded so far, by model and text.
        deleted: Documents that were deleted where they no longer belong.
        failures: Of the last turn, by source.
    """

    kept: DocumentsOf
    keys: list[str]
    dry_run: bool
    vectors: dict[tuple[str, str], Array] = field(default_factory=dict)
    deleted: int = 0
    failures: dict[str, Exception] = field(default_factory=dict)

    def run(self) -> StepReport:
        # No turn is held while texts are embedded, so the next one looks again at what the objects are by then.
        for _ in range(MOST_TURNS):
            changes, lacking = self._take_turn()
            if changes is not None:
                changes = replace(changes, deleted=changes.deleted + self.deleted)
                embedded = len(lacking) if self.dry_run else len(self.vectors)
                return StepReport(len(self.keys), embedded, changes, self.failures)
            self._embed(lacking)
        raise SourceError(f"{self.kept.label}: the text is another one each time it is asked for: {self.keys[:3]}")

    def _take_turn(self) -> tuple[SyncReport | None, list[tuple[Embedder, str]]]:
        """Return what was written, or None and the texts to embed before anything can be."""
        names = [self.kept.name_of(key) for key in self.keys]
        with turn(names) as documents:
            wanted = self._wanted()
            self.deleted += self._delete_elsewhere(documents, names, wanted)
            planned = [
                _planned(documents, place, readable)
                for place, sources in sorted(wanted.items())
                if (readable := _readable(sources))
            ]
            lacking = [
                (each.embedder, text)
                for each in planned
                for text in each.texts()
                if (each.embedder.model, text) not in self.vectors
            ]
            if self.dry_run:
                return sum((each.plan.report for each in planned), SyncReport()), lacking
            if lacking:
                return None, lacking
            return sum((each.write(self.vectors) for each in planned), SyncReport()), []

    def _wanted(self) -> Wanted:
        wanted: Wanted = {}
        self.failures = {}
        for key, thing in self.kept.current(self.keys).items():
            name = self.kept.name_of(key)
            try:
                self._add(wanted, name, thing)
            except django.db.Error:
                raise  # the server would run nothing more
            except Exception as exc:  # noqa: BLE001 -- by the project's functions, and of this object only
                self.failures[name] = exc
        return wanted

    def _add(self, wanted: Wanted, name: str, thing: Any) -> None:
        drafts = None
        try:
            drafts = self.kept.drafts_of(thing)
        finally:
            # What is stored of one that cannot be read stays, but with nobody else than whose it is now.
            if drafts is None or drafts:
                wanted.setdefault(self.kept.place_of(thing), {})[name] = drafts

    def _delete_elsewhere(
        self, documents: Session, names: Sequence[str], wanted: Mapping[Place, Mapping[str, Any]]
    ) -> int:
        """Delete what must no longer be found, even if no embedder answers."""
        deleted = 0
        for place, stored in sorted(stored_places(documents, self.kept, names).items()):
            if vanished := [name for name in stored if name not in wanted.get(place, ())]:
                deleted += delete_stored(documents, place, vanished, dry_run=self.dry_run)
        return deleted

    def _embed(self, lacking: Iterable[tuple[Embedder, str]]) -> None:
        texts: dict[str, dict[str, None]] = {}
        embedders: dict[str, Embedder] = {}
        for embedder, text in lacking:
            embedders[embedder.model] = embedder
            texts.setdefault(embedder.model, {})[text] = None
        for model, wanted in texts.items():
            vectors = pad(checked(_remembering(embedders[model]).embed(list(wanted)), len(wanted)), DIMENSIONS)
            self.vectors.update({(model, text): vector for text, vector in zip(wanted, vectors, strict=True)})


def bring_one_in_step(kept: DocumentsOf, key: str) -> None:
    """Make the documents of one object what it is at this moment.

    Args:
        kept: What is kept of its model.
        key: Its primary key as text.

    Raises:
        Exception: As :func:`bring_in_step`, and what the project's own functions raise.
    """
    for failure in bring_in_step(kept, [key]).failures.values():
        raise failure


def bring_in_step(kept: DocumentsOf, keys: Iterable[str], *, dry_run: bool = False) -> StepReport:
    """Make the documents of objects what the objects are at this moment; those that are gone have none.

    What is written of them is written in one transaction, and read in it: of several that do this at once, the one that
    writes last has read the newest.

    Args:
        kept: What is kept of their model.
        keys: Their primary keys as text.
        dry_run: Read and compare only.

    Raises:
        EmbeddingModelMismatchError: The collection was embedded with the model of no embedder of ours.
        EmbeddingError: The embedder failed.
        SourceError: A text is another one each time.
        DocumentError: A passage cannot be stored.
    """
    return _Work(kept, sorted(set(keys)), dry_run).run()


def _planned(documents: Session, place: Place, sources: Sources) -> _Planned:
    """Plan with the embedder of the collection's model: there are two while it is switched."""
    embedders = _embedders()
    for embedder in embedders:
        repository = DocumentRepository(documents, place.collection, place.tenant, embedding_model=embedder.model)
        try:
            return _Planned(repository, embedder, sources, repository.plan_sources(sources))
        except EmbeddingModelMismatchError:
            if embedder is embedders[-1]:
                raise
    raise AssertionError("there is no embedder")


def _readable(sources: Mapping[str, list[Draft] | None]) -> Sources:
    return {name: drafts for name, drafts in sources.items() if drafts is not None}


def _embedders() -> Sequence[Embedder]:
    embedder = host().embedder
    return embedder if isinstance(embedder, Sequence) else (embedder,)


def _remembering(embedder: Embedder) -> Embedder:
    """Return the embedder with the cache around it, where it pays: one more connection, and only outside of a turn."""
    return CachedEmbedder(embedder, engine()) if is_kept(embedder, host().settings.cache) else embedder


def _differs(report: SyncReport) -> bool:
    return bool(report.added or report.updated or report.deleted)
