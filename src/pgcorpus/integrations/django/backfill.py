"""All objects of a model brought in step: those of before, and those that no signal told of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from django.db import connections
from sqlalchemy import Engine

from pgcorpus.errors import SourceError
from pgcorpus.integrations.django.conf import database_alias
from pgcorpus.integrations.django.kept import DocumentsOf
from pgcorpus.integrations.django.pooling import engine
from pgcorpus.integrations.django.stepping import PAGE, StepReport, bring_in_step
from pgcorpus.integrations.django.stored import stored_names
from pgcorpus.models import Document
from pgcorpus.repositories.writing.indexes import build_missing, drop_for_first_load, is_missing

Progress = Callable[[int], object]


def backfill(
    kept: DocumentsOf, *, prune: bool | None = None, dry_run: bool = False, progress: Progress = lambda _: None
) -> StepReport:
    """Bring all objects of a model in step, a page at a time; a run that was cut off is taken up by the next.

    Args:
        kept: What is kept of them.
        prune: Whether to delete the documents of objects that are gone. By default unless all are: an empty table is
            more often the wrong database than the end of a model.
        dry_run: Read and compare only.
        progress: Called with the number of objects after each page.
    """
    report = StepReport()
    with _first_load(engine(), dry_run=dry_run):
        for keys in _pages(kept):
            report += _without_frames(bring_in_step(kept, keys, dry_run=dry_run))
            progress(len(keys))
        for keys in _vanished(kept) if prune or (prune is None and report.objects) else ():
            changes = bring_in_step(kept, keys, dry_run=dry_run).changes
            report += StepReport(changes=changes)
    return report


def _without_frames(report: StepReport) -> StepReport:
    """Keep what an exception says: its traceback would hold all texts of the page."""
    said = {name: SourceError(f"{type(exc).__name__}: {exc}") for name, exc in report.failures.items()}
    return replace(report, failures=said)


def _pages(kept: DocumentsOf) -> Iterator[list[str]]:
    """Yield the keys of all objects: by their order, for a cursor would hold a transaction or a copy of them all."""
    objects = kept.all_objects().using(kept.database).order_by("pk").values_list("pk", flat=True)
    page = list(objects[:PAGE])
    while page:
        yield [str(pk) for pk in page]
        page = list(objects.filter(pk__gt=page[-1])[:PAGE])


def _vanished(kept: DocumentsOf) -> Iterator[list[str]]:
    for names in stored_names(kept, PAGE):
        keys = [key for name in names if (key := kept.key_in(name)) is not None]
        if gone := sorted(set(keys) - kept.current(keys).keys()):
            yield gone


@contextmanager
def _first_load(engine: Engine, *, dry_run: bool) -> Iterator[None]:
    """Build the vector index after the data of a first load, and what a load that was cut off left out."""
    if dry_run or connections[database_alias()].in_atomic_block:
        # A test's transaction: the index could not be built before its end.
        yield
        return
    drop_for_first_load(engine, Document)
    try:
        yield
    finally:
        if is_missing(engine, Document):
            build_missing(engine, Document)
