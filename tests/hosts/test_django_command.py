"""`manage.py pgcorpus`: the commands of `pgcorpus` on the project's database and models."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from pgcorpus import schema
from pgcorpus.cli.hosted import COMMANDS
from pgcorpus.testing import HashEmbedder
from tests.support.django_host import manage


@pytest.fixture
def settings(django: URL) -> Iterator[HashEmbedder]:
    """Settings that name another collection and tenant than the usual ones."""
    from django.test import override_settings

    embedder = HashEmbedder()
    with override_settings(PGCORPUS={"EMBEDDER": embedder, "COLLECTION": "help", "TENANT": "acme"}):
        yield embedder


def call(*words: Any, **options: Any) -> str:
    from django.core.management import call_command

    output = io.StringIO()
    call_command("pgcorpus", *words, stdout=output, **options)
    return output.getvalue()


def failure(*words: str) -> tuple[str, int]:
    """Return what a failing command says, and its exit code."""
    from django.core.management import CommandError

    with pytest.raises(CommandError) as caught:
        call(*words)
    return str(caught.value), caught.value.returncode


def test_call_command_works_in_the_settings_collection_and_tenant(
    settings: HashEmbedder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "returns.md").write_text("# Returns\n\nSend it back within 30 days.")
    report = json.loads(call("ingest", tmp_path, "--quiet", "--json", verbosity=0))
    assert (report["collection"], report["changes"]["added"]) == ("help", 1)
    hits = json.loads(call("search", "send it back", "-k", "1", "--json"))["hits"]
    assert [Path(hit["source"]).name for hit in hits] == ["returns.md"]
    assert json.loads(call("collections", "--json"))["tenant"] == "acme"
    assert json.loads(call("search", "--json", "--tenant", "acme", "--", "--traceback"))["query"] == "--traceback"
    assert capsys.readouterr() == ("", ""), "what was to be captured was"


def test_call_command_raises_what_the_command_says_with_its_exit_code(settings: HashEmbedder) -> None:
    message, code = failure("search", "words")
    assert "'help'" in message
    assert code == 1
    assert failure("search", "words", "--where", "{")[1] == 2
    assert failure("no-such-command")[1] == 2
    message, code = failure("migrate", "upgrade", "no_such_revision")
    assert code == 3
    assert "Traceback" not in message


def test_sync_names_what_is_kept_shows_what_it_did_and_can_be_dry(
    settings: HashEmbedder, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.hosts.django_project.shop.models import Article
    from tests.hosts.test_django_syncing import keeping, text_of

    assert "none yet: call keep_in_step" in failure("sync")[0]
    Article.objects.bulk_create([Article(title=f"t{number}", body="b") for number in range(3)])
    with keeping(Article, text=text_of):
        message, code = failure("sync")
        assert "name models, or --all. Models that are kept in step: shop.article" in message
        assert code == 2
        assert failure("sync", "shop.order")[1] == 2
        dry = json.loads(call("sync", "--all", "--dry-run", "--json"))
        assert (dry["dry_run"], dry["models"]["shop.article"]["changes"]["added"]) == (True, 3)
        assert settings.texts == []
        said = call("sync", "shop.Article", "--quiet")
        assert said.startswith("shop.article: 3 objects; 3 passages added, 0 updated, 0 unchanged, 0 deleted; 3 emb")
        Article.objects.filter(title="t0")._raw_delete("default")
        assert "0 deleted" in call("sync", "--all", "--no-prune")
        assert "1 deleted" in call("sync", "--all")
        Article.objects.all()._raw_delete("default")
        assert "0 deleted" in call("sync", "--all")
        assert "unless --prune is given" in capsys.readouterr().err
        assert "2 deleted" in call("sync", "--all", "--prune")


def test_sync_tells_of_objects_that_cannot_be_read_and_brings_the_others_in_step(settings: HashEmbedder) -> None:
    from tests.hosts.django_project.shop.models import Article
    from tests.hosts.test_django_syncing import keeping

    Article.objects.bulk_create([Article(title="0", body="b"), Article(title="1", body="b")])
    with keeping(Article, text=lambda article: str(1 / int(article.title))):
        message, code = failure("sync", "--all", "--quiet")
        assert code == 1
        assert "ZeroDivisionError" in message
        assert "1 objects could not be read" in message
    assert settings.texts == ["1.0"]


def test_every_level_has_its_own_help(settings: HashEmbedder, capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import load_command_class

    command: Any = load_command_class("pgcorpus.integrations.django", "pgcorpus")
    command.print_help("manage.py", "pgcorpus")
    listed = capsys.readouterr().out
    for name in ("sync", *COMMANDS):
        assert f"\n  {name} " in listed
    for option in ("--help", "-h"):
        assert "Usage: manage.py pgcorpus migrate upgrade" in call("migrate", "upgrade", option, "-v2")


def test_as_a_program_it_migrates_and_takes_djangos_own_options(empty_url: URL) -> None:
    migrated = manage(
        empty_url, "pgcorpus", "--no-color", "migrate", "upgrade",
        "--settings=tests.hosts.django_project.settings", "--traceback", "-v", "2", "--skip-checks",
    )  # fmt: skip
    assert migrated.stdout == f"base -> {schema.head()}\n"
    done = manage(empty_url, "pgcorpus", "search", "words", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    done = manage(empty_url, "pgcorpus", "-v", "loud", "collections", check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_server_that_is_away_is_told_in_one_line_and_by_exit_code_3() -> None:
    away = URL.create("postgresql", "nobody", host="127.0.0.1", port=1, database="none")
    done = manage(away, "pgcorpus", "collections", check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1


def test_django_sees_no_model_no_migration_and_nothing_to_administer(django: URL) -> None:
    from django.apps import apps
    from django.contrib import admin
    from django.core.management import call_command
    from django.utils.module_loading import module_has_submodule

    config = apps.get_app_config("pgcorpus")
    assert list(config.get_models(include_auto_created=True)) == []
    for submodule in ("admin", "models", "migrations"):
        assert config.module is not None
        assert not module_has_submodule(config.module, submodule)
    admin.autodiscover()
    assert {model._meta.app_label for model in admin.site._registry} == {"auth"}
    output = io.StringIO()
    call_command("makemigrations", check_changes=True, dry_run=True, stdout=output)
    assert output.getvalue() == "No changes detected\n"
    output = io.StringIO()
    call_command("showmigrations", "--plan", stdout=output, no_color=True)
    assert "pgcorpus" not in output.getvalue()
