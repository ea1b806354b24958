"""Options that several commands share, and the database behind them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from sqlalchemy import Engine

from pgcorpus import schema
from pgcorpus.cli.output import note
from pgcorpus.config import load_settings
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
def migrated_database(url: str | None) -> Iterator[Engine]:
    """Yield the database to work in; our private one is migrated on the way, any other must be already.

    Raises:
        SchemaError: The database is not at this code's revision.
    """
    settings = load_settings()
    private = not (url or settings.database_url)
    if private:
        note("no PGCORPUS_DATABASE_URL: using the private PostgreSQL of `pgcorpus db`")
    with open_database(url, settings) as engine:
        if private:
            schema.upgrade(engine)
        schema.require_current(engine)
        yield engine
