"""`manage.py check`: what is wrong with the settings, and with the database where Django asks for it."""

from __future__ import annotations

import ast
import io
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL
from sqlalchemy.schema import DropIndex

from pgcorpus.models import Document
from pgcorpus.repositories.writing.indexes import vector_indexes
from pgcorpus.testing import HashEmbedder
from tests.support.django_host import django_on


def found(*, databases: list[str] | None = None) -> list[tuple[str, str]]:
    """Return id and text of what our checks say, and Django's own of databases."""
    from django.core.checks import run_checks

    tags = ["pgcorpus"] if databases is None else ["pgcorpus", "database"]
    return [(str(each.id), f"{each.msg} {each.hint}") for each in run_checks(tags=tags, databases=databases)]


def checked(**settings: Any) -> list[tuple[str, str]]:
    from django.test import override_settings

    with override_settings(**settings):
        return found()


@pytest.mark.parametrize(
    ("settings", "number", "says"),
    [
        ({"COLECTION": "x"}, "E001", "did you mean COLLECTION?"),
        ({"CACHE": "perhaps"}, "E001", "CACHE"),
        ("articles", "E001", "is a dictionary"),
        ({"DATABASE": "elsewhere"}, "E002", "no alias 'elsewhere'"),
        ({"EMBEDDER": "openai"}, "W001", "OPENAI_API_KEY"),
        ({"EMBEDDER": "wordllama"}, "W001", "'wordllama'"),
    ],
)
def test_a_setting_that_is_wrong_is_told_and_named(django: URL, settings: Any, number: str, says: str) -> None:
    ((identity, message),) = checked(PGCORPUS=settings)
    assert identity == f"pgcorpus.{number}"
    assert says in message


def test_settings_that_are_right_pass_and_no_embedder_is_made_for_it(django: URL) -> None:
    def not_now() -> None:
        raise AssertionError("an embedder may take long to load")

    for settings in ({}, {"EMBEDDER": "local"}, {"EMBEDDER": HashEmbedder()}, {"EMBEDDER": not_now}):
        assert checked(PGCORPUS=settings) == []


def test_a_key_is_never_told(django: URL) -> None:
    assert "sk-secret" not in str(checked(PGCORPUS={"OPENAI_API_KEY": "sk-secret", "OPENAI_KEY": "sk-secret"}))
    assert "sk-secret" not in str(checked(PGCORPUS={"OPENAI_API_KEY": {"sk-secret"}}))


def test_a_database_that_is_not_postgresql_is_told_and_none_is_asked(django: URL) -> None:
    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    with django_on(django, databases=databases):
        ((identity, message),) = found()
        assert identity == "pgcorpus.E002"
        assert "sqlite" in message
        assert found(databases=["default"]) == found()


def test_a_healthy_database_passes_and_is_looked_at_only_when_asked_for(django: URL) -> None:
    from django.db import connections

    assert found(databases=["default"]) == []
    with django_on(URL.create("postgresql", "nobody", host="127.0.0.1", port=1, database="none")):
        assert found() == found(databases=["replica"]) == []
        ((identity, message),) = found(databases=["default"])
        assert identity == "pgcorpus.E101"
        assert "127.0.0.1" in message
        assert connections["default"].connection is None


def test_an_unmigrated_database_is_a_warning_so_that_djangos_own_migrate_runs(empty_url: URL) -> None:
    from django.core.management import call_command

    with django_on(empty_url):
        identities, messages = zip(*found(databases=["default"]), strict=True)
        assert "pgcorpus.W120" in identities
        assert "`manage.py pgcorpus migrate upgrade`" in "".join(messages)
        call_command("migrate", "contenttypes", verbosity=0, skip_checks=False)
        call_command("pgcorpus", "migrate", "upgrade", "pgcorpus_0005", stdout=io.StringIO())
        assert [identity for identity, _ in found(databases=["default"])] == ["pgcorpus.W121"]


def test_a_lost_index_is_told_with_the_command_that_mends_it(django: URL) -> None:
    from django.core.management import call_command

    from pgcorpus.integrations.django import engine

    with engine().begin() as connection:
        (index,) = vector_indexes(Document)
        connection.execute(DropIndex(index))
    ((identity, message),) = found(databases=["default"])
    assert identity == "pgcorpus.W140"
    assert "`manage.py pgcorpus migrate upgrade`" in message
    call_command("pgcorpus", "migrate", "upgrade", stdout=io.StringIO())
    assert found(databases=["default"]) == []


def test_every_finding_has_a_number_of_its_own() -> None:
    from pgcorpus.integrations.django.checks import NUMBERS

    codes = {code for path in Path(str(files("pgcorpus.services.doctor"))).glob("*.py") for code in finding_codes(path)}
    assert codes == NUMBERS.keys()
    assert len(set(NUMBERS.values())) == len(NUMBERS)


def finding_codes(path: Path) -> list[str]:
    """Return the codes that a module makes findings with."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    findings = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Finding"]
    return [ast.literal_eval(call.args[0]) for call in findings]
