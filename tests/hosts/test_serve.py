"""``pgcorpus serve`` as its user runs it: a process, a link with a token, and an end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from sqlalchemy.engine import URL

from pgcorpus.cli.main import run_command
from pgcorpus.cli.serve import serve
from pgcorpus.database import create_engine, session_factory
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository
from tests.support.browser import Browser
from tests.support.vectors import unit
from tests.support.waiting import wait_until

PROGRAM = [sys.executable, "-m", "pgcorpus", "serve"]

# Writes down what a browser is given: the file's mode, its address, and what it holds.
BROWSER = """#!/bin/sh
file="${{1#file://}}"
{{ stat -c %a "$file"; echo "$1"; cat "$file"; }} > {0}.part
mv {0}.part {0}
"""


class Serving:
    """The command, running."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.first_line = self.process.stdout.readline()
        assert self.first_line, self.process.communicate()[1]

    @property
    def url(self) -> str:
        """The link, with its token."""
        found = re.search(r"http://\S+\?token=[\w-]+", self.first_line.replace('"', " "))
        assert found, self.first_line
        return found[0]

    @property
    def address(self) -> str:
        return self.url.partition("/?")[0]

    @property
    def token(self) -> str:
        return self.url.partition("token=")[2]

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal, and return the exit code and what was written after the first line."""
        self.process.send_signal(number)
        return self.process.wait(30), "".join(self.process.communicate())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def database(make_database: Callable[..., URL], template: str) -> str:
    url = make_database(template)
    engine = create_engine(url)
    with session_factory(engine).begin() as session:
        for tenant, name in (("default", "fruit"), ("default", "cars"), ("acme", "secrets")):
            content = f"what is told of {name}"
            DocumentRepository(session, name, tenant).add(Document(content=content, source=name, embedding=unit(1)))
    engine.dispose()
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def serving(database: str) -> Iterator[Serving]:
    """One that the tests ask; what it wrote in all is looked at in the end."""
    serving = Serving("--port", "0", "--json", PGCORPUS_DATABASE_URL=database)
    yield serving
    code, rest = serving.end(signal.SIGINT)
    assert (code, serving.token in rest) == (0, False), rest


def get(url: str, **options: Any) -> httpx.Response:
    return httpx.get(url, timeout=30, **options)


def test_the_first_line_for_programs_is_json_with_the_link(serving: Serving) -> None:
    assert json.loads(serving.first_line) == {"url": serving.url}


def test_without_the_token_or_with_a_wrong_one_nothing_is_shown(serving: Serving) -> None:
    for query in ("", "?token=", f"?token={serving.token[:-1]}x", f"?token={serving.token}&token=x"):
        refused = get(f"{serving.address}/{query}")
        assert refused.status_code == 403
        assert "fruit" not in refused.text
        assert "set-cookie" not in refused.headers


def test_the_link_leads_to_the_page_without_the_token(serving: Serving) -> None:
    answer = get(serving.url)
    assert answer.status_code == 303
    assert serving.token not in answer.headers["location"] + answer.headers["set-cookie"]
    with httpx.Client() as client:
        page = client.get(serving.url, follow_redirects=True)
        assert page.status_code == 200
        assert serving.token not in page.text
        assert "fruit" in client.get(f"{serving.address}/collections").text


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:9", 303),
        ("127.0.0.1", 303),
        ("[::1]:9", 303),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("127.0.0.1@evil.example", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_machine_are_answered(serving: Serving, host: str, status: int) -> None:
    """Or a web page elsewhere could point its own name at this machine, and read the answers."""
    assert get(serving.url, headers={"host": host}).status_code == status


def test_it_listens_on_this_machine_only(serving: Serving) -> None:
    port = int(serving.address.rpartition(":")[2])
    table = Path("/proc/net/tcp").read_text().splitlines()[1:]
    listening = {line.split()[1] for line in table if line.split()[3] == "0A"}
    assert [each for each in listening if each.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_a_browser_follows_the_link(serving: Serving, browser: Browser) -> None:
    browser.open(serving.url)
    assert browser.driver.current_url == f"{serving.address}/"
    browser.open(f"{serving.address}/collections")
    assert "fruit" in browser.text()
    assert "secrets" not in browser.text()
    assert {url[: len(serving.address)] for url in browser.requests()} == {serving.address}, "nothing from elsewhere"


def test_a_browser_that_comes_from_another_page_is_let_in_too(
    serving: Serving, browser: Browser, tmp_path: Path
) -> None:
    """`--open` hands the browser a file that leads on; terminals are web pages at times."""
    page = tmp_path / "page.html"
    page.write_text(f'<meta http-equiv="refresh" content="0; url={serving.url}">')
    browser.open(page.as_uri())
    wait_until(lambda: browser.driver.current_url == f"{serving.address}/")
    assert browser.find_all("input[type=search]")


def test_a_person_gets_a_link_and_an_end_without_a_word(database: str, tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    script = tmp_path / "browser"
    script.write_text(BROWSER.format(opened))
    script.chmod(0o755)
    arguments = ("--port", "0", "--tenant", "acme", "-c", "secrets", "--open")
    serving = Serving(*arguments, PGCORPUS_DATABASE_URL=database, BROWSER=f"{script} %s")
    try:
        assert serving.first_line == f"The Explorer is at {serving.url}\n"
        wait_until(opened.exists)
        mode, address, content = opened.read_text().split("\n", 2)
        assert (mode, serving.token in address, serving.url in content) == ("600", False, True)
        with httpx.Client() as client:
            client.get(serving.url)
            assert "secrets" in client.get(f"{serving.address}/collections").text
        code, rest = serving.end(signal.SIGTERM)
        assert code == 143
        assert serving.token not in rest
        assert "Traceback" not in rest
        assert not Path(address.removeprefix("file://")).exists()
    finally:
        serving.kill()


def test_a_port_in_use_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert run_command(["serve", "--port", str(port)]) == 2
    out, said = capsys.readouterr()
    assert said.startswith(f"Error: port {port} of 127.0.0.1 cannot be had (Address already in use)")
    assert (out, said.count("\n")) == ("", 1)


def test_a_collection_that_is_misspelt_is_told(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["serve", "--port", "0", "-c", "fruits", "--database-url", database]) == 1
    assert "there is no collection 'fruits'" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.org"])  # noqa: S104
def test_it_is_not_served_to_a_network(host: str) -> None:
    with pytest.raises(click.BadParameter, match="mount the Explorer in an app"):
        serve.make_context("serve", ["--host", host])


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run_command(["serve", "--port", "0"]) == 2
    out, said = capsys.readouterr()
    assert "pip install 'pgcorpus[explorer]'" in said
    assert (out, said.count("\n")) == ("", 1)
