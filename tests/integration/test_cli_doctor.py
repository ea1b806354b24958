"""``pgcorpus doctor``: for people, for programs, and as a script that mends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus import schema
from pgcorpus.cli.doctor import script
from pgcorpus.cli.host import CommandHost
from pgcorpus.cli.hosted import HostedCommands
from pgcorpus.cli.main import run_command
from pgcorpus.config import Settings
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.services.doctor import Finding, Severity, examine
from pgcorpus.testing import HashEmbedder
from tests.support.sickness import fill_by_sql, scalar
from tests.support.sickness import run as execute

Doctor = Callable[..., subprocess.CompletedProcess[str]]
DROP = "DROP INDEX pgcorpus.ix_documents_embedding"


@pytest.fixture
def doctor(url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Run the command in this process on the database of the test."""
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", url.render_as_string(hide_password=False))

    def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = run_command(["doctor", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return doctor


def test_a_healthy_database_has_nothing_to_mend_and_the_code_is_0(doctor: Doctor) -> None:
    done = doctor()
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing to mend\n", "")
    assert json.loads(doctor("--json").stdout) == {"worst": None, "findings": []}


def test_a_note_leaves_the_code_0(engine: Engine, doctor: Doctor) -> None:
    execute(
        engine,
        "INSERT INTO pgcorpus.collections (name, embedding_model) VALUES ('wiki', 'm')",
        "INSERT INTO pgcorpus.documents (collection_id, content) VALUES (1, 'waits')",
    )
    done = doctor()
    assert done.returncode == 0
    assert done.stdout.startswith("note  documents-waiting  Documents wait for an embedding.\n")


def test_people_read_what_was_seen_what_comes_of_it_and_what_mends_it(engine: Engine, doctor: Doctor) -> None:
    execute(engine, DROP)
    done = doctor()
    assert done.returncode == 1
    head, *lines = done.stdout.splitlines()
    assert head == "warning  index-missing  The vector index for cosine is missing."
    assert [line[:14].strip() for line in lines] == ["seen", "consequence", "remedy", "", ""]
    assert lines[3].strip() == "$ pgcorpus migrate upgrade"
    assert lines[4].strip().startswith("CREATE INDEX CONCURRENTLY ix_documents_embedding ON pgcorpus.documents")


def test_programs_read_the_same_with_the_sql_of_a_migration(engine: Engine, doctor: Doctor) -> None:
    schema.downgrade(engine, "pgcorpus_0005")
    done = doctor("--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["worst"]) == (3, "error")
    (finding,) = answer["findings"]
    assert (finding["code"], finding["severity"]) == ("schema-behind", "error")
    assert "CREATE TABLE pgcorpus.calibrations" in finding["sql"]


def test_a_server_that_does_not_answer_is_told_with_code_3(url: URL, tmp_path: Path, doctor: Doctor) -> None:
    nowhere = url.update_query_dict({"host": str(tmp_path)}).render_as_string(hide_password=False)
    done = doctor("--database-url", nowhere)
    assert done.returncode == 3
    assert done.stdout.startswith("error  server-unreachable  ")
    assert "Traceback" not in done.stderr


def test_a_url_that_is_none_is_a_mistake_of_the_command_line(doctor: Doctor) -> None:
    done = doctor("--database-url", "nonsense")
    assert done.returncode == 2
    assert "Error: " in done.stderr


def test_all_documents_are_read_on_request(engine: Engine, doctor: Doctor) -> None:
    """The newest 100 have embeddings; one before them has none."""
    insert = "INSERT INTO pgcorpus.documents (collection_id, content, embedding) SELECT 1, 'text ' || n,"
    execute(
        engine,
        "INSERT INTO pgcorpus.collections (name, embedding_model) VALUES ('wiki', 'm')",
        f"{insert} NULL FROM generate_series(1, 1) AS n",
        f"{insert} array_fill(n, ARRAY[1536])::vector FROM generate_series(2, 120) AS n",
    )
    assert json.loads(doctor("--json").stdout)["findings"] == []
    (finding,) = json.loads(doctor("--json", "--deep").stdout)["findings"]
    assert finding["code"] == "documents-waiting"
    assert finding["evidence"].startswith("1 of ")


def test_json_and_a_script_at_once_is_refused(doctor: Doctor) -> None:
    assert doctor("--json", "--fix-sql").returncode == 2


def test_an_app_that_offers_the_command_is_told_its_own_commands(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(engine, DROP)
    host = CommandHost("flask pgcorpus", Settings(), lambda: engine, HashEmbedder, lambda: None)
    with pytest.raises(SystemExit) as ended:
        HostedCommands(lambda _: host).main(["doctor"])
    assert ended.value.code == 1
    assert "$ flask pgcorpus migrate upgrade" in capsys.readouterr().out


# The script


def psql(server: EmbeddedServer, engine: Engine, sql: str) -> None:
    """Run a script as the first line of it says."""
    program = [*server.psql_command(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", str(engine.url.database), "-f", "-"]
    process = subprocess.run(program, input=sql, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_the_script_makes_an_empty_database_healthy(
    server: EmbeddedServer, empty_engine: Engine, doctor: Doctor
) -> None:
    done = doctor("--fix-sql", "--database-url", empty_engine.url.render_as_string(hide_password=False))
    assert done.returncode == 3
    psql(server, empty_engine, done.stdout)
    assert examine(empty_engine) == []
    schema.check(empty_engine)


def test_the_script_mends_several_things_at_once(server: EmbeddedServer, engine: Engine, doctor: Doctor) -> None:
    execute(engine, "INSERT INTO pgcorpus.collections (name, distance) VALUES ('a', 'l2'), ('b', 'cosine')", DROP)
    execute(engine, "UPDATE pg_extension SET extversion = '0.8.1' WHERE extname = 'vector'")
    done = doctor("--fix-sql")
    assert done.returncode == 1
    assert [done.stdout.count(f"\n-- {code}: ") for code in ("extension-defects", "index-missing")] == [1, 2]
    psql(server, engine, done.stdout)
    assert examine(engine) == []


def test_the_script_is_not_cut_short_by_the_timeout_that_it_mends(server: EmbeddedServer, engine: Engine) -> None:
    finding = Finding("settings-blunt", Severity.WARNING, "", "", "", "Reset it.", sql="SELECT pg_sleep(0.3);")
    execute(engine, f"ALTER DATABASE {engine.url.database} SET statement_timeout = 100")
    psql(server, engine, script([finding]))


def test_the_script_runs_nothing_that_would_lose_embeddings(
    server: EmbeddedServer, engine: Engine, doctor: Doctor
) -> None:
    fill_by_sql(engine, 12)
    execute(engine, "UPDATE pgcorpus.documents SET content_hash = sha256('other') WHERE id = 3")
    done = doctor("--fix-sql", "--deep")
    assert "content-hash-stale" in done.stdout
    psql(server, engine, done.stdout)
    assert scalar(engine, "SELECT count(*) FROM pgcorpus.documents WHERE embedding IS NOT NULL") == 12


def test_the_script_of_a_healthy_database_does_nothing(server: EmbeddedServer, engine: Engine, doctor: Doctor) -> None:
    done = doctor("--fix-sql")
    assert done.returncode == 0
    assert all(line.startswith("--") for line in done.stdout.splitlines())
    psql(server, engine, done.stdout)


def test_a_name_with_a_line_break_stays_in_its_comment() -> None:
    finding = Finding(
        "index-invalid", Severity.WARNING, "The index a\nDROP TABLE b; is invalid.", "", "", "Wait\nfor it."
    )
    assert all(line.startswith("--") for line in script([finding]).splitlines() if line)
