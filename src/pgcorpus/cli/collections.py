"""``pgcorpus collections``."""

from __future__ import annotations

import click
from rich.table import Table
from rich.text import Text

from pgcorpus.cli import options
from pgcorpus.cli.host import as_called
from pgcorpus.cli.output import print_json, printable, results
from pgcorpus.database import session_factory
from pgcorpus.repositories import DocumentRepository


@click.command()
@options.tenant
@options.as_json
@options.database_url
def collections(tenant: str, as_json: bool, database_url: str | None) -> None:
    """List the collections with their embedding models and sizes."""
    with options.migrated_database(database_url) as engine, session_factory(engine)() as session:
        rows = [
            {
                "name": each.name,
                "embedding_model": each.embedding_model,
                "distance": each.distance,
                "documents": DocumentRepository(session, each.name, tenant).count(),
            }
            for each in DocumentRepository(session, tenant=tenant).collections()
        ]
    if as_json:
        print_json({"tenant": tenant, "collections": rows})
        return
    table = Table("collection", "embedding model", "distance", "documents", box=None)
    for row in rows:
        table.add_row(*(Text(printable(str(value))) for value in row.values()))
    results().print(table if rows else as_called("no collections yet: make one with `pgcorpus ingest`"), markup=False)
