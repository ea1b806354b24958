"""What stops a migration is told in one line, says what to do, and leaves the database as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from pgcorpus import migrating, schema
from pgcorpus.cli.main import run_command
from pgcorpus.locks import advisory_lock

Refused = Callable[..., str]

UPGRADE, DOWNGRADE = ["upgrade"], ["downgrade", "--yes", "-1"]


@pytest.fixture
def refused(engine: Engine, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a migrate command that fails because of the database, and return its one line."""

    def refused(command: str, *arguments: str) -> str:
        url = engine.url.render_as_string(hide_password=False)
        before = schema.current(engine)
        code = run_command(["migrate", command, "--database-url", url, *arguments])
        output, errors = capsys.readouterr()
        assert (code, output, errors.count("\n")) == (3, "", 1), errors
        assert schema.current(engine) == before
        return errors

    return refused


def at(engine: Engine, revision: str) -> None:
    """Let the database say that it is at a revision."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE pgcorpus.alembic_version SET version_num = :revision"), {"revision": revision})


@pytest.mark.parametrize(
    "command",
    [UPGRADE, DOWNGRADE, ["check"]],
)
def test_a_database_ahead_of_the_code_wants_a_newer_package(
    engine: Engine, refused: Refused, command: list[str]
) -> None:
    at(engine, "pgcorpus_9999")
    assert "is at pgcorpus_9999, which this pgcorpus does not know: upgrade the package" in refused(*command)


def test_a_database_behind_the_code_wants_an_upgrade(engine: Engine, refused: Refused) -> None:
    schema.downgrade(engine, "pgcorpus_0003")
    assert "is at pgcorpus_0003, this pgcorpus needs" in refused("check")
    assert "run `pgcorpus migrate upgrade`" in refused("check")


@pytest.mark.parametrize("command", [["upgrade"], ["downgrade", "--yes"]], ids=lambda command: command[0])
@pytest.mark.parametrize("revision", ["pgcorpus_0500", "nonsense", "+50", "-50"])
def test_an_unknown_revision_is_named(refused: Refused, command: list[str], revision: str) -> None:
    assert revision in refused(*command, "--", revision)


@pytest.mark.parametrize("revision", ["nonsense", "pgcorpus_0001:nonsense"])
def test_an_unknown_revision_is_named_where_the_sql_is_printed(
    capsys: pytest.CaptureFixture[str], revision: str
) -> None:
    assert run_command(["migrate", "sql", revision]) == 3
    output, errors = capsys.readouterr()
    assert ("nonsense" in errors, errors.count("\n"), output) == (True, 1, "")


@pytest.mark.parametrize("command", [UPGRADE, DOWNGRADE], ids=lambda command: command[0])
def test_another_migration_is_named_by_its_server_process(engine: Engine, refused: Refused, command: list[str]) -> None:
    holder = text(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with advisory_lock(engine, "migration", 0), engine.connect() as connection:
        message = refused(*command, "--wait", "0.2")
        process = connection.scalar(holder)
    assert f"waited 0.2 s for the migration of the server process {process} (pgcorpus, connected for " in message
    assert "wait for it, or end that session" in message


def test_who_uses_a_table_is_named_by_its_server_process(
    engine: Engine, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT", "200ms")
    schema.downgrade(engine, "pgcorpus_0002")
    with engine.connect() as reader:
        reader.execute(text("LOCK TABLE pgcorpus.documents IN ACCESS SHARE MODE"))
        process = reader.scalar(text("SELECT pg_backend_pid()"))
        message = refused(*DOWNGRADE)
    assert "lock timeout" in message
    assert f"{process} (" in message


def test_a_revision_without_a_name_is_refused(refused: Refused) -> None:
    assert "name a revision" in refused("upgrade", "")
