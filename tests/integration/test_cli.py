"""The command line: the main job, and for what is wrong one line, an exit code and nothing half-written."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.engine import URL

from pgcorpus import schema
from pgcorpus.cli.main import run_command
from pgcorpus.database import session_factory
from pgcorpus.models import Document
from tests.support.openai_server import OpenAIServer
from tests.support.waiting import wait_until

Run = Callable[..., subprocess.CompletedProcess[str]]
Spawn = Callable[..., subprocess.Popen[str]]

PROGRAM = [sys.executable, "-m", "pgcorpus"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with something to read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/fruit.md").write_text("# Fruit\n\n## Apples\n\nApples grow on trees.\n\n## Pears\n\nPears too.\n")
    (tmp_path / "docs/cars.html").write_text("<title>Cars</title><h1>Cars</h1><p>A car has an engine.</p>")
    (tmp_path / "docs/notes.txt").write_text("Remember the milk.\n")
    lines = [
        {"content": "A cat sleeps.", "metadata": {"year": 2020}},
        {"content": "A dog barks.", "metadata": {"year": 2024}},
    ]
    (tmp_path / "docs/pets.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.fixture
def environment(url: URL, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a command, ours and that of the processes we start."""
    variables = {"PGCORPUS_DATABASE_URL": url.render_as_string(hide_password=False), "PGCORPUS_EMBEDDER": "local"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return os.environ | variables


@pytest.fixture
def run(
    environment: dict[str, str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run a command in this process: all of it but the signal handler and the exit."""

    def run(*arguments: str, env: dict[str, str] | None = None, input: str = "") -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input.encode())))
            code = run_command(arguments)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


@pytest.fixture
def spawn(environment: dict[str, str], folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a command as a process of its own."""

    def spawn(*arguments: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        options = {"stderr": subprocess.PIPE, "text": True, "cwd": folder} | options
        return subprocess.Popen([*PROGRAM, *arguments], env=environment | (env or {}), **options)

    return spawn


def succeed(process: subprocess.CompletedProcess[str]) -> str:
    assert process.returncode == 0, process.stderr
    return process.stdout


def refused(process: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """It failed with that code and one line of explanation."""
    assert process.returncode == code, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, process.stderr
    for word in words:
        assert word in errors[0]


def stored(engine: Engine) -> int:
    with session_factory(engine)() as session:
        return session.execute(select(func.count()).select_from(Document)).scalar_one()


# The main job


def test_ingest_search_change_and_delete(run: Run, folder: Path) -> None:
    report = json.loads(succeed(run("ingest", "docs", "-c", "mine", "--json")))
    assert report["changes"] == {"added": 6, "updated": 0, "unchanged": 0, "deleted": 0}
    assert report["sources"] == 4
    (folder / "docs/notes.txt").unlink()
    (folder / "docs/fruit.md").write_text(
        "# Fruit\n\n## Apples\n\nApples grow on trees.\n\n## Plums\n\nPlums are blue.\n"
    )
    report = json.loads(succeed(run("ingest", "docs", "-c", "mine", "--json")))
    assert report["changes"] == {"added": 1, "updated": 0, "unchanged": 4, "deleted": 2}
    assert report["embedded"] == 1
    answer = json.loads(succeed(run("search", "which animal barks", "-c", "mine", "-k", "2", "--json")))
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
    assert answer["hits"][0]["content"] == "A dog barks."
    assert answer["hits"][0]["source"] == "docs/pets.jsonl"
    assert answer["hits"][0]["metadata"] == {"year": 2024}


def test_a_person_reads_rank_score_source_and_snippet(run: Run) -> None:
    succeed(run("ingest", "docs"))
    output = succeed(run("search", "apples", "-k", "1"))
    first, second = output.splitlines()
    assert first.startswith(" 1. 0.")
    assert "docs/fruit.md" in first
    assert "Fruit > Apples" in first
    assert "Apples grow on trees." in second


def test_a_filter_narrows_the_search(run: Run) -> None:
    succeed(run("ingest", "docs"))
    for where, expected in (
        ('{"source": "docs/pets.jsonl"}', 2),
        ('{"meta.year": {"$gte": 2024}}', 1),
        ('{"meta.x": 1}', 0),
    ):
        answer = json.loads(succeed(run("search", "apples", "--where", where, "--json")))
        assert len(answer["hits"]) == expected


def test_standard_input_is_a_source_with_a_name_and_a_format(run: Run) -> None:
    succeed(run("ingest", "-", input="Some text."))
    line = json.dumps({"content": "A line.", "metadata": {"n": 1}})
    succeed(run("ingest", "-", "--format", "jsonl", "--source", "feed", input=line))
    answer = json.loads(succeed(run("search", "line", "--where", '{"source": "feed"}', "--json")))
    assert [hit["metadata"] for hit in answer["hits"]] == [{"n": 1}]


def test_collections_and_tenants_are_listed(run: Run) -> None:
    succeed(run("ingest", "docs", "-c", "a", "--tenant", "t"))
    listing = json.loads(succeed(run("collections", "--tenant", "t", "--json")))
    assert listing["collections"] == [
        {"name": "a", "embedding_model": "wordllama-l2-supercat-256", "distance": "cosine", "documents": 6}
    ]
    assert "no collections yet" in succeed(run("collections"))
    assert "wordllama" in succeed(run("collections", "--tenant", "t"))


def test_the_migrate_commands(run: Run, empty_url: URL) -> None:
    database = ["--database-url", empty_url.render_as_string(hide_password=False)]
    assert f"no schema yet (newest: {schema.head()})" in succeed(run("migrate", "current", *database))
    refused(run("ingest", "docs", *database), 3, "pgcorpus migrate upgrade")
    assert "base -> pgcorpus_0002" in succeed(run("migrate", "upgrade", "pgcorpus_0002", *database))
    history = json.loads(succeed(run("migrate", "history", "--json", *database)))
    assert [revision["applied"] for revision in history] == [True, True, *[False] * (len(history) - 2)]
    assert "x pgcorpus_0002" in succeed(run("migrate", "history", *database))
    refused(run("migrate", "check", *database), 3, f"needs {schema.head()}")
    succeed(run("migrate", "upgrade", *database))
    assert "nothing to do" in succeed(run("migrate", "upgrade", *database))
    assert "equals the models" in succeed(run("migrate", "check", *database))
    declined = run("migrate", "downgrade", "base", *database, input="n\n")
    assert (declined.returncode, declined.stderr.endswith("nothing was done\n")) == (1, True)
    assert "-> base" in succeed(run("migrate", "downgrade", "base", "--yes", *database))
    assert "CREATE INDEX CONCURRENTLY" in succeed(run("migrate", "sql"))


def test_openai_embeds_where_there_is_a_key(run: Run) -> None:
    with OpenAIServer() as server:
        openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": server.base_url, "PGCORPUS_EMBEDDER": ""}
        report = json.loads(succeed(run("ingest", "docs", "--json", env=openai)))
        assert report["embedded"] == 6
        answer = json.loads(succeed(run("search", "x", "--json", env=openai)))
        assert len(answer["hits"]) == 5
        assert {request.body["model"] for request in server.requests} == {"text-embedding-3-small"}
        sent = len(server.requests)
        refused(run("ingest", "docs", "-e", "local", env=openai), 1, "text-embedding-3-small", "--embedder")
        refused(run("search", "x", "-e", "local", env=openai), 1, "text-embedding-3-small", "--embedder")
        assert len(server.requests) == sent


def test_a_folder_loses_what_vanished_and_the_current_one_only_when_asked(run: Run, folder: Path) -> None:
    succeed(run("ingest", "."))
    (folder / "docs/notes.txt").unlink()
    (folder / "docs/pets.jsonl").unlink()
    assert "0 deleted" in succeed(run("ingest", "."))
    assert "0 deleted" in succeed(run("ingest", "docs", "--no-prune"))
    assert "3 deleted" in succeed(run("ingest", "docs"))
    (folder / "docs/cars.html").unlink()
    assert "1 deleted" in succeed(run("ingest", ".", "--prune"))
    (folder / "docs/fruit.md").unlink()
    refused(run("ingest", "docs"), 1, "holds nothing to read")
    assert "2 deleted" in succeed(run("ingest", "docs", "--prune"))


def test_an_upgrade_mends_the_index_that_a_killed_load_left_out(run: Run, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX pgcorpus.ix_documents_embedding"))
    refused(run("migrate", "check"), 3, "ix_documents_embedding")
    assert "built the vector index" in succeed(run("migrate", "upgrade"))
    succeed(run("migrate", "check"))


def test_a_first_load_that_cannot_embed_leaves_the_index(run: Run) -> None:
    nowhere = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": "http://127.0.0.1:1", "PGCORPUS_EMBEDDER": "openai"}
    refused(run("ingest", "docs", env=nowhere), 1, "127.0.0.1:1")
    succeed(run("migrate", "check"))


# What is wrong


@pytest.mark.parametrize("command", [[], ["ingest"], ["search"], ["collections"], ["migrate"], ["db"], ["demo"]])
def test_every_command_has_help(run: Run, command: list[str]) -> None:
    assert "Usage: pgcorpus" in succeed(run(*command, "--help"))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("missing.txt", None, ["missing.txt", "does not exist"]),
        ("empty.txt", b"", ["empty.txt", "empty"]),
        ("binary.txt", b"abc\0def", ["binary.txt", "byte 3"]),
        ("latin.txt", b"caf\xe9", ["latin.txt", "byte 3"]),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0", ["picture.png", "byte"]),
        ("broken.jsonl", b'{"content": "fine"}\n{"content": \n', ["broken.jsonl line 2"]),
        ("field.jsonl", b'{"text": "x"}\n', ["field.jsonl line 1", "text"]),
        ("blank.txt", b"  \n\n", ["no text"]),
        (
            "deep.jsonl",
            b'{"content": "x", "metadata": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}",
            ["deep.jsonl line 1"],
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_stored(
    run: Run, folder: Path, engine: Engine, name: str, data: bytes | None, words: list[str]
) -> None:
    if data is not None:
        (folder / name).write_bytes(data)
    paths = [name] if name == "blank.txt" else ["docs", name]
    refused(run("ingest", *paths), 1, *words)
    assert stored(engine) == 0


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("{broken", "not JSON"),
        ('["source"]', "expected an object"),
        ('{"sauce": 1}', "where.sauce: unknown field"),
        ('{"source": {"$regex": "x"}}', "unknown operator"),
        ('{"position": "x"}', "expected an integer, not text"),
        ('{"source": "a\\u0000"}', "null character"),
    ],
)
def test_a_wrong_filter_is_a_usage_error(run: Run, where: str, words: str) -> None:
    succeed(run("ingest", "docs"))
    process = run("search", "x", "--where", where)
    assert process.returncode == 2
    assert words in process.stderr
    assert "Traceback" not in process.stderr


def test_an_unreachable_server_is_one_line_without_the_password(run: Run) -> None:
    env = {"PGCORPUS_DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/db"}
    process = run("ingest", "docs", env=env)
    refused(process, 3, "cannot be reached")
    assert "secret" not in process.stderr


def test_settings_that_cannot_be_used_are_usage_errors(run: Run) -> None:
    refused(run("ingest", "docs", env={"PGCORPUS_DATABASE_URL": "mysql://x"}), 2, "not PostgreSQL")
    refused(run("ingest", "docs", env={"PGCORPUS_EMBEDDER": "magic"}), 2, "magic")
    refused(run("search", "x", "-e", "openai"), 2, "OPENAI_API_KEY")


def test_a_collection_that_is_not_there_is_named(run: Run) -> None:
    refused(run("search", "x", "-c", "nowhere"), 1, "nowhere", "pgcorpus ingest")


@pytest.mark.parametrize("arguments", [["-k", "0"], ["-k", "many"]])
def test_a_wrong_option_is_a_usage_error(run: Run, arguments: list[str]) -> None:
    process = run("search", "x", *arguments)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr


def test_an_empty_question_is_refused(run: Run) -> None:
    assert run("search", "  ").returncode == 2


@pytest.mark.parametrize("option", ["--database-url", "--collection", "--tenant"])
def test_an_empty_option_is_a_usage_error(run: Run, option: str) -> None:
    process = run("search", "x", option, "")
    assert process.returncode == 2
    assert "it is empty" in process.stderr


def test_two_inputs_of_one_name_are_refused(run: Run) -> None:
    refused(run("ingest", "docs/notes.txt", "-", "--source", "docs/notes.txt", input="x"), 1, "two inputs are called")


def test_a_statement_that_the_server_cancels_is_one_line(run: Run, url: URL) -> None:
    impatient = url.update_query_dict({"options": "-c statement_timeout=1"}).render_as_string(hide_password=False)
    refused(run("ingest", "docs", env={"PGCORPUS_DATABASE_URL": impatient}), 3, "statement timeout")


def test_an_output_that_cannot_be_written_is_one_line(spawn: Spawn) -> None:
    with Path("/dev/full").open("w") as full:
        process = spawn("migrate", "sql", stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "No space left on device" in errors
    assert "Traceback" not in errors


def test_a_terminal_that_is_not_utf8_shows_what_it_can(run: Run, spawn: Spawn, folder: Path) -> None:
    (folder / "accent.txt").write_text("Café au lait")
    succeed(run("ingest", "accent.txt"))
    process = spawn("search", "coffee", stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii"})
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Caf? au lait" in output


def test_a_current_folder_that_is_gone_is_one_line(spawn: Spawn, folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()
    process = spawn("ingest", "x.txt", cwd=gone, preexec_fn=gone.rmdir)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_ingest_leaves_nothing_half_written(
    spawn: Spawn, run: Run, folder: Path, engine: Engine, signal_: int, code: int
) -> None:
    """The embedder's server hangs at the second request: the first group may be stored, the file under way not."""
    big = "".join(f"Paragraph {i} of the text, {'long enough ' * 40}.\n\n" for i in range(60))
    (folder / "big.txt").write_text(big)
    with OpenAIServer() as server:
        openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": server.base_url, "PGCORPUS_EMBEDDER": "openai"}
        server.script.append(server.hang)
        process = spawn("ingest", "big.txt", env=openai)
        wait_until(lambda: server.requests)
        process.send_signal(signal_)
        _, errors = process.communicate(timeout=60)
        server.released.set()
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        assert stored(engine) == 0
        report = json.loads(succeed(run("ingest", "big.txt", "--json", env=openai)))
        assert report["changes"]["added"] == report["passages"] > 10


def test_a_documents_escape_sequences_do_not_reach_the_terminal(run: Run, spawn: Spawn, folder: Path) -> None:
    (folder / "evil.txt").write_text("\x1b[31mred\x1b[0m \x1b]0;title\x07 [bold]markup[/bold] \u202etfel")
    succeed(run("ingest", "evil.txt"))
    master, slave = pty.openpty()
    process = spawn("search", "red", stdout=slave, stderr=slave, env={"TERM": "xterm", "COLUMNS": "200"})
    assert process.wait(60) == 0
    os.close(slave)
    output = os.read(master, 65536).decode()
    assert "\x1b[31mred" not in output
    assert "\x1b]0;" not in output
    assert "\u202e" not in output
    assert "[bold]markup[/bold]" in output


def test_a_reader_that_leaves_early_sees_no_traceback(spawn: Spawn) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = spawn("migrate", "sql", stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == ""


def test_a_schema_that_changes_in_the_middle_is_one_line(spawn: Spawn, engine: Engine) -> None:
    with OpenAIServer() as server:
        openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": server.base_url, "PGCORPUS_EMBEDDER": "openai"}
        server.script.append(server.hang)
        process = spawn("ingest", "docs", env=openai)
        wait_until(lambda: server.requests)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE pgcorpus.documents RENAME TO elsewhere"))
        server.released.set()
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 3, errors
        assert "Traceback" not in errors
        assert "pgcorpus migrate upgrade" in errors
