"""A user's shell in a Flask project: its variables, its `flask` commands, and `flask run`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL

from tests.support.waiting import wait_until

COMMANDS = Path(__file__).with_name("flask_commands.py")


def environment(url: URL) -> dict[str, str]:
    """Return the variables: those a page says to set, and the path to the programs of the environment under test."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    database = url.render_as_string(hide_password=False)
    ours = {"PATH": programs, "PGCORPUS_DATABASE_URL": database, "SECRET_KEY": "tests", "PYTHONDONTWRITEBYTECODE": "1"}
    return os.environ | ours


def run(folder: Path, env: dict[str, str], script: str) -> str:
    """Run lines that begin with `flask` in a folder, and return what they print; one that fails fails the test."""
    done = subprocess.run(
        [sys.executable, COMMANDS], input=script, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(folder: Path, env: dict[str, str]) -> Iterator[str]:
    """Have `flask run` on a free port, and yield its address."""
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(["flask", "run", "--port=0"], cwd=folder, env=env, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or "Running on" in log.read_text())
        address = re.search(r"Running on (http://\S+)", log.read_text())
        assert address, log.read_text()
        yield address[1]
    finally:
        process.terminate()
        process.wait()
