"""Options that several commands share, and the database behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from sqlalchemy import Engine

from pgcorpus import schema
from pgcorpus.cli.host import current_host
from pgcorpus.cli.output import note
from pgcorpus.config import Settings, load_settings
from pgcorpus.services.answering import Chat, OpenAIChat
from pgcorpus.services.embedding import Embedder, choose_embedder, embedder_of_model
from pgcorpus.target import open_database


def _not_empty(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """An unset variable of a shell must not mean the private database."""
    if value == "":
        raise click.BadParameter("it is empty")
    return value


database_url = click.option(
    "--database-url",
    metavar="URL",
    callback=_not_empty,
    help="The database, for example postgresql+psycopg://user@host/name. [env: PGCORPUS_DATABASE_URL, DATABASE_URL]",
)
collection = click.option(
    "-c", "--collection", default="default", show_default=True, callback=_not_empty, help="The collection's name."
)
tenant = click.option("--tenant", default="default", show_default=True, callback=_not_empty, help="Whose collection.")
embedder = click.option(
    "-e",
    "--embedder",
    metavar="NAME",
    help="openai, openai:MODEL or local. By default OpenAI where OPENAI_API_KEY is set, else local. "
    "[env: PGCORPUS_EMBEDDER]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def parse_object(_context: click.Context, _parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """Read an option's value as a JSON object: a click callback."""
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise click.BadParameter(f'not JSON ({exc}): write for example \'{{"source": "docs/guide.md"}}\'') from exc
    if not isinstance(parsed, dict):
        raise click.BadParameter('expected an object, for example \'{"source": "docs/guide.md"}\'')
    return parsed


@contextmanager
def database(url: str | None) -> Iterator[Engine]:
    """Yield the database of a command, in whatever state it is: a named one, the host's, or our private one.

    Raises:
        ConfigError: The URL cannot be used.
        EmbeddedServerError: Our private server cannot be started.
    """
    host = current_host()
    if host and not url:
        yield host.engine()
        return
    with open_database(url, load_settings()) as engine:
        yield engine


@contextmanager
def migrated_database(url: str | None) -> Iterator[Engine]:
    """Yield the database to work in; our private one is migrated on the way, any other must be already.

    Raises:
        SchemaError: The database is not at this code's revision.
    """
    private = not (url or current_host() or load_settings().database_url)
    if private:
        note("no PGCORPUS_DATABASE_URL: using the private PostgreSQL of `pgcorpus db`")
    with database(url) as engine:
        if private:
            schema.upgrade(engine)
        schema.require_current(engine)
        yield engine


def chosen_embedder(name: str | None) -> Embedder:
    """Return the embedder of a name; without one the host's, else that of the environment.

    Raises:
        ConfigError: The name is unknown, or it needs a key that is missing.
        MissingExtraError: It is not installed.
    """
    host = current_host()
    if host and not name:
        return host.embedder()
    return choose_embedder(name, settings())


def chosen_chat(model: str | None) -> Chat | None:
    """Return the chat model of a name; without one the host's, or None for what the environment asks for."""
    if model:
        return OpenAIChat(model, api_key=settings().openai_api_key)
    host = current_host()
    return host.chat() if host else None


def embedder_of(model: str | None) -> Embedder | None:
    """Return the embedder that made a collection's embeddings, or None where it is not known or cannot be had."""
    if model is None:
        return None
    host = current_host()
    if host and (embedder := host.embedder()).model == model:
        return embedder
    return embedder_of_model(model, settings())


def settings() -> Settings:
    """Return the settings of a command: the host's, else those of the environment."""
    host = current_host()
    return host.settings if host else load_settings()
