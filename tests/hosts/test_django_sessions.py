"""A session shares Django's connection and transaction, and leaves both as they were."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, PendingRollbackError
from sqlalchemy.orm import Session

from pgcorpus.database import autocommit
from pgcorpus.errors import DatabaseError
from pgcorpus.models import Collection
from pgcorpus.repositories import DocumentRepository
from pgcorpus.vectors import Array
from tests.support import django_host
from tests.support.django_host import failing
from tests.support.django_shop import add, article, documents
from tests.support.vectors import random_vectors

pytestmark = pytest.mark.usefixtures("django")


@pytest.fixture(scope="module")
def vectors() -> Array:
    return random_vectors(20, 1536)


# One transaction


def test_what_the_session_and_the_models_write_they_see_of_each_other_and_commit_together(vectors: Array) -> None:
    from django.db import transaction

    from pgcorpus.integrations.django import pooled_session, session

    with transaction.atomic():
        article()
        with session() as shared:
            assert shared.scalar(text("SELECT title FROM shop_article")) == "a"
            add(shared, vectors)
            assert documents() == 3
            with pooled_session() as other:
                assert other.scalar(text("SELECT count(*) FROM pgcorpus.documents")) == 0
    with pooled_session() as other:
        assert DocumentRepository(other, "c").count() == 3


def test_a_rolled_back_atomic_block_leaves_no_document(vectors: Array) -> None:
    from django.db import connection, transaction

    from pgcorpus.integrations.django import session

    with failing(transaction.atomic()), session() as shared:
        add(shared, vectors)
    with transaction.atomic():
        article()
        with transaction.atomic():
            point = connection.savepoint()
            with session() as shared:
                add(shared, vectors, "back to a savepoint")
            connection.savepoint_rollback(point)
        with failing(transaction.atomic()), session() as shared:
            add(shared, vectors)
        with session() as shared:
            add(shared, vectors, "kept", 1)
    assert documents() == 1


def test_outside_atomic_the_block_is_a_transaction_of_its_own(vectors: Array) -> None:
    from django.db import connection

    from pgcorpus.integrations.django import session

    with session() as shared:
        assert connection.in_atomic_block
        add(shared, vectors)
    assert not connection.in_atomic_block
    assert documents() == 3
    with failing(session()) as shared:
        add(shared, vectors, "other")
    assert documents() == 3


def test_leaving_the_block_flushes_what_is_pending() -> None:
    from django.db import transaction

    from pgcorpus.integrations.django import session

    with transaction.atomic():
        with session() as shared:
            shared.begin_nested()
            shared.add(Collection(name="pending"))
        with session() as again:
            found = again.scalar(text("SELECT name FROM pgcorpus.collections"))
    assert found == "pending"


def test_a_durable_block_holds_a_session_and_is_not_held_by_one() -> None:
    from django.db import transaction

    from pgcorpus.integrations.django import session

    with transaction.atomic(durable=True), session() as shared:
        shared.execute(text("SELECT 1"))
    with pytest.raises(RuntimeError, match="durable"), session(), transaction.atomic(durable=True):
        pass


def test_blocks_stand_inside_each_other_each_with_a_session_of_its_own(vectors: Array) -> None:
    from pgcorpus.integrations.django import current_session, repository, session

    with session() as outer:
        add(outer, vectors)
        with session() as inner:
            assert inner is not outer
            assert current_session() is inner
            assert repository("c").count() == 3
        assert current_session() is outer
        assert repository("c").search(vectors[2], k=1)[0].document.key == "k2"
    assert current_session() is None
    with pytest.raises(DatabaseError, match="with session"):
        repository("c")


def test_hooks_run_after_the_commit_in_their_order_and_not_after_a_rollback(vectors: Array) -> None:
    from django.db import transaction

    from pgcorpus.integrations.django import session

    ran: list[Any] = []
    with transaction.atomic():
        transaction.on_commit(lambda: ran.append(("first", documents())))
        with session() as shared:
            transaction.on_commit(lambda: ran.append("second"))
            with failing(shared.begin_nested()):
                transaction.on_commit(lambda: ran.append("undone with its savepoint"))
            with shared.begin_nested():
                transaction.on_commit(lambda: ran.append("third"))
            add(shared, vectors)
        assert not ran
    assert ran == [("first", 3), "second", "third"]
    with failing(session()):
        transaction.on_commit(lambda: ran.append("never"))
    assert ran[3:] == []


# What fails


def test_an_error_of_the_database_leaves_the_atomic_block_as_django_would(vectors: Array) -> None:
    from django.db import connection, transaction

    from pgcorpus.integrations.django import session

    with transaction.atomic():
        with pytest.raises(DBAPIError), session() as shared:
            shared.execute(text("SELECT 1 / 0"))
        assert connection.needs_rollback
        with pytest.raises(transaction.TransactionManagementError):
            article()
        with pytest.raises(transaction.TransactionManagementError), session():
            pytest.fail("it was opened")
    article()
    with session() as shared:
        add(shared, vectors)
    assert documents() == 3


def test_a_failed_flush_that_is_caught_stops_django_too() -> None:
    from django.db import transaction

    from pgcorpus.integrations.django import session

    def work() -> None:
        with session() as shared:
            shared.add_all([Collection(name="twice"), Collection(name="twice")])
            with pytest.raises(IntegrityError):
                shared.flush()
            with pytest.raises(transaction.TransactionManagementError):
                article()
            with pytest.raises(PendingRollbackError):
                shared.execute(text("SELECT 1"))

    with transaction.atomic():
        article()
        with pytest.raises(DatabaseError, match="begin_nested"):
            work()
    assert type(article()).objects.count() == 1


def test_a_statement_whose_error_is_caught_is_not_committed_in_silence(vectors: Array) -> None:
    from pgcorpus.integrations.django import session

    def work() -> None:
        with session() as shared:
            add(shared, vectors)
            with pytest.raises(DBAPIError):
                shared.execute(text("SELECT 1 / 0"))

    with pytest.raises(DatabaseError, match="begin_nested"):
        work()
    assert documents() == 0


def test_a_savepoint_saves_the_transaction_and_the_books_of_django(vectors: Array) -> None:
    from django.db import connection, transaction

    from pgcorpus.integrations.django import session

    with transaction.atomic():
        with session() as shared:
            with pytest.raises(DBAPIError), shared.begin_nested():
                shared.execute(text("SELECT 1 / length(:title)"), {"title": article("gone").title[4:]})
            assert (connection.needs_rollback, connection.savepoint_ids) == (False, [None])
            with shared.begin_nested(), transaction.atomic():
                article("kept")
            add(shared, vectors)
        assert (connection.savepoint_ids, len(connection.atomic_blocks)) == ([], 1)
    assert documents() == 3
    assert type(article()).objects.filter(title="gone").count() == 0


def test_to_commit_is_refused_and_to_roll_back_is_djangos_to_do(vectors: Array) -> None:
    from django.db import transaction

    from pgcorpus.integrations.django import session

    with session() as shared:
        add(shared, vectors)
        with pytest.raises(DatabaseError, match="Django's"):
            shared.commit()
        with pytest.raises(DatabaseError, match=r"AUTOCOMMIT: .* Django's"):
            autocommit(shared.get_bind().engine).connect()
        assert DocumentRepository(shared, "c").count() == 3
    assert documents() == 3
    with pytest.raises(DatabaseError, match="Django's"), session() as shared:
        shared.connection().commit()
    with session() as shared:
        add(shared, vectors, "other")
        shared.rollback()
        with pytest.raises(transaction.TransactionManagementError):
            DocumentRepository(shared, "other").count()
    assert documents() == 3


def test_a_connection_that_the_server_ended_is_replaced_by_django(django: URL) -> None:
    from django.db import connection

    from pgcorpus.integrations.django import session

    with django_host.django_on(django, CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True):
        for inner in (nullcontext, Session.begin_nested):
            with pytest.raises(DBAPIError), session() as shared, inner(shared):
                shared.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            assert (connection.in_atomic_block, connection.savepoint_ids, connection.atomic_blocks) == (False, [], [])
        with session() as shared:
            before = shared.scalar(text("SELECT pg_backend_pid()"))
        with session() as shared:
            assert shared.scalar(text("SELECT pg_backend_pid()")) == before
        connection.close()
        with session() as shared:
            assert shared.scalar(text("SELECT pg_backend_pid()")) != before
