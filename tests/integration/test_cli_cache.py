"""``pgcorpus cache``: what is kept is shown, and deleted when it is asked for."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import Engine, func, update
from sqlalchemy.engine import URL

from pgcorpus.cli.main import run_command
from pgcorpus.database import session_factory
from pgcorpus.models import CachedEmbedding, Document, content_hash
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.embedding_cache import EmbeddingCache
from tests.support.vectors import unit

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``pgcorpus cache`` in this process."""
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", url.render_as_string(hide_password=False))

    def run(*arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input.encode())))
        code = run_command(["cache", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Of model "a" 1,200 entries, 3 of them old and 1 in use; of model "b" 2."""
    texts = [f"text {number}" for number in range(1_200)]
    hashes = [content_hash(each) for each in texts]
    with session_factory(engine).begin() as session:
        cache = EmbeddingCache(session)
        cache.store("a", dict.fromkeys(hashes, np.ones(1_000, np.float32)))
        cache.store("b", dict.fromkeys(hashes[:2], np.ones(4, np.float32)))
        old = CachedEmbedding.content_hash.in_(hashes[5:8])
        session.execute(update(CachedEmbedding).where(old).values(created_at=func.now() - timedelta(days=91)))
        repository = DocumentRepository(session, "c", embedding_model="a")
        repository.add(Document(content=texts[0], embedding=unit(0)))
    return engine


def entries(engine: Engine) -> dict[str, int]:
    with session_factory(engine)() as session:
        return {each.model: each.entries for each in EmbeddingCache(session).stats()}


def answer(process: subprocess.CompletedProcess[str]) -> object:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_stats_show_each_model(run: Run, filled: Engine) -> None:
    assert answer(run("stats", "--json")) == {
        "models": [{"model": "a", "entries": 1_200, "bytes": 4_800_000}, {"model": "b", "entries": 2, "bytes": 32}]
    }
    line = run("stats").stdout.splitlines()[1].split()
    assert line == ["a", "1,200", "4.8"]


def test_an_empty_cache_is_said_to_be_empty(run: Run) -> None:
    assert run("stats").stdout == "nothing is kept yet\n"
    assert answer(run("stats", "--json")) == {"models": []}


@pytest.mark.parametrize(
    ("options", "number", "left"),
    [
        (["--model", "b"], 2, {"a": 1_200}),
        (["--older-than", "90d"], 3, {"a": 1_197, "b": 2}),
        (["--older-than", "13w"], 0, {"a": 1_200, "b": 2}),
        (["--unused"], 1_201, {"a": 1}),
        (["--unused", "--model", "b"], 2, {"a": 1_200}),
        (["--yes"], 1_202, {}),
    ],
)
def test_prune_deletes_what_meets_all_options_and_a_dry_run_counts_it(
    run: Run, filled: Engine, options: list[str], number: int, left: dict[str, int]
) -> None:
    if "13w" in options:
        with session_factory(filled).begin() as session:
            session.execute(update(CachedEmbedding).values(created_at=func.now() - timedelta(days=90)))
    before = entries(filled)
    assert answer(run("prune", "--dry-run", "--json", *options)) == {"would_delete": number}
    assert entries(filled) == before
    assert answer(run("prune", "--json", *options)) == {"deleted": number}
    assert entries(filled) == left


def test_all_is_deleted_only_after_a_yes(run: Run, filled: Engine) -> None:
    declined = run("prune", input="n\n")
    assert (declined.returncode, "nothing was done" in declined.stderr) == (1, True)
    assert run("prune", "--dry-run").stdout == "would delete 1,202 embeddings\n"
    assert entries(filled) == {"a": 1_200, "b": 2}
    assert run("prune", input="y\n").stdout == "deleted 1,202 embeddings\n"
    assert entries(filled) == {}


@pytest.mark.parametrize("age", ["", "90", "d", "-1d", "1.5d", "90 years", "999999999d"])
def test_an_age_that_is_none_is_refused(run: Run, filled: Engine, age: str) -> None:
    process = run("prune", "--older-than", age, "--yes")
    assert process.returncode == 2
    assert "12h, 90d, 8w" in process.stderr
    assert entries(filled) == {"a": 1_200, "b": 2}


def test_the_oldest_age_there_can_be_is_understood(run: Run, filled: Engine) -> None:
    assert answer(run("prune", "--older-than", "99999w", "--json")) == {"deleted": 0}
