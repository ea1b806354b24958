"""A collection brought in step with another: passes over all documents, until hardly any has changed since the last."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from pgcorpus.errors import SwitchError
from pgcorpus.repositories.search.requests import LARGEST_ID
from pgcorpus.repositories.switching import moving, standing, statements
from pgcorpus.repositories.switching.moving import Change, transaction
from pgcorpus.repositories.switching.statements import Pair, Span
from pgcorpus.services.switching.embedding import Contents
from pgcorpus.services.switching.reports import Filled, Progress, Stage

# Documents embedded at once, and those written by one transaction: with an HNSW index half a second.
PAGE = 500
WRITTEN = 100
# A pass that finds fewer changes than this is the last.
FEW = 100
MOST_PASSES = 100


class Filler:
    """Copies what a collection has, and another has not, with other embeddings.

    It can be killed at any moment: what is written stays, and the next pass goes on behind it.

    Args:
        engine: The database.
        contents: Embeds.
        notify: Told of every page.
    """

    def __init__(self, engine: Engine, contents: Contents, notify: Callable[[Progress], object]) -> None:
        self._engine = engine
        self._contents = contents
        self._notify = notify

    def fill(self, pair: Pair) -> Filled:
        """Bring the target in step with the source, but for what was written since the last pass.

        Raises:
            SwitchError: It is written to faster than it can be embedded.
            EmbeddingError: A document cannot be embedded.
        """
        started = time.perf_counter()
        done = latest = Filled()
        for _ in range(MOST_PASSES):
            latest = self.go_through(pair, Stage.FILLING if done.passes == 0 else Stage.CATCHING_UP)
            done = _sum(done, latest)
            if latest.copied >= FEW:
                with transaction(self._engine) as connection:
                    standing.analyze(connection, pair.table)
            if latest.copied + latest.deleted < FEW:
                return replace(done, seconds=time.perf_counter() - started)
        raise SwitchError(
            f"after {MOST_PASSES} passes {latest.copied} documents had changed since the last: the collection is "
            "written to faster than it is embedded. What is copied stays; run it again when less is written"
        )

    def go_through(self, pair: Pair, stage: Stage) -> Filled:
        """Copy and delete what differs, in one pass."""
        with transaction(self._engine) as connection:
            total = moving.count(connection, pair.table, pair.source)
            done = min(total, moving.count(connection, pair.table, pair.target))
        self._notify(Progress(stage, done, total))
        copied = deleted = 0
        for span in self._spans(pair):
            with transaction(self._engine) as connection:
                deleted += moving.delete_vanished(connection, pair, span)
            for page in self._pages(pair, span):
                copied += len(page)
                self._write(pair, page)
                self._notify(Progress(stage, min(total, done + copied), total))
        return Filled(copied, deleted, 1)

    def _spans(self, pair: Pair) -> Iterator[Span]:
        """No transaction is open while a span is worked on: an old one would keep the table from being vacuumed."""
        span = Span(0, 0)
        while span.upto < LARGEST_ID:
            with transaction(self._engine) as connection:
                span = moving.next_span(connection, pair, span.upto)
            yield span

    def _pages(self, pair: Pair, span: Span) -> Iterator[list[Change]]:
        page: list[Change] = []
        while True:
            with transaction(self._engine) as connection:
                page = moving.read(connection, statements.changed, pair, span, PAGE)
            if page:
                yield page
            if len(page) < PAGE:
                return
            span = Span(page[-1].id, span.upto)

    def _write(self, pair: Pair, page: list[Change]) -> None:
        vectors = self._contents.of(page)
        for start in range(0, len(page), WRITTEN):
            part = slice(start, start + WRITTEN)
            with _told(pair), transaction(self._engine) as connection:
                moving.copy(connection, pair, page[part], vectors[part])


@contextmanager
def _told(pair: Pair) -> Iterator[None]:
    """Say what a copy that cannot be means."""
    try:
        yield
    except IntegrityError as exc:
        raise SwitchError(
            f"a document of {pair.table.name} cannot be stored twice, once for each model: a column or constraint of "
            "your own is unique without collection_id. Make it (collection_id, column)"
        ) from exc


def _sum(one: Filled, other: Filled) -> Filled:
    return Filled(one.copied + other.copied, one.deleted + other.deleted, one.passes + other.passes)
