"""Runs lines that begin with `flask` as a shell would, but all in one process: importing takes longest by far."""

from __future__ import annotations

import os
import shlex
import sys
from itertools import takewhile


def run(line: str) -> None:
    """Run one line, with the variables before the command, and end as it does if it fails."""
    from flask.cli import cli

    words = shlex.split(line, comments=True)
    variables = list(takewhile(lambda word: "=" in word, words))
    os.environ.update(variable.split("=", 1) for variable in variables)
    if not words:
        return
    command, *arguments = words[len(variables) :]
    assert command == "flask", line
    try:
        cli.main(arguments, prog_name="flask")
    except SystemExit as exc:
        if exc.code:
            sys.exit(f"{line}: {exc.code}")
    sys.stdout.flush()


if __name__ == "__main__":
    for each in sys.stdin.read().splitlines():
        run(each)
