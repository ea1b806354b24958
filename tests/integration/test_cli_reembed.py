"""``pgcorpus reembed``: a model is switched, taken back and kept, from the command line alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus.cli.main import run_command
from pgcorpus.database import session_factory
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.embedding import LocalEmbedder
from tests.support.openai_server import OpenAIServer

Run = Callable[..., subprocess.CompletedProcess[str]]
OPENAI = "text-embedding-3-small"


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("PGCORPUS_EMBEDDER", "local")
        yield server


@pytest.fixture
def run(
    url: URL, tmp_path: Path, openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command in this process, beside a file that is stored in the collection wiki."""
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", url.render_as_string(hide_password=False))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pets.jsonl").write_text(
        "".join(json.dumps({"content": f"Cat {number} sleeps."}) + "\n" for number in range(40))
    )
    (tmp_path / "questions.txt").write_text("Who sleeps?\n\nWhat is a cat?\n")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, run_command(arguments), *capsys.readouterr())

    assert run("ingest", "pets.jsonl", "-c", "wiki", "-q").returncode == 0
    return run


def model_of(engine: Engine) -> str | None:
    with session_factory(engine)() as session:
        model: str | None = DocumentRepository(session, "wiki").collection().embedding_model
        return model


def printed(process: subprocess.CompletedProcess[str]) -> Any:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_a_model_is_switched_and_taken_back_by_the_commands_that_are_printed(run: Run, engine: Engine) -> None:
    there = run("reembed", "-c", "wiki", "--to", "openai")
    assert there.returncode == 0, there.stderr
    assert "40 documents embedded with text-embedding-3-small" in there.stdout
    assert "recall@10" in there.stdout
    back = next(line for line in there.stdout.splitlines() if line.startswith("Back again:"))
    assert model_of(engine) == OPENAI
    assert run("search", "who sleeps", "-c", "wiki", "-e", "openai").returncode == 0
    assert "40 of 40 documents, is retired" in run("reembed", "-c", "wiki", "--status").stdout

    assert run(*back.partition(":")[2].split()[1:]).returncode == 0
    assert model_of(engine) == LocalEmbedder.model
    finish = next(line for line in there.stdout.splitlines() if line.startswith("Delete the old one:"))
    finished = run(*finish.partition(":")[2].split()[1:])
    assert finished.stdout == "the retired collection is deleted\n"
    assert "nothing is retired" in run("reembed", "-c", "wiki", "--status").stdout


def test_a_switch_is_prepared_compared_by_questions_and_given_up(
    run: Run, engine: Engine, openai: OpenAIServer
) -> None:
    arguments = ("--to", "openai", "--no-flip", "--queries", "questions.txt", "--min-recall", "0.9")
    report = printed(run("reembed", "-c", "wiki", *arguments, "--json", "-q"))
    assert (report["filled"]["copied"], report["comparison"]["questions"], report["flipped"]) == (40, 2, None)
    assert report["comparison"]["new"]["recall"] == 1
    assert {"Who sleeps?", "What is a cat?"} < set(openai.texts)
    status = printed(run("reembed", "-c", "wiki", "--status", "--json"))
    assert [(each["state"], each["documents"]) for each in status["shadows"]] == [("filling", 40)]
    assert printed(run("reembed", "-c", "wiki", "--abort", "--json")) == {
        "collection": "wiki", "tenant": "default", "deleted": 40,
    }  # fmt: skip
    assert model_of(engine) == LocalEmbedder.model


def test_no_text_is_paid_for_twice(run: Run, openai: OpenAIServer) -> None:
    assert run("reembed", "-c", "wiki", "--to", "openai", "--no-flip").returncode == 0
    assert run("reembed", "-c", "wiki", "--abort").returncode == 0
    assert run("reembed", "-c", "wiki", "--to", "openai").returncode == 0
    assert len(openai.texts) == 40


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "name the embedder to switch to"),
        (("--to", "local"), 1, "already: nothing was done"),
        (("--to", "nobody"), 2, "no embedder is called 'nobody'"),
        (("--to", "openai", "-c", "nowhere"), 1, "there is no collection 'nowhere'"),
        (("--rollback",), 1, "nothing stands behind"),
        (("--finish",), 1, "nothing is retired"),
        (("--abort",), 1, "no switch of 'wiki' is under way"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(run: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    refused = run("reembed", "-c", "wiki", *arguments)
    assert refused.returncode == code, refused.stderr
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
