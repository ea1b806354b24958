"""`pgcorpus db` and `pgcorpus demo`: a database for whoever has none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.embedded

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(reachable_directory: Path) -> Iterator[Run]:
    """The command line on a private server of its own, in a path with a space."""
    environment = {"PGCORPUS_DATA_DIR": str(reachable_directory / "private data"), "PGCORPUS_EMBEDDER": "local"}

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from pgcorpus.cli.main import main; main()", *arguments]
        return subprocess.run(  # type: ignore[call-overload]
            command, env=os.environ | environment, capture_output=True, text=True, check=False, **options
        )

    yield run
    run("db", "reset", "--yes", "--force")


def succeed(process: subprocess.CompletedProcess[str]) -> str:
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_a_newcomer_needs_no_database(run: Run) -> None:
    """The private server is started, migrated, used, and gone again."""
    process = run("ingest", "-", input="Hello, world.")
    assert "using the private PostgreSQL" in process.stderr
    assert "1 added" in succeed(process)
    assert "Hello, world." in succeed(run("search", "hello"))
    assert json.loads(succeed(run("db", "status", "--json")))["running"] is False


def test_start_url_psql_stop(run: Run) -> None:
    assert run("db", "url").returncode == 1
    url = succeed(run("db", "start")).removeprefix("running: ").strip()
    assert succeed(run("db", "url")).strip() == url
    assert succeed(run("collections", "--database-url", url))
    assert succeed(run("db", "psql", "-At", "-c", "SELECT count(*) FROM pgcorpus.documents")).strip() == "1"
    assert succeed(run("db", "psql", "-d", "postgres", "-Atc", "SELECT current_database()")).strip() == "postgres"
    assert "running: True" in succeed(run("db", "status"))
    assert "stopped" in succeed(run("db", "stop"))
    assert "not running" in succeed(run("db", "stop"))


def test_a_private_database_of_an_older_version_is_upgraded(run: Run) -> None:
    succeed(run("migrate", "downgrade", "-1", "--yes"))
    assert "Hello, world." in succeed(run("search", "hello"))
    assert "pgcorpus_0006 (newest" in succeed(run("migrate", "current"))


def test_reset_asks_and_deletes(run: Run, reachable_directory: Path) -> None:
    assert run("db", "reset", input="n\n").returncode != 0
    assert (reachable_directory / "private data").exists()
    assert "deleted" in succeed(run("db", "reset", "--yes"))
    assert not (reachable_directory / "private data").exists()


def test_the_demo_answers_from_a_filtered_and_an_unfiltered_search_and_again(run: Run) -> None:
    first = succeed(run("demo"))
    passages = int(first.partition("demo: ")[2].partition(" passages")[0].replace(",", ""))
    assert passages >= 5_000
    assert f"{passages:,} added" in first
    for name in ("datetime.date.fromisoformat", "statistics.median", "shutil.copytree", "bisect.insort"):
        assert name in first
    assert "where {'meta.kind': 'function'}" in first
    second = succeed(run("demo"))
    assert f"0 added, 0 updated, {passages:,} unchanged, 0 deleted; 0 embedded" in second
