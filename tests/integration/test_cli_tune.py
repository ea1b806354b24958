"""``pgcorpus tune``: a table, a page, and a calibration that searches go by."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy.engine import URL

from pgcorpus.cli.main import run_command
from pgcorpus.database import create_engine, session_factory
from pgcorpus.repositories import DocumentRepository
from tests.support.calibrating import NAME, documents, fill, held_out
from tests.support.openai_server import OpenAIServer

Run = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ("tune", "-c", NAME, "--rate", "0", "--sample", "10", "-q")


@pytest.fixture(scope="module")
def wiki_url(make_database: Callable[..., URL], template: str, drop_database: Callable[[URL], None]) -> Iterator[URL]:
    """A database with the collection; the tests add calibrations only."""
    url = make_database(template)
    fill(url)
    yield url
    drop_database(url)


@pytest.fixture
def run(wiki_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, with a home of its own."""
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", wiki_url.render_as_string(hide_password=False))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, run_command(arguments), *capsys.readouterr())

    return run


def printed(process: subprocess.CompletedProcess[str]) -> Any:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_it_prints_every_setting_and_the_one_that_searches_take(run: Run) -> None:
    told = run(*QUICK, "--target", "0.9", "--filter", '{"source": "s1"}')
    assert told.returncode == 0, told.stderr
    assert "recall@10" in told.stdout
    assert re.search(r"^\*? +exact +1\.000 +1\.000 ", told.stdout, re.MULTILINE)
    without, filtered = told.stdout.split('filter {"source": "s1"}:\n')
    assert without.startswith("no filter:\n")
    assert all(re.search(r"^ *\*? +ef_search 40 ", part, re.MULTILINE) for part in (without, filtered))
    assert max(map(len, filtered.split("a recall of")[0].splitlines())) <= 80
    taken = re.search(r"a recall of 0\.9 takes (.*?): recall (\S+) ", told.stdout)
    assert taken
    assert float(taken[2]) >= 0.9
    assert "searches that ask for none take ef_search 160: recall" in told.stdout
    assert "note: the queries are made of documents" in told.stdout
    assert [path for path in Path("state").rglob("*") if path.is_file()] == []


def test_the_json_has_what_was_measured_chosen_and_stored(run: Run, wiki_url: URL) -> None:
    report = printed(run(*QUICK, "--no-filters", "-k", "5", "--json"))
    assert (report["collection"], report["documents"], report["k"], report["sampled"]) == (NAME, 2_000, 5, True)
    assert report["settings"][0]["exact"] is True
    assert report["chosen"] in report["settings"]
    assert report["default"]["ef_search"] == 160
    assert report["surroundings"]["pgvector"]
    again = printed(run(*QUICK, "--refresh", "--json"))
    assert (again["k"], again["stored"] > report["stored"]) == (5, True)
    unstored = printed(run(*QUICK, "--no-filters", "--dry-run", "--json"))
    assert (unstored["stored"], unstored["not_stored"]) == (None, None)


def test_the_report_needs_nothing_else(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "a report"
    hostile = {"$or": [{"meta.<script>$x$": "\u4f60\u202e</title>"}, {"meta.year": 1}]}
    told = run(*QUICK, "--report", str(folder), "--filter", json.dumps(hostile, ensure_ascii=False), "--no-store")
    assert told.returncode == 0, told.stderr
    html = (folder / "report.html").read_text()
    assert re.findall(r'(?:src|href|url|@import)\s*[=(]\s*["\']?(?!#)[^"\'\s)]+', html) == []
    assert "<script>" not in html
    assert "\u202e" not in html
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html
    assert html.count("<svg ") == 1
    assert "mathdefault" not in html  # a number of matplotlib's own, where it is no formula
    for words in ("recall@10", "USING hnsw", "PostgreSQL 1", "2,000 documents", "hnsw.ef_search", "median time"):
        assert words in html
    drawing = ElementTree.parse(folder / "recall.svg")  # noqa: S314 -- our own
    assert drawing.getroot().tag.endswith("svg")
    assert (folder / "recall.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_extra_a_report_is_refused_before_anything_is_measured_and_the_rest_works(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    refused = run(*QUICK, "--report", "there")
    assert refused.returncode == 2
    assert "pip install 'pgcorpus[plots]'" in refused.stderr
    assert not Path("there").exists()
    assert run(*QUICK, "--no-filters", "--no-store").returncode == 0


def test_real_questions_are_embedded_with_the_collections_model(
    run: Run, wiki_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(wiki_url)
    with session_factory(engine).begin() as session:
        repository = DocumentRepository(session, "texts", embedding_model="text-embedding-3-small")
        repository.add_many([{"content": str(i), "embedding": documents()[i]} for i in range(20)])
    engine.dispose()
    Path("questions.txt").write_text("What is a cat?\n" + json.dumps(held_out()[0].tolist()) + "\n")
    arguments = ("tune", "-c", "texts", "--queries", "questions.txt", "--rate", "0", "-q", "--no-store", "--json")
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        report = printed(run(*arguments))
        assert server.texts == ["What is a cat?"]
    assert (report["queries"], report["sampled"]) == (2, False)
    monkeypatch.delenv("OPENAI_API_KEY")
    refused = run(*arguments)
    assert refused.returncode == 2
    assert "name the embedder of text-embedding-3-small" in refused.stderr


def test_where_nothing_can_be_stored_it_says_how_and_the_way_works(run: Run, wiki_url: URL) -> None:
    primary = wiki_url.render_as_string(hide_password=False)
    standby = wiki_url.update_query_dict({"options": "-c default_transaction_read_only=on"})
    arguments = (*QUICK, "--no-filters", "--database-url", standby.render_as_string(hide_password=False))
    told = run(*arguments)
    assert told.returncode == 3
    assert "recall@10" in told.stdout
    assert "`pgcorpus tune -c wiki --store-url URL`" in told.stderr
    stored = run(*arguments, "--store-url", primary, "--json")
    assert printed(stored)["stored"]
    assert "were done by an earlier run" in stored.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-c", "nowhere"), 1, "there is no collection 'nowhere'"),
        (("-c", NAME, "--filter", "{"), 2, "not JSON"),
        (("-c", NAME, "--filter", '{"nothing": 1}'), 2, "nothing"),
        (("-c", NAME, "--target", "1.2"), 2, "1.2"),
        (("-c", NAME, "--form", "binary"), 2, "pgcorpus index build --form binary"),
        (("-c", NAME, "--queries", "texts.txt"), 2, "name the embedder of the collection's model (--embedder)"),
        (("-c", NAME, "--timeout", "0.001"), 2, "Error: a search took longer than 0.001 seconds"),
        (("-c", NAME, "--seed", "-1"), 2, "seed must be 0"),
        (("-c", NAME, "--report", "texts.txt/there"), 1, "texts.txt/there: Not a directory"),
        (("-c", NAME, "--queries", "bad.jsonl"), 1, "bad.jsonl, line 2: not JSON"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(run: Run, arguments: tuple[str, ...], code: int, words: str) -> None:
    Path("bad.jsonl").write_text("fine\n[1,\n")
    Path("texts.txt").write_text("What is a cat?\n")
    refused = run("tune", *arguments, "-q", "--rate", "0", "--sample", "5")
    assert refused.returncode == code, refused.stderr
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
