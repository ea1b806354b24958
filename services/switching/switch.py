"""A collection's embedding model switched while an app serves from it: copied, compared, flipped, taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, Table

from pgcorpus.errors import SwitchError
from pgcorpus.models import DIMENSIONS, Document
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories.switching.standing import Standing, State
from pgcorpus.repositories.switching.statements import Pair
from pgcorpus.repositories.writing.drafts import check_name
from pgcorpus.repositories.writing.indexes import build_missing, is_missing
from pgcorpus.services.embedding import Embedder
from pgcorpus.services.embedding.cache import CachedEmbedder, is_kept
from pgcorpus.services.switching.comparing import Comparer, Comparison, Question, Side
from pgcorpus.services.switching.embedding import Contents
from pgcorpus.services.switching.filling import Filler
from pgcorpus.services.switching.flipping import HOLD, LOCK_TIMEOUT, PATIENCE, Flipped, Flipper, Places
from pgcorpus.services.switching.places import Collections
from pgcorpus.services.switching.reports import Filled, LateWrites, Progress, Stage, SwitchReport, SwitchStatus
from pgcorpus.services.switching.sweeping import Sweeper

# Documents to compare by.
SAMPLE = 50


class ModelSwitch:
    """Switches the embedding model of one collection; readers and writers go on meanwhile.

    The documents are copied into a second collection, ``NAME@MODEL``, with the same ids and versions and embeddings
    of the new model. Then the two change places in one transaction. The old one is kept until :meth:`finish`.

    Everything can be killed at any moment and run again. One switch of a collection runs at a time.

    Args:
        engine: The database, migrated; not behind a PgBouncer in transaction mode.
        embedder: Of the model to switch to; after the switch, of the collection's model. Without one, only what
            embeds nothing can be done.
        collection: The collection's name.
        tenant: Whose collection.
        model: The mapped document class.
        cache: Whether embeddings are kept by their text, so that none is paid for twice; by default unless the
            embedder says that it does not pay.
        progress: Called after every step.
        lock_timeout: Seconds that writers may have to wait at the flip behind locks that are not granted yet. With more
            than PostgreSQL's ``deadlock_timeout`` (1 s), one who has flushed objects and then calls a repository in
            the same transaction may be ended as a deadlock (SQLSTATE 40P01).
        patience: Seconds in which the flip is tried again and again.
        hold: Seconds that writers may have to wait while the flip takes the last look at both collections; more than
            a million documents may need more.
    """

    def __init__(
        self,
        engine: Engine,
        embedder: Embedder | None = None,
        collection: str = "default",
        tenant: str = DEFAULT_TENANT,
        *,
        model: type[Any] = Document,
        cache: bool | None = None,
        progress: Callable[[Progress], object] = lambda _: None,
        lock_timeout: float = LOCK_TIMEOUT,
        patience: float = PATIENCE,
        hold: float = HOLD,
    ) -> None:
        check_name(collection, "the collection's name")
        check_name(tenant, "the tenant's name")
        self._engine = engine
        self._cache = cache
        self._embedder = embedder
        self._name = collection
        self._tenant = tenant
        self._model = model
        self._table: Table = model.__table__
        self._notify = progress
        self._limits = {"lock_timeout": lock_timeout, "patience": patience, "hold": hold}
        self._collections = Collections(engine, tenant, collection, self._table)
        self._contents = self._contents_of(embedder)
        self._filler = Filler(engine, self._contents, progress)

    def run(
        self,
        *,
        flip: bool = True,
        sample: int = SAMPLE,
        queries: Sequence[str] = (),
        old_embedder: Embedder | None = None,
        min_recall: float | None = None,
    ) -> SwitchReport:
        """Copy the collection under the new model, compare the two, and let them change places.

        Args:
            flip: Whether they change places; without it, everything is prepared.
            sample: Documents to compare by; 0 for no comparison.
            queries: Questions to compare by instead; they are embedded with both models.
            old_embedder: Of the collection's present model; for ``queries``.
            min_recall: The recall that the new collection's index must reach, 0 to 1.

        Raises:
            CollectionNotFoundError: There is no such collection.
            SwitchError: Another switch runs; the model is the collection's own; a name is taken; the recall is too
                low; or writers left no moment for the flip. What is copied stays.
            EmbeddingError: The new model's vectors do not fit the column, or a text cannot be embedded.
        """
        if min_recall is not None and not (sample or queries):
            raise SwitchError("min_recall needs a comparison: give a sample, or queries")
        with self._collections.locked():
            if queries:
                self._check_asked(self._collections.active(), old_embedder)
            active, shadow, late = self._prepared(present=self._contents_of(old_embedder))
            filled = self._fill(active, shadow)
            comparison = self._compare(active, shadow, sample, queries, old_embedder)
            _check_recall(comparison, min_recall)
            flipped = self._flip(active, shadow) if flip else None
        return self._report(active, filled, late, comparison, flipped)

    def backfill(self) -> Filled:
        """Copy the collection under the new model, or bring the copy in step.

        Raises:
            SwitchError: As :meth:`run`.
            EmbeddingError: As :meth:`run`.
        """
        with self._collections.locked():
            active, shadow, _ = self._prepared()
            return self._fill(active, shadow)

    def compare(
        self, *, sample: int = SAMPLE, queries: Sequence[str] = (), old_embedder: Embedder | None = None
    ) -> Comparison:
        """Compare a collection with its copy; the arguments are those of :meth:`run`.

        Raises:
            SwitchError: There is no copy, or nothing to compare by.
        """
        active = self._collections.active()
        comparison = self._compare(active, self._shadow(active), sample, queries, old_embedder)
        if comparison is None:
            raise SwitchError("there is no document with an embedding to compare by: give queries")
        return comparison

    def flip(self) -> Flipped:
        """Bring the copy in step, and let it change places with the collection.

        Raises:
            SwitchError: There is no copy, or writers left no moment for it.
        """
        with self._collections.locked():
            active, shadow, _ = self._prepared(must_exist=True)
            self._fill(active, shadow)
            return self._flip(active, shadow)

    def rollback(self, old_embedder: Embedder) -> SwitchReport:
        """Give the place back to the retired collection; only what was written since is embedded.

        Args:
            old_embedder: Of the model before.

        Raises:
            SwitchError: No collection of that model stands behind this one.
        """
        back = ModelSwitch(
            self._engine,
            old_embedder,
            self._name,
            self._tenant,
            model=self._model,
            cache=self._cache,
            progress=self._notify,
            **self._limits,
        )
        return back._return(self._contents)

    def _return(self, present: Contents) -> SwitchReport:
        with self._collections.locked():
            active, shadow, late = self._prepared(must_exist=True, back=True, present=present)
            filled = self._fill(active, shadow)
            return self._report(active, filled, late, None, self._flip(active, shadow))

    def finish(self) -> LateWrites:
        """Carry late writes over, and delete what was retired; there is no way back after it.

        Raises:
            SwitchError: Nothing is retired, or late writes were found and the embedder is of another model.
        """
        with self._collections.locked():
            active = self._collections.active()
            gone = [each for each in self._collections.behind(active) if each.state is not State.FILLING]
            if not gone:
                raise SwitchError(f"nothing is retired behind {self._name!r}: nothing was done")
            retired = [each for each in gone if each.state is State.RETIRED]
            late = sum((self._sweeper(active, self._contents).sweep(each, active.id) for each in retired), LateWrites())
            self._notify(Progress(Stage.DELETING))
            for each in gone:
                self._collections.delete(each)
            return late

    def abort(self) -> int:
        """Delete copies that have not taken the place, and return how many documents they had.

        Raises:
            SwitchError: There is none.
        """
        with self._collections.locked():
            behind = self._collections.behind(self._collections.active())
            unfinished = [each for each in behind if each.state is State.FILLING]
            if not unfinished:
                raise SwitchError(f"no switch of {self._name!r} is under way: nothing was done")
            self._notify(Progress(Stage.DELETING))
            return sum(self._collections.delete(each) for each in unfinished)

    def status(self) -> SwitchStatus:
        """Return the collection, and what stands behind it."""
        return self._collections.status()

    # The steps, under the lock

    def _prepared(
        self, *, must_exist: bool = False, back: bool = False, present: Contents | None = None
    ) -> tuple[Standing, Standing, LateWrites]:
        """Return the collection, the one that is to take its place, and what was carried over from that one."""
        active, model = self._collections.active(), self._given().model
        if active.embedding_model == model:
            raise SwitchError(f"the collection {self._name!r} is embedded with {model} already: nothing was done")
        self._contents.check()
        self._collections.check_whole(active)
        found = self._shadow(active, back=back) if must_exist else self._collections.shadow(active, model)
        shadow = found or self._collections.make_shadow(active, model)
        late = LateWrites()
        if shadow.state is State.RETIRED:
            late = self._sweeper(active, present or self._contents).sweep(shadow, active.id)
            shadow = self._collections.refill(shadow)
        return active, shadow, late

    def _shadow(self, active: Standing, *, back: bool = False) -> Standing:
        model = self._given().model
        shadow = self._collections.shadow(active, model)
        if shadow is None and back:  # nobody had named the model, and its embedder is given for it
            shadow = self._collections.shadow(active, None)
        if shadow is None:
            raise SwitchError(f"no collection of the model {model} stands behind {self._name!r}")
        return shadow

    def _fill(self, active: Standing, shadow: Standing) -> Filled:
        filled = self._filler.fill(Pair(self._table, active.id, shadow.id))
        if is_missing(self._engine, self._model):
            self._notify(Progress(Stage.INDEXING))
            build_missing(self._engine, self._model)
        return filled

    def _compare(
        self,
        active: Standing,
        shadow: Standing,
        sample: int,
        queries: Sequence[str],
        old_embedder: Embedder | None,
    ) -> Comparison | None:
        comparer = Comparer(self._engine, self._tenant, self._model, self._notify)
        if queries:
            questions = self._questions(active, queries, old_embedder)
        else:
            questions = comparer.sample(active.id, shadow.id, sample)
        old = Side(active.name, active.embedding_model, lambda question: question.old)
        new = Side(shadow.name, shadow.embedding_model, lambda question: question.new)
        return comparer.compare(old, new, questions) if questions else None

    def _questions(self, active: Standing, queries: Sequence[str], old_embedder: Embedder | None) -> list[Question]:
        self._check_asked(active, old_embedder)
        old, new = self._contents_of(old_embedder).embed(queries), self._contents.embed(queries)
        return [Question(old[query], new[query]) for query in queries]

    def _check_asked(self, active: Standing, old_embedder: Embedder | None) -> None:
        if old_embedder is None or active.embedding_model not in (None, old_embedder.model):
            raise SwitchError(
                f"queries are embedded with both models: give the embedder of {active.embedding_model}, too, or "
                "compare by a sample of the documents"
            )

    def _flip(self, active: Standing, shadow: Standing) -> Flipped:
        self._notify(Progress(Stage.FLIPPING))
        flipper = Flipper(self._engine, self._filler, self._contents, **self._limits)
        places = Places(self._tenant, self._name, active, shadow)
        deleted = self._late_deletes(active)
        flipped = flipper.flip(places, Pair(self._table, active.id, shadow.id))
        now = self._collections.active()
        retired = next(each for each in self._collections.behind(now) if each.id == active.id)
        late = self._sweeper(now, self._contents).sweep_till_quiet(retired, now.id)
        return replace(flipped, late=late + LateWrites(deleted=deleted))

    def _late_deletes(self, active: Standing) -> int:
        """Carry over what was deleted from those retired before: after another flip nobody can tell."""
        retired = [each for each in self._collections.behind(active) if each.state is State.RETIRED]
        sweeper = self._sweeper(active, self._contents)
        return sum(sweeper.delete(each, active.id) for each in retired)

    def _sweeper(self, active: Standing, contents: Contents) -> Sweeper:
        return Sweeper(self._engine, self._table, contents.for_model(active.embedding_model), self._notify)

    def _report(
        self,
        old: Standing,
        filled: Filled,
        late: LateWrites,
        comparison: Comparison | None,
        flipped: Flipped | None,
    ) -> SwitchReport:
        model = self._given().model
        return SwitchReport(self._name, old.embedding_model, model, filled, late, comparison, flipped)

    def _contents_of(self, embedder: Embedder | None) -> Contents:
        column: Any = self._table.c.embedding.type
        kept = is_kept(embedder, self._cache)
        if embedder is not None and kept:
            embedder = CachedEmbedder(embedder, self._engine)
        return Contents(embedder, column.dim or DIMENSIONS)

    def _given(self) -> Embedder:
        if self._embedder is None:
            raise SwitchError("give the embedder of the model to switch to")
        return self._embedder


def _check_recall(comparison: Comparison | None, min_recall: float | None) -> None:
    if min_recall is None:
        return
    if comparison is None:
        raise SwitchError("min_recall needs a comparison, and there is no document with an embedding: give queries")
    if comparison.new.recall < min_recall:
        raise SwitchError(
            f"the recall of the new collection's index is {comparison.new.recall:.3f}, under {min_recall:g}: the "
            "collection stays as it is. The copy is kept; abort() or --abort deletes it"
        )
