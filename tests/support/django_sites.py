"""A Django project in a folder of its own, used as its developer and its users do: by commands and over HTTP."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from sqlalchemy.engine import URL

from tests.support.serving import free_port
from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Site:
    """A project whose database is what libpq's variables name.

    Attributes:
        path: The folder with ``manage.py``.
        url: The database.
    """

    path: Path
    url: URL

    def run(self, line: str) -> str:
        """Run a line of a shell's in the folder, and return what it prints; one that fails fails the test."""
        words = shlex.split(line, comments=True)
        programs = {"python": [sys.executable], "django-admin": [sys.executable, "-m", "django"]}
        done = subprocess.run(
            [*programs[words[0]], *words[1:]],
            cwd=self.path, env=self._environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def served(self) -> Iterator[User]:
        """Run Django's server, and yield somebody who visits it."""
        address = f"127.0.0.1:{free_port()}"
        command = [sys.executable, "manage.py", "runserver", "--noreload", address]
        with (self.path / "server.log").open("w+") as log:
            server = subprocess.Popen(command, cwd=self.path, env=self._environment(), stdout=log, stderr=log)
            try:
                user = User(f"http://{address}")
                wait_until(lambda: server.poll() is not None or user.reaches())
                assert server.poll() is None, (self.path / "server.log").read_text()
                yield user
            finally:
                server.terminate()
                server.wait(20)

    def _environment(self) -> dict[str, str]:
        host = self.url.query.get("host", self.url.host)
        given = {
            "PGHOST": host, "PGPORT": self.url.query.get("port", self.url.port), "PGUSER": self.url.username,
            "PGPASSWORD": self.url.password, "PGDATABASE": self.url.database, "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        return os.environ | {name: str(value) for name, value in given.items() if value is not None}


class User:
    """Somebody with a browser that keeps cookies and runs no scripts.

    Args:
        address: The server's.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def reaches(self) -> bool:
        """Return whether the server answers at all."""
        try:
            self.get("/")
        except URLError as exc:
            return hasattr(exc, "code")
        return True

    def get(self, path: str, **query: str) -> str:
        """Return the page that is shown in the end."""
        with self._opener.open(f"{self.address}{path}?{urlencode(query)}", timeout=30) as answer:
            return str(answer.read().decode())

    def fill(self, path: str, **fields: str) -> str:
        """Send a page's form, and return what is shown then."""
        token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.get(path))[0]
        form = urlencode(fields | {"csrfmiddlewaretoken": token}).encode()
        with self._opener.open(f"{self.address}{path}", form, timeout=30) as answer:
            return str(answer.read().decode())
