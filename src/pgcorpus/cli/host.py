"""The app that offers the commands as its own, where there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import click
from sqlalchemy import Engine

from pgcorpus.config import Settings
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.services.answering import Chat
from pgcorpus.services.embedding import Embedder


@dataclass(frozen=True, slots=True)
class CommandHost:
    """What an app's commands work with in place of the environment; nothing is made before it is needed.

    Attributes:
        command: How the commands are called, such as ``flask pgcorpus``.
        settings: Where the key and the name of the default embedder come from.
        engine: Returns the app's database, which stays open.
        embedder: Returns the app's embedder.
        chat: Returns the app's chat model; None for the one that the environment asks for.
        collection: The collection of commands that name none.
        tenant: The tenant of commands that name none.
    """

    command: str
    settings: Settings
    engine: Callable[[], Engine]
    embedder: Callable[[], Embedder]
    chat: Callable[[], Chat | None]
    collection: str = "default"
    tenant: str = DEFAULT_TENANT


def current_host() -> CommandHost | None:
    """Return the app whose command is running, or None for ``pgcorpus`` itself."""
    context = click.get_current_context(silent=True)
    return context.find_object(CommandHost) if context else None


def as_called(message: str) -> str:
    """Return a message with the commands that it names as they are called here."""
    host = current_host()
    return message.replace("`pgcorpus ", f"`{host.command} ") if host else message
