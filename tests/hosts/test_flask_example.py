"""The help centre of examples/flask_app, run as its README says."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.engine import URL

from tests.support.flask_shell import environment, run, served

EXAMPLE = Path(__file__).parents[2] / "examples" / "flask_app"
USERS = {"acme": "ann@acme.example", "zoo": "zoe@zoo.example"}


@contextmanager
def logged_in(address: str, company: str, *, guessed: bool = False) -> Iterator[httpx.Client]:
    password = "guessed" if guessed else f"pass of {company}"
    with httpx.Client(base_url=address, timeout=60, follow_redirects=True) as client:
        client.post("/login", data={"email": USERS[company], "password": password})
        yield client


@pytest.fixture(scope="module")
def address(make_database: Callable[..., URL], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app after the commands of its README, but for the installation."""
    folder = tmp_path_factory.mktemp("example") / "flask_app"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    commands = re.findall(r"^```sh\n(flask pgcorpus migrate.*?)^```", (folder / "README.md").read_text(), re.M | re.S)[
        0
    ]
    # The password is asked for; who runs the commands in a script gives it in a variable.
    script = re.sub(r"^(flask add-user .* (\w+))$", r"NEW_PASSWORD='pass of \2' \1", commands, flags=re.M)
    env = environment(make_database())
    assert "The printer jams" in run(folder, env, script)
    with served(folder, env) as address:
        yield address


def texts(client: httpx.Client, words: str, **parameters: Any) -> str:
    return " ".join(hit["text"] for hit in client.get("/search", params={"q": words, **parameters}).json())


def test_it_has_less_than_150_lines() -> None:
    files = [*EXAMPLE.glob("*.py"), *EXAMPLE.glob("templates/*")]
    assert sum(len(path.read_text().splitlines()) for path in files) < 150


def test_a_user_finds_the_articles_of_their_company_and_no_other(address: str) -> None:
    with logged_in(address, "acme") as ann, logged_in(address, "zoo") as zoe:
        assert "rear door" in texts(ann, "paper is stuck in the printer")
        assert "penguins" in texts(zoe, "when are the animals fed?")
        assert "rear door" not in texts(zoe, "paper is stuck in the printer")
        assert "<h1>Help of acme</h1>" in ann.get("/").text
        assert "Open the rear door" in ann.get("/", params={"q": "the printer jams"}).text


def test_nobody_sees_anything_without_their_password(address: str) -> None:
    with httpx.Client(base_url=address, timeout=60) as nobody:
        assert nobody.get("/search?q=printer").status_code == 401
        assert nobody.get("/").headers["location"] == "/login"
        assert nobody.post("/tickets", data={"text": "x"}).status_code == 401
    with logged_in(address, "acme", guessed=True) as wrong:
        assert wrong.get("/search?q=printer").status_code == 401


def test_a_ticket_is_found_by_those_of_the_same_company(address: str) -> None:
    with logged_in(address, "acme") as ann, logged_in(address, "zoo") as zoe:
        assert ann.post("/tickets", data={"text": "My screen <b>flickers</b>"}).json() == {"id": 1}
        assert texts(ann, "flickering screen", tickets=1) == "My screen <b>flickers</b>"
        assert texts(zoe, "flickering screen", tickets=1) == ""


def test_what_cannot_be_searched_for_is_the_askers_fault(address: str) -> None:
    with logged_in(address, "acme") as ann:
        answer = ann.get("/search?q=")
        assert (answer.status_code, answer.json()) == (400, {"error": "the question is empty"})
