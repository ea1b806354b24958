"""Late writes: what a session that knew a collection before the flip still wrote to it, carried over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Engine, Table

from pgcorpus.repositories.search.requests import LARGEST_ID
from pgcorpus.repositories.switching import moving, statements
from pgcorpus.repositories.switching.moving import Change, Reader, transaction
from pgcorpus.repositories.switching.standing import Standing
from pgcorpus.repositories.switching.statements import Pair, Span
from pgcorpus.services.switching.embedding import Contents
from pgcorpus.services.switching.reports import LateWrites, Progress, Stage

# Seconds to wait for transactions that began before the flip.
WAIT = 5.0
_POLL = 0.05
_PAGE = 100

_Write = Callable[..., int]


class Sweeper:
    """Carries late writes from a retired collection over to the active one.

    An ORM object that was loaded before the flip and flushed after it updates its row where it found it; a repository
    does that only in AUTOCOMMIT, which holds nothing. Where both collections have changed a document, the higher
    version is kept, of equal versions the active one's, and what was deleted late but written in the active one since;
    a late insert whose key was given to another document meanwhile is dropped.

    Args:
        engine: The database.
        table: The documents'.
        contents: Embeds with the active collection's model.
        notify: Told of what is carried.
    """

    def __init__(self, engine: Engine, table: Table, contents: Contents, notify: Callable[[Progress], object]) -> None:
        self._engine = engine
        self._table = table
        self._contents = contents
        self._notify = notify

    def sweep(self, retired: Standing, active_id: int) -> LateWrites:
        """Carry over what has been written to a retired collection so far."""
        self._notify(Progress(Stage.SWEEPING))
        pair = Pair(self._table, retired.id, active_id)
        deleted = self.delete(retired, active_id)
        updated = self._carry(pair, statements.late_updates, moving.overwrite)
        inserted = self._carry(pair, statements.late_inserts, moving.move)
        return LateWrites(inserted, updated, deleted)

    def delete(self, retired: Standing, active_id: int) -> int:
        """Delete what was deleted from a retired collection so far, and return how many there were."""
        pair, deleted, span = Pair(self._table, retired.id, active_id), 0, Span(0, 0)
        while span.upto < LARGEST_ID:
            with transaction(self._engine) as connection:
                span = moving.next_span(connection, pair, span.upto)
                deleted += moving.delete_late(connection, pair, span)
        return deleted

    def sweep_till_quiet(self, retired: Standing, active_id: int) -> LateWrites:
        """Carry late writes over until every transaction has ended that touched the documents before the flip.

        Those are the ones that have objects of the retired collection. It waits for five seconds.
        """
        with transaction(self._engine) as connection:
            older = moving.transactions_on(connection, self._table)
        late = self.sweep(retired, active_id)
        if not older:
            return late
        pending = self._wait_for(older)
        return late + replace(self.sweep(retired, active_id), pending=pending)

    def _wait_for(self, older: frozenset[str]) -> int:
        deadline = time.monotonic() + WAIT
        while True:
            with transaction(self._engine) as connection:
                older &= moving.transactions_on(connection, self._table)
            if not older or time.monotonic() > deadline:
                return len(older)
            time.sleep(_POLL)

    def _carry(self, pair: Pair, reader: Reader, write: _Write) -> int:
        carried = 0
        for page in self._pages(pair, reader):
            vectors: Any = self._contents.of(page)
            with transaction(self._engine) as connection:
                carried += write(connection, pair, page, vectors)
            self._notify(Progress(Stage.SWEEPING, carried))
        return carried

    def _pages(self, pair: Pair, reader: Reader) -> Iterator[list[Change]]:
        after = 0
        while after < LARGEST_ID:
            with transaction(self._engine) as connection:
                span = moving.next_span(connection, pair, after)
                page = self._read(connection, pair, reader, span)
            if page:
                yield page
            after = page[-1].id if len(page) == _PAGE else span.upto

    def _read(self, connection: Connection, pair: Pair, reader: Reader, span: Span) -> list[Change]:
        return moving.read(connection, reader, pair, span, _PAGE)
