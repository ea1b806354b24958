"""``pgcorpus migrate``."""

from __future__ import annotations

from dataclasses import asdict

import click
from sqlalchemy import Engine

from pgcorpus import schema
from pgcorpus.cli import options
from pgcorpus.cli.output import messages, print_json, results
from pgcorpus.models import Document
from pgcorpus.repositories.writing.indexes import build_missing, is_missing

lock_wait = click.option(
    "--wait", "lock_wait", type=click.FloatRange(min=0), default=300.0, show_default=True,
    help="Seconds to wait for another migration to end.",
)  # fmt: skip


@click.group()
def migrate() -> None:
    """Bring the database's schema to a revision, or look at its history."""


@migrate.command()
@click.argument("revision", default="head")
@lock_wait
@options.database_url
def upgrade(revision: str, lock_wait: float, database_url: str | None) -> None:
    """Upgrade to REVISION, the newest by default, and mend a missing or invalid vector index."""
    with options.database(database_url) as engine:
        before = schema.current(engine)
        schema.upgrade(engine, revision, lock_wait=lock_wait)
        _say_move(before, schema.current(engine))
        _mend_index(engine)


@migrate.command(context_settings={"ignore_unknown_options": True})  # -1 is a revision
@click.argument("revision")
@lock_wait
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.database_url
def downgrade(revision: str, lock_wait: float, yes: bool, database_url: str | None) -> None:
    """Downgrade to REVISION, or by steps (-1); 'base' drops the tables and what they hold."""
    if not yes:
        click.confirm(f"Downgrade to {revision}? What newer revisions store is lost.", abort=True, err=True)
    with options.database(database_url) as engine:
        before = schema.current(engine)
        schema.downgrade(engine, revision, lock_wait=lock_wait)
        _say_move(before, schema.current(engine))


@migrate.command()
@options.as_json
@options.database_url
def current(as_json: bool, database_url: str | None) -> None:
    """Show the database's revision and the newest one."""
    with options.database(database_url) as engine:
        reached = schema.current(engine)
    if as_json:
        print_json({"current": reached, "head": schema.head()})
    else:
        results().print(f"{reached or 'no schema yet'} (newest: {schema.head()})")


@migrate.command()
@options.as_json
@options.database_url
def history(as_json: bool, database_url: str | None) -> None:
    """List the revisions, oldest first, and which of them the database has."""
    with options.database(database_url) as engine:
        revisions = schema.history(engine)
    if as_json:
        print_json([asdict(revision) for revision in revisions])
        return
    for revision in revisions:
        results().print(f"{'x' if revision.applied else ' '} {revision.id}  {revision.summary}")


@migrate.command()
@options.database_url
def check(database_url: str | None) -> None:
    """Pass if the database is at the newest revision and equals the models."""
    with options.database(database_url) as engine:
        schema.check(engine)
    results().print("the database equals the models")


@migrate.command()
@click.argument("revision", default="head")
@click.option("--down", is_flag=True, help="The way down; REVISION is then a range FROM:TO.")
def sql(revision: str, down: bool) -> None:
    """Print a migration's SQL without running it, for review or for a database administrator."""
    click.echo(schema.sql(revision, downgrade=down))


def _mend_index(engine: Engine) -> None:
    """Build the vector index that a load which was cut off left out, or that is invalid."""
    if schema.current(engine) == schema.head() and is_missing(engine, Document):
        with messages().status("building the vector index"):
            build_missing(engine, Document)
        results().print("built the vector index, which was missing or invalid")


def _say_move(before: str | None, after: str | None) -> None:
    if before == after:
        results().print(f"nothing to do: the database is at {after or 'base'}")
    else:
        results().print(f"{before or 'base'} -> {after or 'base'}")
