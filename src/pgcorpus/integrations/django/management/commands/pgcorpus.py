"""``manage.py pgcorpus``."""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, handle_default_options
from django.db import connections

from pgcorpus.cli.ending import EXIT_TERMINATED
from pgcorpus.integrations.django.commands import commands

# Django's own options, which every command accepts.
_WITH_VALUE = ("--settings", "--pythonpath", "--verbosity", "-v")
_JOINED = re.compile(r"--(settings|pythonpath|verbosity)=|-v\d")
_FLAGS = ("--traceback", "--no-color", "--force-color")
# There are none to skip; Django's parser then refuses it.
_WITHOUT_EFFECT = "--skip-checks"


class Command(BaseCommand):
    """Hands its words to the command line of ``pgcorpus``; Django's own options it keeps to itself."""

    help = "Documents and their embeddings in PostgreSQL."
    # A command says itself what is wrong, and `migrate upgrade` is what mends it.
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Take all words as they are."""
        parser.add_argument("args", nargs=argparse.REMAINDER)

    def run_from_argv(self, argv: list[str]) -> NoReturn:
        """Run a command and exit as ``pgcorpus`` does."""
        self._called_from_command_line = True
        words, own = _parted(argv[2:])
        django_options = self.create_parser(argv[0], argv[1]).parse_args(own)
        handle_default_options(django_options)
        if django_options.no_color:
            os.environ["NO_COLOR"] = "1"
        if django_options.force_color:
            os.environ["FORCE_COLOR"] = "1"
        # Unwind, so that transactions roll back.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
        try:
            code = _run(words, f"{Path(argv[0]).name} {argv[1]}")
        finally:
            connections.close_all()
        sys.exit(code)

    def handle(self, *args: str, **settings: Any) -> None:
        """Run a command for ``call_command``.

        Raises:
            CommandError: It failed; the message is what it said, ``returncode`` its exit code.
        """
        said = io.StringIO()
        with ExitStack() as stack:
            stack.enter_context(redirect_stderr(said))
            if output := settings.get("stdout"):
                stack.enter_context(redirect_stdout(output))
            code = _run(_parted(args)[0], "manage.py pgcorpus")
        if code:
            raise CommandError(said.getvalue().strip() or f"pgcorpus ended with {code}", returncode=code)
        (settings.get("stderr") or sys.stderr).write(said.getvalue())

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print the commands, for ``manage.py help pgcorpus``."""
        _run(["--help"], f"{Path(prog_name).name} {subcommand}")


def _run(words: Sequence[str], command: str) -> int:
    try:
        commands(command).main(list(words), prog_name=command)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(bool(exc.code))
    return 0


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words for us and the options for Django, wherever they stand before a ``--``."""
    words: list[str] = []
    own: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            words += [argument, *remaining]
        elif argument in _WITH_VALUE:
            own += [argument, *([value] if (value := next(remaining, None)) is not None else [])]
        elif argument in _FLAGS or _JOINED.match(argument):
            own.append(argument)
        elif argument != _WITHOUT_EFFECT:
            words.append(argument)
    return words, own
