"""``pgcorpus index``: for people and for programs, from the advice to the drop."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus.cli.main import run_command
from tests.support.indexed import fill, indexes, run

Index = Callable[..., subprocess.CompletedProcess[str]]
MAIN = "ix_documents_embedding"
HALFVEC = f"{MAIN}_halfvec"


@pytest.fixture
def run_index(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[URL], Index]:
    """Run the command in this process on a database."""

    def on(url: URL) -> Index:
        monkeypatch.setenv("PGCORPUS_DATABASE_URL", url.render_as_string(hide_password=False))
        return index

    def index(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = run_command(["index", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return on


@pytest.fixture
def index(run_index: Callable[[URL], Index], url: URL) -> Index:
    """Run the command on the database of the test."""
    return run_index(url)


def printed(process: subprocess.CompletedProcess[str]) -> Any:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_an_index_is_foreseen_built_listed_rebuilt_and_dropped(index: Index, engine: Engine) -> None:
    fill(engine, big=120, small=10)
    dry = index("build", "--form", "halfvec", "--dry-run")
    assert f"CREATE INDEX CONCURRENTLY {HALFVEC} ON pgcorpus.documents USING hnsw" in dry.stdout
    assert "about 130 rows" in dry.stderr
    assert list(indexes(engine)) == [MAIN]

    assert printed(index("build", "--form", "halfvec", "--json"))["outcome"] == "built"
    assert index("build", "--form", "halfvec").stdout.startswith(f"{HALFVEC}: already there in ")
    part = printed(index("build", "-c", "big", "--method", "ivfflat", "--workers", "0", "--memory", "64MB", "--json"))
    listed = {each["name"]: each for each in printed(index("list", "--json"))["indexes"]}
    assert listed[part["name"]]["collection"] == "big"
    assert {name for name, each in listed.items() if each["valid"]} == {MAIN, HALFVEC, part["name"]}
    lines = index("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == sorted(listed)

    assert index("rebuild", HALFVEC, "--m", "8").stdout.startswith(f"{HALFVEC}: rebuilt in ")
    assert printed(index("rebuild", "-c", "big", "--lists", "3", "--json"))["name"] == part["name"]
    listed = {each["name"]: each["options"] for each in printed(index("list", "--json"))["indexes"]}
    assert (listed[HALFVEC]["m"], listed[part["name"]]) == (8, {"lists": 3})

    assert printed(index("drop", MAIN, "--yes", "--json"))["outcome"] == "dropped"
    refused = index("drop", HALFVEC, "--yes")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"{HALFVEC} is the last index for cosine" in refused.stderr
    assert index("drop", HALFVEC, "--yes", "--force").returncode == 0
    assert list(indexes(engine)) == [part["name"]]


def test_nothing_is_dropped_unless_it_is_confirmed(index: Index, engine: Engine) -> None:
    asked = index("drop", MAIN)  # nobody is there to answer
    assert (asked.returncode, asked.stdout) == (1, "")
    assert list(indexes(engine)) == [MAIN]


def test_the_advice_needs_no_tables_and_changes_nothing(
    index: Index, empty_url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", empty_url.render_as_string(hide_password=False))
    nothing = printed(index("advise", "--json"))
    assert (nothing["rows"], nothing["dimensions"], nothing["form"]) == (0, 1536, None)
    large = index("advise", "--rows", "200000", "--dimensions", "3072")
    assert large.returncode == 0
    assert "too many dimensions" in large.stdout
    assert "advice: `pgcorpus index build --form halfvec`" in large.stdout
    assert index("advise", "--rows", "1000000000000", "--dimensions", "16000").returncode == 0


def test_the_advice_counts_the_rows_of_a_collection(index: Index, engine: Engine) -> None:
    fill(engine, big=70, small=8)
    assert printed(index("advise", "-c", "small", "--json"))["rows"] == 8
    assert printed(index("advise", "--json"))["rows"] == 78


def test_a_graph_that_will_not_fit_is_warned_of_in_the_words_of_the_command(index: Index, engine: Engine) -> None:
    fill(engine, big=120)
    for arguments in (["--dry-run"], []):
        said = index("build", "--form", "halfvec", "--memory", "1MB", *arguments).stderr
        assert "will not fit in memory" in said
        assert "give" in said
        assert "--memory" in said


def test_an_index_of_a_collection_that_is_gone_is_told(index: Index, engine: Engine) -> None:
    fill(engine, big=20)
    name = printed(index("build", "-c", "big", "--form", "binary", "--json"))["name"]
    run(engine, "DELETE FROM pgcorpus.collections")
    line = next(line for line in index("list").stdout.splitlines() if name in line)
    assert "a collection that is gone" in line


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["build", "--memory", "much"], 2, "write a number and its unit"),
        (["build", "--memory", "1kB", "--dry-run"], 2, "a build is given 1MB to 2047GB"),
        (["build", "--m", "8", "--dry-run"], 1, f"{MAIN} is there and differs: m 16 to 8"),
        (["advise", "--rows", "9" * 20], 2, "is not in the range"),
        (["build", "--form", "binary", "--metric", "l2"], 1, "a binary index serves cosine and inner_product, not l2"),
        (["build", "--m", "1"], 1, "m must be 2 to 100"),
        (["build", "--method", "ivfflat"], 1, "learns its lists from the rows"),
        (["build", "-c", "nobody"], 1, "has no collection 'nobody'"),
        (["rebuild"], 2, "name the index, or the --collection"),
        (["rebuild", "nothing"], 1, "has no vector index nothing"),
        (["list", "--table", "public.nothing"], 3, "there is no table public.nothing"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    run_index: Callable[[URL], Index], shared_engine: Engine, arguments: list[str], code: int, said: str
) -> None:
    done = run_index(shared_engine.url)(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
