"""What docs/operations.md has its reader type is what works."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from sqlalchemy import Engine, NullPool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from pgcorpus import schema
from pgcorpus.cli.main import cli
from pgcorpus.database import create_engine, session_factory
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.doctor import examine
from tests.support.indexed import run, value, vectors

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs/operations.md").read_text()
ROLES = ("corpus_migrator", "corpus_writer", "corpus_reader")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def sql(words: str, database: str | None) -> list[str]:
    """Return the statements of the one block that has some words, for this database."""
    (block,) = [block for block in blocks("sql") if words in block]
    return [each.replace("mydb", str(database)) for each in block.split(";\n") if each.strip()]


def commands() -> Iterator[list[str]]:
    for line in "\n".join(blocks("sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["pgcorpus"]:
            yield words[1:]


def as_role(url: URL, role: str) -> Engine:
    return create_engine(url.set(username=role), poolclass=NullPool)


def codes(engine: Engine) -> list[str]:
    return [finding.code for finding in examine(engine)]


def passages(session: Session, tenant: str) -> DocumentRepository:
    return DocumentRepository(session, "handbook", tenant, embedding_model="drawn")


def add(engine: Engine, tenant: str) -> None:
    with session_factory(engine).begin() as session:
        passages(session, tenant).add(Document(content=f"of {tenant}", embedding=np.eye(1, 1536)[0]))


@pytest.fixture
def roles(empty_url: URL, empty_engine: Engine) -> Iterator[dict[str, Engine]]:
    """The roles as the page makes them, in a database that the migrator has migrated."""
    run(empty_engine, *sql("CREATE ROLE corpus_migrator", empty_url.database))
    made = {role.removeprefix("corpus_"): as_role(empty_url, role) for role in ROLES}
    try:
        schema.upgrade(made["migrator"])
        run(empty_engine, *sql("ALTER DEFAULT PRIVILEGES", empty_url.database))
        yield made
    finally:
        for role in reversed(ROLES):
            run(empty_engine, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_each_role_may_do_what_it_is_for_and_no_more(roles: dict[str, Engine], empty_engine: Engine) -> None:
    add(roles["writer"], "acme")
    with session_factory(roles["reader"])() as session:
        assert [hit.document.content for hit in passages(session, "acme").search(np.eye(1, 1536)[0])] == ["of acme"]
    with pytest.raises(ProgrammingError, match="permission denied"):
        add(roles["reader"], "acme")
    with pytest.raises(ProgrammingError, match="must be owner"):
        run(roles["writer"], "ALTER TABLE pgcorpus.documents DROP COLUMN source")
    assert {name: codes(engine) for name, engine in roles.items()} == {
        "migrator": [], "writer": [], "reader": ["rights-writing"],
    }  # fmt: skip
    assert value(roles["reader"], "SELECT current_setting('statement_timeout')") == "15s"


def test_tables_that_come_later_are_granted_too(roles: dict[str, Engine]) -> None:
    schema.downgrade(roles["migrator"], "pgcorpus_0005")
    schema.upgrade(roles["migrator"])
    assert codes(roles["writer"]) == []


def test_row_level_security_shows_a_tenant_its_own(roles: dict[str, Engine], empty_engine: Engine) -> None:
    for tenant in ("acme", "other"):
        add(roles["writer"], tenant)
    run(empty_engine, *sql("ENABLE ROW LEVEL SECURITY", None))
    with session_factory(roles["writer"])() as session:
        session.execute(text("SET LOCAL app.tenant = 'acme'"))
        assert session.scalars(text("SELECT content FROM pgcorpus.documents")).all() == ["of acme"]
        assert len(passages(session, "acme").search(np.eye(1, 1536)[0])) == 1
        passages(session, "acme").add(Document(content="more", embedding=np.eye(1, 1536)[0]))
    assert value(roles["writer"], "SELECT count(*) FROM pgcorpus.documents") == 0


def test_what_was_dumped_and_restored_as_printed_finds_the_same(
    engine: Engine, url: URL, server: EmbeddedServer, tmp_path: Path
) -> None:
    with session_factory(engine).begin() as session:
        passages(session, "acme").add_many(
            [Document(content=f"text {n}", embedding=row) for n, row in enumerate(vectors(60))]
        )
    restored = url.set(database=f"{url.database}_restored")
    (block,) = [block for block in blocks("sh") if "pg_restore" in block]
    script = block.split("pgcorpus doctor")[0].replace("mydb", str(url.database))
    script = re.sub(r"\brestored\b", str(restored.database), script)
    environment = {
        "PATH": f"{server.binary('pg_dump').parent}:{os.environ['PATH']}",
        "PGHOST": str(url.query["host"]), "PGPORT": str(url.query["port"]), "PGUSER": str(url.username),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-e", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    other = create_engine(restored, poolclass=NullPool)
    try:
        assert codes(other) == []
        assert found(other) == found(engine)
    finally:
        run(engine, f"DROP DATABASE {restored.database} WITH (FORCE)")


def found(engine: Engine) -> list[tuple[str, float]]:
    with session_factory(engine)() as session:
        hits = passages(session, "acme").search(vectors(1, seed=9)[0], 20, exact=True)
        return [(hit.document.key, hit.distance) for hit in hits]


@pytest.mark.parametrize(
    "words", ["pg_prewarm", "pg_stat_progress", "autovacuum_vacuum_scale", "ALTER EXTENSION", "pg_stat_replication"]
)
def test_the_other_sql_of_the_page_runs(engine: Engine, words: str) -> None:
    run(engine, *sql(words, None))


def test_the_commands_of_the_page_exist_with_their_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("questions.txt").touch()
    for words in commands():
        command: click.Command = cli
        while isinstance(command, click.Group):
            name, *words = words
            found = command.get_command(click.Context(command), name)
            assert found, f"there is no command {name}"
            command = found
        command.make_context("page", words).close()


def test_the_sizing_table_is_the_one_that_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CHECKOUT)  # the benchmarks are no part of the installed package
    assert importlib.import_module("benchmarks.operations.sizing").sizing() in PAGE
