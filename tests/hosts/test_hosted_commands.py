"""The commands as a group of an app's own command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy.engine import URL

from pgcorpus.cli.hosted import HostedCommands
from pgcorpus.integrations.hosting import Host, HostSettings
from pgcorpus.testing import HashEmbedder


@pytest.fixture
def host(url: URL) -> Iterator[Host]:
    """An app with a database, an embedder and a collection of its own."""
    host = Host(HostSettings(database_url=url, embedder=HashEmbedder(), collection="help", tenant="acme"))
    yield host
    host.dispose()


def run(host: Host, *arguments: str, **more: Any) -> Result:
    app = click.Group("app")
    app.add_command(HostedCommands(lambda _: host.commands("app pgcorpus")))
    return CliRunner().invoke(app, ["pgcorpus", *arguments], **more)


def test_a_command_works_on_the_apps_database_with_its_embedder_collection_and_tenant(
    host: Host, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("Reset your password")
    stored = run(host, "ingest", str(tmp_path), "--json")
    assert (stored.exit_code, json.loads(stored.stdout)["collection"]) == (0, "help")
    found = run(host, "search", "your password", "--json")
    assert [hit["content"] for hit in json.loads(found.stdout)["hits"]] == ["Reset your password"]
    listed = json.loads(run(host, "collections", "--json").stdout)
    assert (listed["tenant"], listed["collections"][0]["embedding_model"]) == ("acme", "testing-hash-64")
    assert "Reset your password" in run(host, "ask", "your password?", "--min-score", "-1").stdout
    assert run(host, "reembed", "--status", "--json").exit_code == 0


def test_what_a_command_line_names_goes_before_what_the_app_says(host: Host) -> None:
    listed = run(host, "collections", "--tenant", "other", "--json")
    assert json.loads(listed.stdout) == {"tenant": "other", "collections": []}
    missing = run(host, "search", "x", "-c", "elsewhere")
    assert missing.exit_code == 1
    assert "elsewhere" in missing.stderr


def test_another_database_may_be_named(host: Host, empty_url: URL) -> None:
    there = empty_url.render_as_string(hide_password=False)
    assert json.loads(run(host, "migrate", "current", "--json", "--database-url", there).stdout)["current"] is None
    assert json.loads(run(host, "migrate", "current", "--json").stdout)["current"] is not None


def test_an_error_has_its_exit_code_and_names_the_apps_own_command(empty_url: URL) -> None:
    host = Host(HostSettings(database_url=empty_url, embedder=HashEmbedder()))
    refused = run(host, "search", "x")
    assert refused.exit_code == 3
    assert "`app pgcorpus migrate upgrade`" in refused.stderr
    assert run(host, "search", "x", "--where", '{"nonsense": 1}').exit_code == 3
    host.dispose()


def test_the_apps_database_is_migrated_and_not_on_the_way(empty_url: URL) -> None:
    host = Host(HostSettings(database_url=empty_url, embedder=HashEmbedder()))
    assert run(host, "migrate", "upgrade").exit_code == 0
    assert run(host, "migrate", "check").exit_code == 0
    assert run(host, "collections").stdout == "no collections yet: make one with `app pgcorpus ingest`\n"
    host.dispose()


def test_a_question_answered_with_no_ends_with_one(host: Host) -> None:
    refused = run(host, "migrate", "downgrade", "base", input="n\n")
    assert (refused.exit_code, refused.stderr.splitlines()[-1]) == (1, "Error: nothing was done")


@pytest.mark.parametrize("command", ["db", "demo", "serve"])
def test_an_app_has_no_command_for_a_database_or_a_server_of_ours(host: Host, command: str) -> None:
    assert run(host, command).exit_code == 2
