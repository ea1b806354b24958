"""What the command line prints: results to standard output, everything else to standard error."""

from __future__ import annotations

import json
import re
from typing import Any

import click
from rich.console import Console
from rich.text import Text

# Documents are hostile input: an escape sequence in one must not reach the terminal. Newline and tab stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SPACE = re.compile(r"\s+")

SNIPPET_CHARACTERS = 240
# Of so many characters, one at least is no space.
_SPARSE = 20


def results() -> Console:
    """Return the console of results."""
    return Console(highlight=False, soft_wrap=True)


def messages() -> Console:
    """Return the console of progress and messages."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """Say in one line what went wrong."""
    line = _SPACE.sub(" ", printable(message)).strip()
    messages().print(Text.assemble(("Error: ", "bold red"), line))


def note(message: str) -> None:
    """Say something beside the results."""
    messages().print(Text(printable(message), style="dim"))


def print_json(value: Any) -> None:
    """Print a result for programs."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def printable(text: str) -> str:
    """Return a text without the characters that steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def snippet(content: str, limit: int = SNIPPET_CHARACTERS) -> str:
    """Return the beginning of a text on one line, at most ``limit`` characters."""
    # Not all of it: a document may be a whole book.
    line = _SPACE.sub(" ", printable(content[: limit * _SPARSE])).strip()
    return line if len(line) <= limit else line[: limit - 1].rsplit(" ", 1)[0] + "…"
