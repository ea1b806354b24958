"""Follow a page as its reader does: write its files, type its commands, see what it says one sees."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.serving import free_port
from tests.support.waiting import wait_until

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?:#|<!--) ([\w./-]+\.\w+)(?: -->)?\n")
# What the tests bring: the packages and a database.
_LEFT_OUT = re.compile(r"^.*(?:pip install|pgcorpus db ).*\n", re.MULTILINE)
_PORT = "8000"


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(*found) for found in _BLOCK.findall(page)]


class Reader:
    """Follows a page in a folder, and stops what it has started when a ``with`` ends.

    Args:
        page: Its text. Port 8000 becomes one that is free.
        folder: Where to work.
        database_url: The database, in place of the one that the page begins with.
    """

    def __init__(self, page: str, folder: Path, database_url: str) -> None:
        self.port = str(free_port())
        self.folder = folder
        self.blocks = blocks(page.replace(_PORT, self.port))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._environment = os.environ | {
            "PATH": path,
            "PGCORPUS_DATABASE_URL": database_url,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "error:::pgcorpus",
        }
        self._server: subprocess.Popen[bytes] | None = None

    def write_files(self) -> list[str]:
        """Write the blocks that begin with a file's name, and return the names."""
        written = []
        for block in self.blocks:
            if named := _FILE.match(block.text):
                (self.folder / named[1]).write_text(block.text)
                written.append(named[1])
        return written

    def follow(self) -> Iterator[tuple[str, str, str]]:
        """Type the commands in order; yield each with what it printed and what the page says that it prints."""
        for block, following in zip(self.blocks, [*self.blocks[1:], Block("", "")], strict=True):
            if block.language == "sh":
                yield from self._typed(block.text, following.text if following.language == "text" else "")

    def type(self, commands: str) -> str:
        """Run commands in a shell, and return what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop()

    def _typed(self, text: str, expected: str) -> Iterator[tuple[str, str, str]]:
        commands = _LEFT_OUT.sub("", text)
        before, uvicorn, arguments = commands.partition("uvicorn ")
        if before.strip():
            yield commands, self.type(before), expected
        if uvicorn:
            self._serve(arguments.split())

    def _serve(self, arguments: list[str]) -> None:
        self._stop()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *arguments, "--port", self.port, "--log-level", "warning"],
            cwd=self.folder, env=self._environment, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self._server
        assert self._server.poll() is None, "the app did not start"
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", int(self.port))) == 0

    def _stop(self) -> None:
        if self._server:
            self._server.terminate()
            assert self._server.wait(30) is not None
            self._server = None
