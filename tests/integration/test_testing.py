"""What hosts get for their own tests, run as a host runs it: by pytest, in a project of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from pgcorpus.errors import ConfigError, EmbeddingError
from pgcorpus.services.embedding import Embedder
from pgcorpus.testing import HashEmbedder

CONFTEST = 'pytest_plugins = ["pgcorpus.testing.fixtures"]\n'

TESTS = """
import asyncio

import numpy as np
import pytest
from sqlalchemy import func, select, text

from pgcorpus.models import Document
from pgcorpus.repositories import AsyncDocumentRepository, DocumentRepository
from pgcorpus.services.embedding import pad


def count(engine):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Document))


@pytest.mark.parametrize("time", [1, 2])
def test_a_commit_is_undone(pgcorpus_session, pgcorpus_engine, pgcorpus_embedder, time):
    repository = DocumentRepository(pgcorpus_session, "handbook")
    texts = ["how to feed a cat", "how to fly a plane"]
    vectors = pad(pgcorpus_embedder.embed(texts))
    repository.add_many([Document(content=c, embedding=v) for c, v in zip(texts, vectors)])
    pgcorpus_session.commit()
    assert repository.count() == 2
    hits = repository.search(pad(pgcorpus_embedder.embed(["feed the cat"]))[0], k=1)
    assert hits[0].document.content == texts[0]
    assert count(pgcorpus_engine) == 0


def test_a_rollback_takes_back_what_was_not_committed(pgcorpus_session):
    repository = DocumentRepository(pgcorpus_session, "handbook")
    repository.add(Document(content="kept"))
    pgcorpus_session.commit()
    repository.add(Document(content="lost"))
    pgcorpus_session.rollback()
    assert repository.count() == 1


@pytest.mark.parametrize("time", [1, 2])
def test_async_too(pgcorpus_async_session, pgcorpus_engine, time):
    async def write():
        async with pgcorpus_async_session() as session:
            repository = AsyncDocumentRepository(session, "handbook")
            await repository.add(Document(content="text"))
            await session.commit()
            return await repository.count()

    assert asyncio.run(write()) == 1
    assert count(pgcorpus_engine) == 0


def test_the_database_is_the_runs_own(pgcorpus_url, pgcorpus_engine):
    with pgcorpus_engine.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == pgcorpus_url.database
    assert pgcorpus_url.database.startswith("pgcorpus_test_")


def test_each_test_has_an_embedder_of_its_own(pgcorpus_embedder):
    assert pgcorpus_embedder.texts == []
"""


def run_pytest(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_app.py").write_text(TESTS)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def databases(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        names = connection.scalars(text("SELECT datname FROM pg_database WHERE datname LIKE 'pgcorpus\\_test%'"))
        return list(names)


def printed(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def test_the_named_database_is_left_alone_and_the_one_beside_it_is_dropped(
    empty_url: URL, empty_engine: Engine, tmp_path: Path
) -> None:
    done = run_pytest(tmp_path, PGCORPUS_TEST_DATABASE_URL=printed(empty_url))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
    assert databases(empty_engine) == []
    with empty_engine.connect() as connection:
        assert connection.scalar(text("SELECT to_regnamespace('pgcorpus')")) is None
        assert connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'vector'")) == 0


def test_a_role_that_may_not_create_databases_is_told_what_is_missing(
    empty_url: URL, empty_engine: Engine, tmp_path: Path
) -> None:
    role = f"tester_{os.getpid()}"
    with empty_engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role}"))
    try:
        url = empty_url.update_query_dict({"options": f"-crole={role}"})
        done = run_pytest(tmp_path, PGCORPUS_TEST_DATABASE_URL=printed(url))
    finally:
        with empty_engine.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))
    assert done.returncode == 1
    assert "may not create databases" in done.stdout
    assert "CREATEDB" in done.stdout


@pytest.mark.embedded
def test_without_a_url_a_private_server_is_started_and_removed(tmp_path: Path, reachable_directory: Path) -> None:
    scratch = reachable_directory / "host"
    scratch.mkdir()
    scratch.chmod(0o711)
    done = run_pytest(tmp_path, TMPDIR=str(scratch), DATABASE_URL="postgresql://nobody@nowhere/production")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
    assert list(scratch.iterdir()) == []


def test_the_package_needs_no_pytest_and_nothing_imports_the_plugin() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "import pgcorpus, pgcorpus.testing, pgcorpus.testing.databases\n"
        "print('pgcorpus.testing.fixtures' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# The embedder


def test_a_text_has_the_same_vector_on_every_machine() -> None:
    embedder: Embedder = HashEmbedder(8)
    vectors = embedder.embed(["A cat, a plane.", "!?"])
    # "a", twice, shares its place with "cat"; "plane" has another.
    counts = np.array([[0, 0, 0, 1, 0, 0, 0, 3], [1, 0, 0, 0, 0, 0, 0, 0]])
    np.testing.assert_allclose(vectors, counts / [[10**0.5], [1]], rtol=1e-6)


def test_texts_that_share_words_are_near() -> None:
    question, near, far = HashEmbedder().embed(["feed the cat", "how to feed a cat", "the price of a share of stock"])
    assert question @ near > question @ far


def test_case_and_order_do_not_matter() -> None:
    one, other = HashEmbedder().embed(["Feed the CAT", "the cat, feed"])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dimensions", [1, 2, 64])
def test_every_text_has_a_vector_of_length_1(dimensions: int) -> None:
    """Also one without words, and one whose words cancel each other out."""
    texts = ["!", " ", "😀", "漢字", *(f"word {number} and {number + 1}" for number in range(500))]
    vectors = HashEmbedder(dimensions).embed(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)


def test_what_was_embedded_is_remembered() -> None:
    embedder = HashEmbedder()
    embedder.embed(["a", "b"])
    embedder.embed(["c"])
    assert embedder.texts == ["a", "b", "c"]


def test_lengths_have_names_of_their_own() -> None:
    assert [HashEmbedder().model, HashEmbedder(8).model, HashEmbedder(8, "mine").model] == [
        "testing-hash-64", "testing-hash-8", "mine",
    ]  # fmt: skip


def test_what_cannot_be_embedded_is_refused() -> None:
    with pytest.raises(EmbeddingError, match=r"texts\[0\] is empty"):
        HashEmbedder().embed([""])
    with pytest.raises(ConfigError):
        HashEmbedder(0)
