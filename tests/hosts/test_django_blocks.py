"""Blocks inside each other, in random order with errors at any level, end as those of Django's own models would."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import text

from pgcorpus.errors import DatabaseError
from pgcorpus.models import Collection
from tests.support.django_host import ShopError

pytestmark = pytest.mark.usefixtures("django")

PROGRAMS = 150
DEPTH = 4

STEPS = ("model", "model", "session", "session", "hook", "error", "null", "roll back")
BLOCKS = ("atomic", "joined", "session", "savepoint")

# Of an article that has a title, or none; without Django's models, and without a flush.
INSERT = text(
    "INSERT INTO shop_article (title, body, tenant, published, extra) VALUES (:title, 'b', 'default', true, '{}')"
)

Program = list[Any]


def program(chosen: random.Random, depth: int = 0) -> Program:
    """Return steps and blocks; a block is its kind, whether its error is caught, and a program."""
    made: Program = []
    for _ in range(chosen.randint(1, 4)):
        if depth < DEPTH and chosen.random() < 0.4:
            made.append((chosen.choice(BLOCKS), chosen.random() < 0.6, program(chosen, depth + 1)))
        else:
            made.append(chosen.choice(STEPS))
    return made


@dataclass
class Run:
    """A program on its way, by sessions or by Django's own means.

    Attributes:
        shared: Whether by sessions.
        told: What happened: the kinds of errors that left blocks.
        hooks: Those that ran, by the number of their steps.
        steps: Taken so far.
    """

    shared: bool
    told: list[tuple[str, str]] = field(default_factory=list)
    hooks: list[int] = field(default_factory=list)
    steps: int = 0

    def outcome(self, made: Program) -> Any:
        from django.db import connection

        try:
            self.take(made, "")
        except Exception as exc:  # noqa: BLE001 -- what is compared
            self.told.append(("", kind(exc)))
        connection.ensure_connection()
        status = connection.connection.info.transaction_status
        assert (connection.in_atomic_block, connection.savepoint_ids, connection.atomic_blocks) == (False, [], [])
        assert (connection.autocommit, status) == (True, TransactionStatus.IDLE)
        connection.needs_rollback = False  # Django itself leaves it, where an inner block has failed
        return stored(), self.hooks, self.told

    def take(self, made: Program, around: str) -> None:
        for step in made:
            if isinstance(step, str):
                self.steps += 1
                self.step(step, around, f"t{self.steps}")
            else:
                self.block(*step)

    def block(self, what: str, caught: bool, inner: Program) -> None:
        from pgcorpus.integrations.django import current_session

        if what == "savepoint" and self.shared and current_session() is None:
            what = "atomic"
        try:
            with self.opened(what):
                self.take(inner, what)
        except Exception as exc:
            self.told.append((what.replace("savepoint", "atomic"), kind(exc)))
            if not caught:
                raise

    def opened(self, what: str) -> Any:
        from django.db import transaction

        from pgcorpus.integrations.django import current_session, session

        current = current_session()
        if what == "session":
            return session() if self.shared else like_a_session()
        if what == "savepoint" and current is not None:
            return current.begin_nested()
        return transaction.atomic(savepoint=what != "joined")

    def step(self, what: str, around: str, title: str) -> None:
        from django.db import connection, transaction

        from pgcorpus.integrations.django import current_session
        from tests.hosts.django_project.shop.models import Article

        session = current_session()
        steps: dict[str, Callable[[], object]] = {
            "model": lambda: Article.objects.create(title=title, body="b"),
            "session": lambda: session and session.execute(INSERT, {"title": title}),
            "hook": lambda: transaction.on_commit(lambda number=self.steps: self.hooks.append(number)),
            "error": fail,
            "null": lambda: Article.objects.create(title=None, body="b"),
            "roll back": lambda: connection.in_atomic_block and transaction.set_rollback(True),
        }
        if session is None:
            steps["session"] = steps["model"]
        elif around == "savepoint" and not connection.needs_rollback:
            # Nothing else survives a flush that fails.
            steps["null"] = lambda: flush(session, Collection(name=None))
            steps["session"] = lambda: flush(session, Collection(name=title))
        elif self.steps % 2:
            steps["null"] = lambda: session.execute(INSERT, {"title": None})
        steps[what]()


def fail() -> None:
    raise ShopError


def flush(session: Any, thing: Any) -> None:
    session.add(thing)
    session.flush()


@contextmanager
def like_a_session() -> Iterator[None]:
    """What a session promises, by Django's own means."""
    from django.db import connection, transaction

    with transaction.atomic(savepoint=False):
        connection.validate_no_broken_transaction()
        yield
        if connection.connection.info.transaction_status == TransactionStatus.INERROR:
            raise DatabaseError


def kind(exc: Exception) -> str:
    return type(exc).__name__


def stored() -> list[str]:
    """Return what was committed, and delete it."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT title FROM shop_article UNION ALL SELECT name FROM pgcorpus.collections ORDER BY 1")
        rows: list[Any] = cursor.fetchall()
        cursor.execute("DELETE FROM shop_article")
        cursor.execute("DELETE FROM pgcorpus.collections")
        return [row[0] for row in rows]


def test_programs_of_blocks_and_errors_end_as_djangos_own_would() -> None:
    kept = 0
    for seed in range(PROGRAMS):
        made = program(random.Random(seed))
        expected = Run(shared=False).outcome(made)
        assert Run(shared=True).outcome(made) == expected, (seed, made)
        kept += bool(expected[0] and expected[1] and expected[2])
    assert kept > PROGRAMS // 10, "programs are to keep something, run hooks and fail"
