"""The commands as a group of an app's own command line."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from pgcorpus.cli.ending import ENDINGS, told
from pgcorpus.cli.host import CommandHost

# Each in a module of its name, imported when a command is run: an app that starts to serve needs none. Without `db`,
# `demo` and `serve`: an app has a database, and a server.
COMMANDS = (
    *("ingest", "search", "ask", "collections", "reembed", "migrate"),
    *("tune", "index", "doctor", "stats", "cache"),
)


class HostedCommands(click.Group):
    """The commands of ``pgcorpus``, on an app's own database and models.

    Args:
        host: Returns the app, when a command is run; it may keep things open until the context it is given ends.
        name: The group's name.
    """

    def __init__(self, host: Callable[[click.Context], CommandHost], name: str = "pgcorpus") -> None:
        # As of our own program, whatever the app's are: click keeps a command's help option once it has made it.
        helped = {"help_option_names": ["-h", "--help"]}
        super().__init__(name, help="Documents and their embeddings in PostgreSQL.", context_settings=helped)
        self._host = host

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return sorted({*COMMANDS, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.add_command(getattr(import_module(f"pgcorpus.cli.{cmd_name}"), cmd_name))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is asked for, and give it the app's defaults."""
        name, command, rest = super().resolve_command(ctx, args)
        if name and command:
            ctx.default_map = {name: _defaults(command, ctx.obj)}
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and end without a traceback for what a user can mend."""
        try:
            ctx.obj = self._host(ctx)
            return super().invoke(ctx)
        except ENDINGS as exc:
            ctx.exit(told(exc))


def _defaults(command: click.Command, host: CommandHost) -> dict[str, Any]:
    """Return the app's collection and tenant as defaults of a command, and of those inside it."""
    inner = command.commands if isinstance(command, click.Group) else {}
    own = {"collection": host.collection, "tenant": host.tenant}
    return own | {name: _defaults(each, host) for name, each in inner.items()}
