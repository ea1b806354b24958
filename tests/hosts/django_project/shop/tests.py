"""The shop's own tests, run by Django: `manage.py test`."""

from __future__ import annotations

import numpy as np
from django.db import transaction
from django.test import TestCase, TransactionTestCase
from sqlalchemy import text

from pgcorpus.integrations.django import engine, pooled_session, repository, session
from tests.hosts.django_project.shop.models import Article

COUNT = text("SELECT count(*) FROM pgcorpus.documents")


def add(key: str) -> None:
    with session():
        repository().add({"key": key, "content": key, "embedding": np.ones(1536)})


class Documents(TestCase):
    """Each test is rolled back, the class's data too."""

    @classmethod
    def setUpTestData(cls) -> None:
        add("of the class")
        Article.objects.create(title="of the class", body="b")

    def test_first(self) -> None:
        add("of the first")
        with session():
            assert repository().count() == 2

    def test_second(self) -> None:
        add("of the second")
        with session():
            assert {each.key for each in repository().list().items} == {"of the class", "of the second"}

    def test_a_hook_waits_for_a_commit_that_does_not_come(self) -> None:
        with self.captureOnCommitCallbacks() as hooks, transaction.atomic(), session():
            transaction.on_commit(lambda: None)
        assert len(hooks) == 1

    def test_a_pool_is_on_the_test_database_and_sees_nothing_of_it(self) -> None:
        with pooled_session() as apart:
            assert apart.scalar(COUNT) == 0
            assert apart.scalar(text("SELECT current_database()")).startswith("test_test_")

    def test_the_replica_is_its_mirror(self) -> None:
        assert engine("replica").url.database == engine().url.database


class Committed(TransactionTestCase):
    """Django empties its own tables after each test."""

    def test_what_is_committed_is_seen_by_all(self) -> None:
        add("committed")
        with pooled_session() as apart:
            assert apart.scalar(COUNT) == 1
            repository(session=apart).delete(everything=True)
