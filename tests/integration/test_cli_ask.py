"""``pgcorpus ask``: the answer and its numbered sources, or one JSON object, or both as they come."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus.cli.main import run_command
from pgcorpus.cli.search import print_hits
from pgcorpus.database import session_factory
from pgcorpus.services.answering import UNKNOWN
from pgcorpus.services.embedding import LocalEmbedder
from tests.support.openai_server import CHAT, OpenAIServer, cut_stream, failure, says
from tests.support.passages import hit
from tests.support.words import FRUIT, openai_server, store

Run = Callable[..., subprocess.CompletedProcess[str]]

QUESTION = "Where does an apple grow?"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    """A chat model, and the key that makes it the default."""
    with openai_server(monkeypatch) as running:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        monkeypatch.setenv("OPENAI_BASE_URL", running.base_url)
        yield running


@pytest.fixture
def run(engine: Engine, url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``pgcorpus ask -c fruit`` in this process, on documents about fruit, cars and dogs."""
    with session_factory(engine).begin() as session:
        store(session, embedder=LocalEmbedder())
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", url.render_as_string(hide_password=False))
    monkeypatch.setenv("PGCORPUS_EMBEDDER", "local")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = run_command(["ask", "-c", "fruit", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


def succeed(process: subprocess.CompletedProcess[str]) -> str:
    assert process.returncode == 0, process.stderr
    return process.stdout


def refused(process: subprocess.CompletedProcess[str], code: int, word: str) -> None:
    """It failed with that code and one line of explanation."""
    assert process.returncode == code, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    assert word in process.stderr


def chats(service: OpenAIServer) -> list[dict[str, Any]]:
    return [request.body for request in service.requests if request.path.endswith(CHAT)]


def test_a_person_reads_the_answer_and_then_its_sources(run: Run, service: OpenAIServer) -> None:
    service.chat_script.append(says("On a tree [1][1]. Or so [8]."))
    process = run(QUESTION, "-k", "2")
    assert succeed(process).splitlines() == ["On a tree [1][1]. Or so [8].", "", "[1] apples  Apples"]
    assert "cites what it was not shown: 8" in process.stderr
    assert chats(service)[0]["model"] == "gpt-4o-mini"


def test_a_program_reads_one_object(run: Run, service: OpenAIServer) -> None:
    service.chat_script.append(says("On a tree [1]."))
    answer = json.loads(succeed(run(QUESTION, "--json", "--model", "gpt-big", "--no-hybrid")))
    assert answer.pop("timings").keys() == {"embed", "retrieve", "generate", "total"}
    (citation,) = answer.pop("citations")
    assert 0 < citation.pop("score") <= 1
    assert citation == {
        "number": 1, "source": "apples", "position": 0, "key": "apples", "heading": "Apples", "quote": None,
    }  # fmt: skip
    assert answer == {
        "question": QUESTION,
        "collection": "fruit",
        "kind": "generated",
        "answer": "On a tree [1].",
        "unknown_citations": [],
        "model": "gpt-big",
        "usage": {"prompt_tokens": 12, "completion_tokens": 4},
        "note": None,
    }


def test_a_stream_is_the_same_text_and_sources(run: Run, service: OpenAIServer) -> None:
    service.usual = says("On a tree [1].")
    assert succeed(run(QUESTION, "--stream")) == succeed(run(QUESTION))
    lines = [json.loads(line) for line in succeed(run(QUESTION, "--stream", "--json")).splitlines()]
    assert [line["delta"] for line in lines[:-1]] == ["On", " a", " tree", " [1]."]
    assert lines[-1]["answer"] == "On a tree [1]."
    assert lines[-1]["citations"][0]["source"] == "apples"


def test_without_a_key_or_when_asked_to_it_quotes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.loads(succeed(run(QUESTION, "--json")))
    assert (answer["kind"], answer["model"], answer["usage"]) == ("extractive", None, None)
    for citation in answer["citations"]:
        assert citation["quote"] in FRUIT[citation["source"]]
    output = succeed(run(QUESTION))
    assert output.startswith("Quoted from the documents:\n“")
    assert len([line for line in output.splitlines() if line.startswith("[1] ")]) == 1
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert succeed(run(QUESTION, "--extractive")) == output


def test_a_filter_and_a_threshold_can_leave_nothing_to_answer_from(run: Run, service: OpenAIServer) -> None:
    assert succeed(run(QUESTION, "-w", '{"source": "nowhere"}')).strip() == UNKNOWN
    assert succeed(run(QUESTION, "--min-score", "0.999")).strip() == UNKNOWN
    assert json.loads(succeed(run("zebra xyzzy", "--no-hybrid", "--json")))["kind"] == "unknown"
    assert service.requests == []


@pytest.mark.parametrize("arguments", [(), ("--stream",)])
def test_nothing_that_a_model_or_a_document_says_steers_the_terminal(
    run: Run, service: OpenAIServer, engine: Engine, arguments: tuple[str, ...]
) -> None:
    with session_factory(engine).begin() as session:
        store(
            session, {"evil\x1b[2J.md": "Where does an apple grow? Here."}, embedder=LocalEmbedder(), heading="\x1b[31m"
        )
    service.chat_script.append(says("Red \x1b[31m [1]\x07 \u202e."))
    output = succeed(run(QUESTION, *arguments))
    assert "evil" in output
    assert not {"\x1b", "\x07", "\u202e"} & set(output)


def test_a_model_that_fails_is_one_line_and_exit_code_1(run: Run, service: OpenAIServer) -> None:
    service.chat_script.append(failure(401, "Incorrect API key provided: sk-secret"))
    process = run(QUESTION)
    refused(process, 1, "401, the key was refused")
    assert "sk-secret" not in process.stderr + process.stdout
    service.chat_script.append(cut_stream)
    process = run(QUESTION, "--stream", "--json")
    refused(process, 1, "broke off")
    service.chat_script.append(cut_stream)
    assert run(QUESTION, "--stream").stdout == "It is\n"
    assert [list(json.loads(line)) for line in process.stdout.splitlines()] == [["delta"]] * process.stdout.count("\n")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("",), 2, "empty"),
        ((QUESTION, "-w", '{"nothing": 1}'), 2, "nothing"),
        ((QUESTION, "-w", "x"), 2, "not JSON"),
        ((QUESTION, "--model", "m", "--extractive"), 2, "--extractive"),
        ((QUESTION, "--min-score", "high"), 2, "min-score"),
        ((QUESTION, "-k", "0"), 2, "range"),
        ((QUESTION, "-c", "nowhere"), 1, "no collection 'nowhere'"),
        ((QUESTION, "--model", "m"), 2, "no OpenAI key"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, arguments: tuple[str, ...], code: int, word: str) -> None:
    refused(run(*arguments), code, word)


def test_a_hit_of_a_search_is_two_lines_whatever_its_source_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    print_hits([hit("An apple.", source="guide\n 2. 0.999  trusted")])
    assert capsys.readouterr().out.splitlines() == [" 1. 0.500  guide 2. 0.999 trusted", "    An apple."]
