"""The flip: two collections change places in one transaction, while readers go on and writers wait for a moment."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from pgcorpus.errors import SwitchError
from pgcorpus.faults import sqlstate
from pgcorpus.repositories.switching import moving, standing, statements
from pgcorpus.repositories.switching.moving import Change, transaction
from pgcorpus.repositories.switching.standing import Standing
from pgcorpus.repositories.switching.statements import Pair
from pgcorpus.services.switching.embedding import Contents
from pgcorpus.services.switching.filling import FEW, Filler
from pgcorpus.services.switching.reports import LateWrites, Stage

# Seconds that other sessions wait behind a lock that is not granted, and that they wait while it is held.
LOCK_TIMEOUT = 0.5
HOLD = 10.0
# Seconds of trying.
PATIENCE = 120.0
# What is embedded while writers wait: so many texts, in so many seconds.
_FEW_TEXTS = 16
_EMBED_SECONDS = 2.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 3.0

_LOCK_NOT_AVAILABLE = "55P03"
_DEADLOCK = "40P01"
_CANCELED = "57014"


@dataclass(frozen=True, slots=True)
class Flipped:
    """How two collections changed places.

    Attributes:
        attempts: How often it was tried: the locks were not granted in time, or too much had changed.
        locked_seconds: How long writers waited while the locks were held.
        changed: Documents that were copied or deleted meanwhile.
        late: What was written to the retired collection all the same, and carried over.
    """

    attempts: int
    locked_seconds: float
    changed: int
    late: LateWrites = field(default_factory=LateWrites)


@dataclass(frozen=True, slots=True)
class Places:
    """Who changes places.

    Attributes:
        tenant: Whose collections.
        name: The name that the shadow is to have.
        active: The collection that has it.
        shadow: The one that is to have it.
    """

    tenant: str
    name: str
    active: Standing
    shadow: Standing


class _NotYetError(Exception):
    """Too much has changed to be brought in step while writers wait.

    Attributes:
        contents: What has to be embedded first; where it is still to be found out, nothing.
        embedding: What is being embedded already.
    """

    def __init__(self, contents: Sequence[str] = (), embedding: Future[None] | None = None) -> None:
        self.contents = contents
        self.embedding = embedding


class Flipper:
    """Lets two collections change places.

    Args:
        engine: The database.
        filler: Brings the shadow in step.
        contents: Embeds.
        lock_timeout: Seconds that others may have to wait behind locks that are not granted.
        patience: Seconds of trying.
        hold: Seconds that others may have to wait while the locks are held.
    """

    def __init__(
        self, engine: Engine, filler: Filler, contents: Contents, *, lock_timeout: float, patience: float, hold: float
    ) -> None:
        self._engine = engine
        self._filler = filler
        self._contents = contents
        self._lock_timeout = lock_timeout
        self._patience = patience
        self._hold = hold

    def flip(self, places: Places, pair: Pair) -> Flipped:
        """Bring the shadow in step for the last time, and give it the name.

        Raises:
            SwitchError: Writers left no moment for it in all that time, or one of the collections has gone.
        """
        deadline = time.monotonic() + self._patience
        pauses = _pauses()
        for attempt, pause in enumerate(pauses, 1):
            try:
                locked, changed = self._try(places, pair)
                self._contents.forget()
                return Flipped(attempt, locked, changed)
            except _NotYetError as exc:
                self._prepare(pair, exc)
                reason = "too much was written meanwhile"
            except DBAPIError as exc:
                reason = self._reason(exc)
                time.sleep(pause)
            if time.monotonic() > deadline:
                raise SwitchError(
                    f"the collections could not change places in {self._patience:g} s: {reason}. What is copied stays: "
                    f"run it again, when less is written or with a lock_timeout of more than {self._lock_timeout:g} s"
                )
        raise AssertionError("the pauses never end")

    def _prepare(self, pair: Pair, missing: _NotYetError) -> None:
        if missing.embedding is not None:
            missing.embedding.result()
        elif missing.contents:
            self._contents.keep(missing.contents)
        else:
            self._filler.go_through(pair, Stage.CATCHING_UP)

    def _try(self, places: Places, pair: Pair) -> tuple[float, int]:
        with ExitStack() as stack:
            connection = stack.enter_context(transaction(self._engine))
            standing.lock_vacuum_out(connection, pair.table, self._patience)
            standing.lock_writers_out(connection, places.tenant, places.name, pair.table, self._lock_timeout)
            started = time.monotonic()
            standing.limit_statements(connection, self._hold)
            _check_unchanged(connection, places)
            changed = self._last_pass(connection, pair, started)
            standing.change_places(connection, places.name, places.active, places.shadow, pair.table)
            stack.close()
            return time.monotonic() - started, changed

    def _last_pass(self, connection: Connection, pair: Pair, started: float) -> int:
        deleted, changes = 0, []
        for span in moving.spans(connection, pair):
            deleted += moving.delete_vanished(connection, pair, span)
            changes += moving.read(connection, statements.changed, pair, span, FEW)
            if len(changes) >= FEW:
                raise _NotYetError
            if time.monotonic() - started > self._hold:
                raise SwitchError(
                    f"comparing the collections took over {self._hold:g} s, for which writers would wait. What is "
                    "copied stays: run it again with a longer hold, when nobody minds"
                )
        if changes:
            self._embed_in_time(changes)
            moving.copy(connection, pair, changes, self._contents.of(changes))
        return deleted + len(changes)

    def _embed_in_time(self, changes: list[Change]) -> None:
        """Embed what came at the last moment, if it is little and quick; else go back and do it before the next try."""
        unknown = self._contents.unknown(changes)
        if len(unknown) > _FEW_TEXTS:
            raise _NotYetError(unknown)
        if not unknown:
            return
        pool = ThreadPoolExecutor(1, thread_name_prefix="pgcorpus-embed")
        embedding = pool.submit(self._contents.keep, unknown)
        try:
            embedding.result(_EMBED_SECONDS)
        except FutureTimeoutError as exc:
            raise _NotYetError(embedding=embedding) from exc
        finally:
            pool.shutdown(wait=False)

    def _reason(self, exc: DBAPIError) -> str:
        """Return why an attempt failed that another may follow.

        Raises:
            DBAPIError: Another attempt would fail too.
        """
        state = sqlstate(exc)
        if state == _CANCELED:
            return f"a comparison took more than {self._hold:g} s"
        if state not in (_LOCK_NOT_AVAILABLE, _DEADLOCK):
            raise exc
        return "transactions that write, or a VACUUM, held the tables"


def _check_unchanged(connection: Connection, places: Places) -> None:
    """The lock of a switch is lost with its connection: look again who stands where."""
    found = standing.standing_named(connection, places.tenant, places.name)
    if found != places.active or places.shadow not in standing.standing_behind(connection, places.active.id):
        raise SwitchError(
            f"the collection {places.name!r} was changed by another session meanwhile: look at its status"
        )


def _pauses() -> Iterator[float]:
    """Yield seconds between attempts, longer and longer, never the same for two."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.5)
        pause = min(2 * pause, _LONGEST_PAUSE)
