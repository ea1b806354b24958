"""``pgcorpus cache``: the embeddings that are kept, so that no text is paid for twice."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta

import click
from rich.table import Table
from rich.text import Text

from pgcorpus.cli import options
from pgcorpus.cli.output import print_json, printable, results
from pgcorpus.database import session_factory
from pgcorpus.repositories.embedding_cache import EmbeddingCache
from pgcorpus.services.embedding.cache import prune_cache

_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def _as_age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    written = re.fullmatch(r"([0-9]{1,5})([hdw])", value.strip())
    if written is None:
        raise click.BadParameter("write a number of hours, days or weeks: 12h, 90d, 8w")
    return timedelta(**{_UNITS[written[2]]: int(written[1])})


@click.group()
def cache() -> None:
    """The embeddings that are kept, by model and text, so that none is paid for twice.

    All collections and tenants share them. Only hashes of the texts are kept, and vectors.
    """


@cache.command()
@options.as_json
@options.database_url
def stats(as_json: bool, database_url: str | None) -> None:
    """Show how much is kept of each model."""
    with options.migrated_database(database_url) as engine, session_factory(engine)() as session:
        models = EmbeddingCache(session).stats()
    if as_json:
        print_json({"models": [asdict(each) for each in models]})
        return
    table = Table("model", "embeddings", "MB", box=None)
    for each in models:
        table.add_row(Text(printable(each.model)), f"{each.entries:,}", f"{each.bytes / 1e6:,.1f}")
    results().print(table if models else "nothing is kept yet", markup=False)


@cache.command()
@click.option("--model", metavar="NAME", help="Only of this model, as `stats` names it.")
@click.option("--older-than", callback=_as_age, metavar="AGE", help="Only what was kept longer ago: 12h, 90d, 8w.")
@click.option(
    "--unused",
    is_flag=True,
    help="Only of texts that no document has in a collection of that model. Reads the whole table of documents.",
)
@click.option("--dry-run", is_flag=True, help="Count, and delete nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.as_json
@options.database_url
def prune(
    model: str | None,
    older_than: timedelta | None,
    unused: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Delete what meets all of the options given; without any, all that is kept."""
    everything = model is None and older_than is None and not unused
    if everything and not (yes or dry_run):
        click.confirm("Delete all embeddings that are kept? They were paid for.", abort=True, err=True)
    with options.migrated_database(database_url) as engine:
        if dry_run:
            with session_factory(engine)() as session:
                number = EmbeddingCache(session).count(model, older_than=older_than, unused=unused)
        else:
            number = prune_cache(engine, model, older_than=older_than, unused=unused)
    _say(number, dry_run=dry_run, as_json=as_json)


def _say(number: int, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"would_delete" if dry_run else "deleted": number})
    else:
        results().print(f"{'would delete' if dry_run else 'deleted'} {number:,} embeddings")
