"""Documents kept in step with the objects of Django models."""

from __future__ import annotations

import logging
import threading
import unittest
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.engine import URL

from pgcorpus.errors import ConfigError, EmbeddingError, SourceError
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.services.embedding.base import Vectors
from pgcorpus.testing import HashEmbedder
from tests.support import django_host
from tests.support.waiting import wait_until


class Embedder(HashEmbedder):
    """Fails and waits on demand."""

    cached = False

    def __init__(self) -> None:
        super().__init__(64)
        self.meanwhile: Callable[[], object] | None = None
        self.broken = False
        self.calls = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        if self.broken:
            raise EmbeddingError("the embedder is out of order")
        self.calls += 1
        vectors = super().embed(texts)
        if meanwhile := self.meanwhile:
            self.meanwhile = None
            meanwhile()
        return vectors


@pytest.fixture
def embedder(django: URL) -> Iterator[Embedder]:
    """The project's embedder for the time."""
    from django.test import override_settings

    made = Embedder()
    with override_settings(PGCORPUS={"EMBEDDER": made, "COLLECTION": "articles"}):
        yield made


@contextmanager
def keeping(model: Any, **options: Any) -> Iterator[Any]:
    """Keep a model in step for the time."""
    from pgcorpus.integrations.django import syncing

    kept = syncing.keep_in_step(model, **options)
    try:
        yield kept
    finally:
        syncing.stop_keeping(kept)


def text_of(article: Any) -> str:
    return f"{article.title}\n\n{article.body}"


@pytest.fixture
def kept(embedder: Embedder) -> Iterator[Any]:
    """Articles kept in step, published ones only, each for its tenant."""
    from tests.hosts.django_project.shop.models import Article

    with keeping(
        Article,
        text=text_of,
        meta=lambda article: {"title": article.title} | article.extra,
        tenant=lambda article: article.tenant,
        where=lambda article: article.published,
    ) as kept:
        yield kept


def stored(tenant: str = "default", collection: str = "articles") -> list[tuple[str | None, str]]:
    """Return source and content of what is stored."""
    from sqlalchemy import select

    from pgcorpus.integrations.django import engine
    from pgcorpus.models import Collection

    statement = (
        select(Document.source, Document.content)
        .join(Collection, Collection.id == Document.collection_id)
        .where(Collection.tenant_id == tenant, Collection.name == collection)
        .order_by(Document.source, Document.position)
    )
    with engine().connect() as connection:
        return [(row.source, row.content) for row in connection.execute(statement)]


def article_of(**values: Any) -> Any:
    from tests.hosts.django_project.shop.models import Article

    return Article(**{"title": "Returns", "body": "within 30 days"} | values)


def article(**values: Any) -> Any:
    made = article_of(**values)
    made.save()
    return made


def test_what_is_saved_is_found_with_its_metadata_and_what_is_deleted_is_not(kept: Any) -> None:
    from pgcorpus.integrations.django import retriever
    from pgcorpus.integrations.django.syncing import objects, objects_and_hits
    from tests.hosts.django_project.shop.models import Article

    returns, ships = article(extra={"day": 1}), article(title="Shipping", body="takes two days")
    hits = retriever().retrieve("Shipping takes two days", 5)
    assert hits[0].document.source == f"shop.article:{ships.pk}"
    assert objects(Article, hits) == [ships, returns]
    assert objects_and_hits(Article, hits)[1][1].document.meta == {"title": "Returns", "day": 1}
    ships.delete()
    assert stored() == [(f"shop.article:{returns.pk}", "Returns\n\nwithin 30 days")]
    assert objects(Article, hits) == [returns], "what is gone is left out"


def test_an_object_has_its_best_rank_and_is_read_in_one_query(kept: Any) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from pgcorpus.integrations.django import retriever
    from pgcorpus.integrations.django.syncing import objects_and_hits
    from tests.hosts.django_project.shop.models import Article

    long = article(body="\n\n".join(f"Paragraph {number} on returns. " + "word " * 60 for number in range(20)))
    other = article(title="Other", body="nothing of the kind")
    hits = retriever().retrieve("returns", 20)
    assert len(hits) > 3, "a long text is several passages"
    with CaptureQueriesContext(
        connection,
    ) as queries:
        pairs = objects_and_hits(Article, hits)
    assert len(queries) == 1
    assert [thing for thing, _ in pairs] == [long, other]
    assert pairs[0][1] is hits[0]
    Article.objects.filter(pk=long.pk).update(published=False)
    assert [thing for thing, _ in objects_and_hits(Article, hits)] == [other], "where= holds for what is shown, too"
    assert objects_and_hits(Article, hits, Article.objects.none()) == []


def test_nothing_is_stored_before_the_outermost_commit_and_one_object_is_embedded_once(
    kept: Any, embedder: Embedder
) -> None:
    from django.db import transaction

    with transaction.atomic():
        with transaction.atomic():
            returns = article()
        for day in range(5):
            returns.body = f"within {day} days"
            returns.save()
        assert embedder.texts == []
    assert embedder.texts == ["Returns\n\nwithin 4 days"]
    calls = embedder.calls
    with transaction.atomic():
        for title in ("a", "b", "c"):
            article(title=title)
    assert (embedder.calls, len(embedder.texts)) == (calls + 1, 4), "those of one transaction are embedded together"
    returns.save()
    assert len(embedder.texts) == 4, "what did not change costs nothing"


def test_a_rolled_back_save_leaves_nothing_and_a_save_after_a_rolled_back_savepoint_is_kept(
    kept: Any, embedder: Embedder
) -> None:
    from django.db import transaction

    def fail_in_a_block() -> None:
        with transaction.atomic():
            returns.save()
            raise RuntimeError

    returns = article_of(body="never")
    with pytest.raises(RuntimeError):
        fail_in_a_block()
    assert (stored(), embedder.texts) == ([], [])
    returns = article(body="old")
    with transaction.atomic():
        returns.body = "never"
        with pytest.raises(RuntimeError):
            fail_in_a_block()
        returns.body = "new"
        returns.save()
    assert [content for _, content in stored()] == ["Returns\n\nnew"]


def test_another_tenant_takes_the_documents_along_and_unpublishing_removes_them_without_an_embedder(
    kept: Any, embedder: Embedder
) -> None:
    returns = article(tenant="acme")
    returns.tenant = "globex"
    returns.save()
    assert (len(stored("acme")), len(stored("globex"))) == (0, 1)
    embedder.broken = True
    returns.published = False
    returns.save()
    assert stored("globex") == []
    returns.published, returns.tenant = True, "acme"
    embedder.broken = False
    returns.save()
    embedder.broken = True
    returns.tenant, returns.body = "globex", "changed"
    returns.save()
    assert (stored("acme"), stored("globex")) == ([], []), "no other tenant's copy stays, even if no embedder answers"


@pytest.mark.parametrize("wrong", ["text", "tenant"])
def test_an_object_that_cannot_be_read_stops_no_other_and_no_other_tenant_keeps_it(
    embedder: Embedder, wrong: str
) -> None:
    """What is stored of it stays with the tenant that it says it has, if it says so."""
    from pgcorpus.integrations.django.syncing import backfill, sync_one
    from tests.hosts.django_project.shop.models import Article

    def of(name: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda article: 1 / 0 if (article.title, name) == ("bad", wrong) else read(article)

    with keeping(Article, text=of("text", text_of), tenant=of("tenant", lambda article: article.tenant)) as kept:
        stays, moves, other = (article(title=title, tenant="acme") for title in ("stays", "moves", "other"))
        Article.objects.filter(pk=other.pk).update(body="new")
        Article.objects.filter(pk__in=[stays.pk, moves.pk]).update(title="bad")
        Article.objects.filter(pk=moves.pk).update(tenant="globex")
        report = backfill(kept)
        assert sorted(report.failures) == [f"shop.article:{each.pk}" for each in (stays, moves)]
        assert {str(exc) for exc in report.failures.values()} == {"ZeroDivisionError: division by zero"}
        assert {exc.__traceback__ for exc in report.failures.values()} == {None}, "it would hold the texts of a page"
        left = {"text": ["stays\n\nwithin 30 days"], "tenant": []}[wrong]
        assert [content for _, content in stored("acme")] == [*left, "other\n\nnew"]
        assert stored("globex") == []
        with pytest.raises(ZeroDivisionError):
            sync_one("shop.article", str(moves.pk))


def test_a_failing_embedder_fails_no_save_is_logged_and_the_back_fill_mends_it(
    kept: Any, embedder: Embedder, caplog: pytest.LogCaptureFixture
) -> None:
    from pgcorpus.integrations.django.syncing import backfill

    embedder.broken = True
    with caplog.at_level(logging.ERROR, "pgcorpus.django"):
        returns = article()
    assert f"shop.article:{returns.pk} is not in step: the embedder is out of order" in caplog.text
    assert "manage.py pgcorpus sync shop.article" in caplog.text
    embedder.broken = False
    assert backfill(kept).changes.added == 1
    assert [source for source, _ in stored()] == [f"shop.article:{returns.pk}"]


def test_of_two_saves_the_newest_stays_whichever_is_embedded_last(kept: Any, embedder: Embedder) -> None:
    """The first is being embedded when the second one comes, is embedded and written."""
    from django.db import connection

    from tests.hosts.django_project.shop.models import Article

    def save_again() -> None:
        try:
            newest = Article.objects.get()
            newest.body, newest.tenant = "newest", "acme"
            newest.save()
        finally:
            connection.close()

    def in_another_thread() -> None:
        thread = threading.Thread(target=save_again)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), "nobody waits for an embedder of another's"

    embedder.meanwhile = in_another_thread
    article(body="older")
    assert embedder.texts == ["Returns\n\nolder", "Returns\n\nnewest"]
    assert (stored(), [content for _, content in stored("acme")]) == ([], ["Returns\n\nnewest"])


def test_threads_that_save_one_object_end_with_what_it_is(kept: Any) -> None:
    from django.db import connection

    from tests.hosts.django_project.shop.models import Article

    pk = article().pk
    together = threading.Barrier(4)
    failures: list[BaseException] = []

    def save(number: int) -> None:
        try:
            together.wait(20)
            for turn in range(5):
                Article(pk=pk, title=f"by {number}", body=f"turn {turn}", tenant=("a", "b")[turn % 2]).save()
        except BaseException as exc:  # noqa: BLE001 -- the main thread looks at it
            failures.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    last = Article.objects.get()
    assert stored(last.tenant) == [(f"shop.article:{pk}", text_of(last))]
    assert stored("b" if last.tenant == "a" else "a") == []


def test_a_text_that_is_never_the_same_is_given_up(embedder: Embedder) -> None:
    from pgcorpus.integrations.django.syncing import sync_one
    from tests.hosts.django_project.shop.models import Article

    with keeping(Article, text=lambda _: str(uuid4()), robust=False):
        with pytest.raises(SourceError, match="another one each time"):
            article()
        with pytest.raises(ConfigError, match=r"shop\.order, but of shop\.article"):
            sync_one("shop.order", "1")


def test_a_worker_is_handed_two_strings_after_the_commit_and_once(embedder: Embedder) -> None:
    from django.db import transaction

    from pgcorpus.integrations.django.syncing import sync_one
    from tests.hosts.django_project.shop.models import Article

    jobs: list[tuple[str, str]] = []
    with keeping(Article, text=text_of, run=lambda label, key: jobs.append((label, key))):
        with transaction.atomic():
            returns = article()
            returns.save()
            assert jobs == []
        assert jobs == [("shop.article", str(returns.pk))]
        assert stored() == []
        sync_one(*jobs[0])
        sync_one(*jobs[0])
        assert len(stored()) == 1
        assert len(embedder.texts) == 1
        pk = returns.pk
        returns.delete()
        assert jobs[1:] == [("shop.article", str(pk))]
        sync_one(*jobs[1])
    assert stored() == []


def test_what_signals_do_not_tell_is_mended_by_the_back_fill(
    kept: Any, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgcorpus.integrations.django import backfill as module
    from tests.hosts.django_project.shop.models import Article

    monkeypatch.setattr(module, "PAGE", 4)
    Article.objects.bulk_create([article_of(title=f"t{number}", tenant="ab"[number % 2]) for number in range(10)])
    assert stored("a") == []
    foreseen = module.backfill(kept, dry_run=True)
    assert (foreseen.objects, foreseen.embedded, foreseen.changes.added, embedder.texts) == (10, 10, 10, [])
    pages: list[int] = []
    assert module.backfill(kept, progress=pages.append).changes.added == 10
    assert pages == [4, 4, 2]
    again = module.backfill(kept)
    assert (again.embedded, again.changes.unchanged, len(embedder.texts)) == (0, 10, 10)

    first, second, third, *_ = Article.objects.order_by("pk")
    Article.objects.filter(pk=first.pk).update(published=False)
    Article.objects.filter(pk=second.pk).update(tenant="a")
    Article.objects.filter(pk=third.pk)._raw_delete("default")
    changes = module.backfill(kept, dry_run=True).changes
    assert (changes.deleted, changes.added, len(stored("a"))) == (3, 1, 5), "a dry run changes nothing"
    changes = module.backfill(kept, prune=False).changes
    assert (changes.deleted, changes.added) == (2, 1)
    assert module.backfill(kept).changes.deleted == 1
    assert len(stored("a")) + len(stored("b")) == 8
    Article.objects.all()._raw_delete("default")
    assert module.backfill(kept).changes.deleted == 0, "an empty table may be the wrong database's"
    assert module.backfill(kept, prune=True).changes.deleted == 8


def test_a_back_fill_that_was_cut_off_is_taken_up_and_other_sources_are_left_alone(
    kept: Any, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pgcorpus.integrations.django import backfill as module
    from pgcorpus.integrations.django import session
    from tests.hosts.django_project.shop.models import Article

    monkeypatch.setattr(module, "PAGE", 3)
    Article.objects.bulk_create([Article(title=f"t{number}", body="b") for number in range(9)])

    def cut_off(_: int) -> None:
        if len(embedder.texts) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        module.backfill(kept, progress=cut_off)
    assert len(stored()) == 6
    with session() as documents:
        vector = HashEmbedder(1536).embed(["x"])[0]
        other = Draft("x", "x", source="shop.articles.md", embedding=vector)
        DocumentRepository(documents, "articles", "other").add(other)
    report = module.backfill(kept)
    assert (report.changes.added, report.changes.unchanged, report.changes.deleted) == (3, 6, 0)
    assert len(stored("other")) == 1
    assert vector_index() is True, "a first load ends with the index"


def vector_index() -> Any:
    from sqlalchemy import text

    from pgcorpus.integrations.django import engine

    with engine().connect() as connection:
        return connection.scalar(
            text("SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid::regclass::text ~ 'documents_embedding'")
        )


def test_a_test_case_of_djangos_rolls_the_documents_back(kept: Any) -> None:
    from django.test import TestCase

    found: list[list[str]] = []

    class Case(TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            cls.made = article(title="made")

        def test_it(self) -> None:
            from pgcorpus.integrations.django import repository, session

            for body in ("first", "second"):
                with self.captureOnCommitCallbacks(execute=True):
                    type(self.made).objects.get().save()
                    article(title="other", body=body).delete()
                    self.made.body = body
                    self.made.save()
                with session():
                    found.append([each.content for each in repository().list().items])

    result = unittest.TestResult()
    unittest.TestSuite([Case("test_it")]).run(result)
    assert result.wasSuccessful(), result.errors + result.failures
    assert found == [["made\n\nfirst"], ["made\n\nsecond"]], "also what was saved before, when no hook was run"
    assert stored() == []


def test_fixtures_are_followed_once_they_are_loaded(kept: Any, tmp_path: Any) -> None:
    from django.core import serializers
    from django.core.management import call_command

    from tests.hosts.django_project.shop.models import Article

    fixture = tmp_path / "articles.json"
    fixture.write_text(serializers.serialize("json", [Article(pk=7, title="Loaded", body="from a file")]))
    call_command("loaddata", str(fixture), verbosity=0)
    assert stored() == [("shop.article:7", "Loaded\n\nfrom a file")]


def test_deferred_fields_and_proxies_are_read_whole(kept: Any, django: URL) -> None:
    from django.test.utils import isolate_apps

    from tests.hosts.django_project.shop.models import Article

    pk = article(body="all of it").pk
    part = Article.objects.only("title").get(pk=pk)
    part.title = "Partly loaded"
    part.save(update_fields=["title"])
    assert stored() == [(f"shop.article:{pk}", "Partly loaded\n\nall of it")]
    with isolate_apps("tests.hosts.django_project.shop"):

        class Notice(Article):
            class Meta:
                proxy = True
                app_label = "shop"

    proxied = Notice.objects.get(pk=pk)
    proxied.title = "By proxy"
    proxied.save()
    assert stored() == [(f"shop.article:{pk}", "By proxy\n\nall of it")]


def test_children_in_tables_of_their_own_and_uuids_are_followed(embedder: Embedder) -> None:
    from django.db import connection, models
    from django.test.utils import isolate_apps

    from pgcorpus.integrations.django.syncing import objects

    with isolate_apps("tests.hosts.django_project.shop"):

        class Place(models.Model):
            id = models.UUIDField(primary_key=True, default=uuid4)
            name = models.CharField(max_length=50)
            opened = models.DateField(null=True)

            class Meta:
                app_label = "shop"

        class Restaurant(Place):
            menu = models.TextField()

            class Meta:
                app_label = "shop"

        class Pair(models.Model):
            pk = models.CompositePrimaryKey("a", "b")
            a = models.IntegerField()
            b = models.IntegerField()

            class Meta:
                app_label = "shop"

        with pytest.raises(ConfigError, match="several columns"), keeping(Pair, text=str):
            pass
        with connection.schema_editor() as editor:
            editor.create_model(Place)
            editor.create_model(Restaurant)
        options = {"text": lambda place: place.name, "meta": lambda place: {"opened": place.opened, "id": place.pk}}
        with keeping(Place, **options) as places, keeping(Restaurant, text=lambda each: each.menu, source="menus"):
            from pgcorpus.integrations.django import engine, retriever

            pizza = Restaurant.objects.create(name="Napoli", menu="pizza", opened=date(2024, 5, 1))
            assert stored() == [("menus:" + str(pizza.pk), "pizza"), ("shop.place:" + str(pizza.pk), "Napoli")]
            Place.objects.get().save()
            hits = retriever().retrieve("Napoli", 2)
            assert hits[0].document.meta == {"opened": "2024-05-01", "id": str(pizza.pk)}
            assert objects(Place, hits) == [Place.objects.get()]
            assert isinstance(places.pk_of(str(pizza.pk)), UUID)
            assert places.pk_of("no uuid") is None
            Restaurant.objects.get().delete(keep_parents=True)
            assert [source for source, _ in stored()] == [f"shop.place:{pizza.pk}"]
            Place.objects.all().delete()
            assert stored() == []
            engine().dispose()


def test_saves_in_another_database_than_the_models_own_are_not_followed(embedder: Embedder, django_url: URL) -> None:
    from tests.hosts.django_project.shop.models import Article

    with keeping(Article, text=text_of, using="replica"):
        article()
        assert stored() == []
        Article.objects.using("replica").create(title="Far", body="away")
    assert [content for _, content in stored()] == ["Far\n\naway"]


def test_a_second_call_and_a_taken_source_are_refused(kept: Any) -> None:
    from django.contrib.auth.models import User

    from tests.hosts.django_project.shop.models import Article

    for model, options, said in (
        (Article, {}, "called twice"),
        (User, {"source": "shop.article"}, "has the source"),
        (User, {"source": "a:b"}, "colon"),
        (User, {"format": "docx"}, "no format"),
    ):
        with pytest.raises(ConfigError, match=said), keeping(model, text=str, **options):
            pass


def test_apps_that_are_loaded_again_may_say_again_what_they_said(kept: Any) -> None:
    from django.test import modify_settings

    from pgcorpus.integrations.django.syncing import keep_in_step

    for change in ("append", "prepend"):
        with modify_settings(INSTALLED_APPS={change: "django.contrib.humanize"}):
            assert keep_in_step(kept.model, text=text_of) is kept
    article()
    assert len(stored()) == 1


def test_during_a_switch_of_the_model_a_save_takes_the_embedder_that_the_collection_has(
    kept: Any, embedder: Embedder
) -> None:
    from django.test import override_settings

    article(title="before")
    newer = Embedder()
    newer.model = "newer"
    with override_settings(PGCORPUS={"EMBEDDER": [newer, embedder], "COLLECTION": "articles"}):
        article(title="during")
    assert (len(newer.texts), len(embedder.texts)) == (0, 2)


@pytest.mark.parametrize("level", ["READ_COMMITTED", "REPEATABLE_READ"])
def test_who_waits_for_another_of_the_same_object_writes_what_it_is_after_the_wait(django_url: URL, level: str) -> None:
    from psycopg import IsolationLevel

    with django_host.django_on(django_url, OPTIONS={"isolation_level": IsolationLevel[level]}):
        from django.db import connection
        from django.test import override_settings

        from pgcorpus.integrations.django.syncing import sync_one
        from tests.hosts.django_project.shop.models import Article

        reached, go_on = threading.Event(), threading.Event()
        failures: list[BaseException] = []

        def text_in_a_turn(thing: Any) -> str:
            if threading.current_thread().name == "first" and not reached.is_set():
                reached.set()
                assert go_on.wait(20)
            return text_of(thing)

        def work() -> None:
            try:
                sync_one("shop.article", str(pk))
            except BaseException as exc:  # noqa: BLE001 -- the main thread looks at it
                failures.append(exc)
            finally:
                connection.close()

        settings = {"EMBEDDER": Embedder(), "COLLECTION": "articles"}
        with override_settings(PGCORPUS=settings), keeping(Article, text=text_in_a_turn):
            pk = article(body="third").pk
            Article.objects.filter(pk=pk).update(title="", body="")
            first, second = (threading.Thread(target=work, name=name) for name in ("first", "second"))
            first.start()
            assert reached.wait(20)
            # It has nothing to embed, and would delete.
            Article.objects.filter(pk=pk).update(title="Returns", body="third")
            second.start()
            wait_until(lambda: not second.is_alive() or waits_for_a_turn())
            Article.objects.filter(pk=pk).update(body="newest")
            go_on.set()
            first.join(20)
            second.join(20)
            assert failures == []
            assert stored() == [(f"shop.article:{pk}", "Returns\n\nnewest")]


def waits_for_a_turn() -> bool:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])
