"""A collection's recall measured, setting by setting, and stored for searches to choose by."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from pgcorpus.errors import SearchError, SearchTimeoutError
from pgcorpus.indexing import IndexForm
from pgcorpus.models import DIMENSIONS, Document
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.filters import compile_filter
from pgcorpus.repositories.search.recall import Setting
from pgcorpus.repositories.target import Target, make_target
from pgcorpus.services.calibrating.asking import Asker
from pgcorpus.services.calibrating.filters import typical_filters
from pgcorpus.services.calibrating.keeping import Keeper, default_folder
from pgcorpus.services.calibrating.ladder import default_setting, ladders
from pgcorpus.services.calibrating.measuring import Group, Meter
from pgcorpus.services.calibrating.notes import notes
from pgcorpus.services.calibrating.pacing import Pace
from pgcorpus.services.calibrating.questions import Query, Question, as_queries
from pgcorpus.services.calibrating.refreshing import measured_before
from pgcorpus.services.calibrating.reports import CalibrationReport, Measured, Progress
from pgcorpus.services.calibrating.sampling import sampled_queries
from pgcorpus.services.calibrating.standing import Standing, read_standing
from pgcorpus.services.calibrating.storing import store
from pgcorpus.services.calibrating.wanted import Wanted
from pgcorpus.services.embedding import Embedder

# Filters that a calibration keeps of queries that have their own.
_OWN_FILTERS = 50


def calibrate(
    engine: Engine,
    collection: str = "default",
    tenant: str = DEFAULT_TENANT,
    *,
    wanted: Wanted | None = None,
    questions: Sequence[Question] | None = None,
    embedder: Embedder | None = None,
    model: type[Any] = Document,
    store_in: Engine | bool = True,
    folder: Path | None = None,
    fresh: bool = False,
    progress: Callable[[Progress], object] = lambda _: None,
    pace: Pace | None = None,
) -> CalibrationReport:
    """Measure what recall a collection's searches have, at which setting and speed, and store it.

    It only reads, on one connection, in transactions of one search, and so works on a hot standby. Interrupted or
    killed, it goes on where it was when it is run again.

    Args:
        engine: The database, migrated.
        collection: Its name.
        tenant: Whose it is.
        wanted: What to measure; by default a recall of 0.98 of 10 hits.
        questions: What to ask; without them, queries are made of documents.
        embedder: Of the collection's model; for questions that are texts.
        model: The mapped document class.
        store_in: Whether it is stored, or the primary to store it in where this database can only be read.
        folder: Where measurements are kept until it is stored; by default in the user's folder of state.
        fresh: Begin again, whatever an earlier run measured.
        progress: Called after every search.
        pace: Lets a search begin; by default ``wanted.rate`` decides.

    Raises:
        CollectionNotFoundError: There is no such collection.
        SearchError: It has no embeddings, no index of the form that is asked for, or nothing to refresh.
        SearchTimeoutError: An exact search, which all others are compared with, took too long.
        FilterError: A filter cannot be understood.
        ConfigError: There are texts and no embedder.
        EmbeddingModelMismatchError: The embedder is not of the collection's model.
    """
    wanted = wanted or Wanted()
    calibration = _Calibration(engine, collection, tenant, model, embedder, progress)
    with calibration.asker(pace or Pace(wanted.rate), wanted.timeout) as asker:
        report, keeper, created_at = calibration.run(asker, wanted, questions, folder or default_folder(), fresh)
    if store_in is not False:
        stored = store(engine if store_in is True else store_in, report, created_at)
        report = replace(report, stored=stored.id, not_stored=stored.why_not)
    if report.not_stored is None:
        keeper.forget()
    return report


class _Calibration:
    """One collection's, with what it is measured by."""

    def __init__(
        self,
        engine: Engine,
        collection: str,
        tenant: str,
        model: type[Any],
        embedder: Embedder | None,
        notify: Callable[[Progress], object],
    ) -> None:
        self._engine = engine
        self._name = collection
        self._tenant = tenant
        self._model = model
        self._embedder = embedder
        self._notify = notify
        self._target: Target = make_target(model, scoped=True)
        self._remarks: list[str] = []

    def asker(self, pace: Pace, timeout: float) -> Asker:
        return Asker(self._engine, self._open, pace, timeout)

    def _open(self, session: Session) -> DocumentRepository:
        embedding_model = self._embedder.model if self._embedder else None
        return DocumentRepository(session, self._name, self._tenant, embedding_model=embedding_model, model=self._model)

    def run(
        self, asker: Asker, wanted: Wanted, questions: Sequence[Question] | None, folder: Path, fresh: bool
    ) -> tuple[CalibrationReport, Keeper, str]:
        started = time.perf_counter()
        if wanted.refresh:
            wanted = asker.in_session(lambda session: measured_before(session, self._open(session), wanted))
        form = None if wanted.form is None else IndexForm(wanted.form)
        standing = asker.in_session(lambda session: read_standing(session, self._open(session), self._target, form))
        queries = self._queries(asker, wanted, questions)
        groups = list(self._groups(asker, wanted, queries, standing.documents))
        keeper = Keeper(folder, standing.place, _asked(wanted, groups, standing), standing.documents, fresh=fresh)
        if keeper.discarded:
            self._remarks.append(
                "it was begun again: what an interrupted run had measured was of another index, other documents, "
                "queries or options"
            )
        meter = Meter(asker, keeper, wanted.k, self._notify)
        default = default_setting(standing.serving, wanted.k)
        measured = meter.measure(groups, default, ladders(standing.serving, wanted.k, wanted.modes))
        report = self._report(wanted, standing, default, sorted(measured, key=_order(groups)))
        report = replace(
            report,
            queries=len(queries),
            sampled=questions is None,
            seconds=time.perf_counter() - started,
            resumed=meter.resumed,
        )
        return replace(report, notes=(*self._remarks, *notes(report))), keeper, standing.place["created_at"]

    def _report(
        self, wanted: Wanted, standing: Standing, default: Setting, measured: Sequence[Measured]
    ) -> CalibrationReport:
        return CalibrationReport(
            collection=self._name,
            tenant=self._tenant,
            collection_id=standing.collection_id,
            documents=standing.documents,
            index_name=standing.index_name,
            index_definition=standing.serving.definition,
            k=wanted.k,
            target=wanted.target,
            default=default,
            measured=tuple(measured),
            surroundings=standing.surroundings,
        )

    def _queries(self, asker: Asker, wanted: Wanted, questions: Sequence[Question] | None) -> list[Query]:
        if questions is not None:
            queries = as_queries(questions, self._target.dimensions or DIMENSIONS, self._embedder)
        else:
            told = partial(_told, self._notify, wanted.sample)
            queries = sampled_queries(asker, self._model, wanted.sample, wanted.seed, told)
        if not queries:
            raise SearchError(
                f"{self._name!r} has no embeddings to make queries of: embed its documents, or give questions"
            )
        return queries

    def _groups(self, asker: Asker, wanted: Wanted, queries: Sequence[Query], documents: int) -> Iterator[Group]:
        """Yield the queries without filters, those with their own, and all under each filter.

        What was measured without a filter counts for every search, so nothing is measured with filters only.
        """
        own = [query for query in queries if query.where is not None]
        yield Group("", None, [query._replace(where=None) for query in queries])
        if own:
            yield Group("of its own", _any_of(own), own)
        filters = wanted.filters if wanted.filters is not None else self._typical(asker, documents, wanted.k)
        for name, where in {_short(where): where for where in filters}.items():
            compile_filter(where, self._model)
            yield Group(name, where, [query._replace(where=where) for query in queries])

    def _typical(self, asker: Asker, documents: int, k: int) -> list[Mapping[str, Any]]:
        """Counting values takes passes over the collection: of one too large for that, no filter is typical."""
        try:
            found = asker.read(lambda repository: typical_filters(repository, documents, k))
        except SearchTimeoutError:
            self._remarks.append(
                f"no filter was measured: to look for typical ones took longer than {asker.timeout:g} seconds; name "
                "some (--filter), or give it more (--timeout)"
            )
            return []
        return [each.where for each in found]


def _order(groups: Sequence[Group]) -> Callable[[Measured], Any]:
    """By filter, as they were measured; then exact ones, and the others from the quickest setting up."""
    wheres = [group.where for group in groups]

    def key(measured: Measured) -> tuple[int, str, int, int]:
        setting = measured.setting
        return (
            wheres.index(measured.where),
            setting.scan or "",
            setting.rerank or 0,
            setting.ef_search or setting.probes or 0,
        )

    return key


def _told(notify: Callable[[Progress], object], total: int, done: int) -> None:
    notify(Progress("choosing queries", done, total))


def _any_of(queries: Sequence[Query]) -> Mapping[str, Any]:
    """Return what the filters of queries have in common: each query has one of them."""
    different: list[Any] = []
    for query in queries:
        if query.where not in different:
            different.append(query.where)
    return different[0] if len(different) == 1 else {"$or": different[:_OWN_FILTERS]}


def _short(where: Mapping[str, Any]) -> str:
    return json.dumps(where, ensure_ascii=False, sort_keys=True)


def _asked(wanted: Wanted, groups: Sequence[Group], standing: Standing) -> dict[str, Any]:
    """Return all that decides what is measured; not what is wanted of it."""
    digest = sha256()
    for group in groups:
        for query in group.queries:
            digest.update(query.vector.tobytes() + _short(query.where or {}).encode())
    return {
        "index": standing.serving.definition,
        "k": wanted.k,
        "modes": list(wanted.modes),
        "groups": [group.name for group in groups],
        "queries": digest.hexdigest(),
        "timeout": wanted.timeout,
    }
