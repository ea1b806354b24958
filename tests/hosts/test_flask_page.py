"""Whoever follows the page on Flask in an empty folder has what it promises: files and commands are those it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.support.flask_shell import environment, run, served

PAGE = (Path(__file__).parents[2] / "docs" / "flask.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


# With a context around them, requests would see what none of them committed.
OWN_SESSIONS = """
from flask import has_app_context

def test_its_requests_have_a_session_each(app):
    assert not has_app_context()
"""


def files() -> dict[str, str]:
    """The files that the page shows, by the names in their first lines."""
    named = [(re.match(r"(?:# |<!-- )(\S+\.\w+)", block), block) for _, block in BLOCKS]
    return {found[1]: block for found, block in named if found}


def commands(first: str) -> list[str]:
    """The commands that begin so, but for a server."""
    lines = "\n".join(block for language, block in BLOCKS if language == "sh").splitlines()
    return [line for line in lines if line.startswith(first) and line != "flask run"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name, block in files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(block)
    return folder


@pytest.fixture(scope="module")
def env(make_database: Callable[..., URL]) -> dict[str, str]:
    return environment(make_database())


def test_every_file_that_python_is_shown_for_is_named() -> None:
    assert len([block for language, block in BLOCKS if language in ("python", "html", "markdown")]) == len(files()) == 7


def test_its_commands_make_an_app_that_finds(folder: Path, env: dict[str, str]) -> None:
    script = "\n".join(commands("flask"))
    assert script.count("\n") == 3
    printed = run(folder, env, script)
    assert printed.index("Forgot password") < printed.index("rear door")
    (path,) = re.findall(r"<http://127.0.0.1:5000(/\S*)>", PAGE)
    with served(folder, env) as address, httpx.Client(base_url=address, timeout=60) as client:
        page = client.get(path).text
        assert page.index("rear door") < page.index("Forgot password")
        assert client.get("/search.json?q=password").json()[0]["source"] == "articles/passwords.md"
        assert client.get("/search.json?q=").json() == {"error": "the question is empty"}


def test_its_tests_pass(folder: Path, env: dict[str, str]) -> None:
    (command,) = commands("pytest")
    (folder / "test_requests.py").write_text(OWN_SESSIONS)
    variables = {"PGCORPUS_TEST_DATABASE_URL": env["PGCORPUS_DATABASE_URL"], "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "test_requests.py", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=env | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
