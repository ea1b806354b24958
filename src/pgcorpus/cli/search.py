"""``pgcorpus search``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.text import Text

from pgcorpus.cli import options
from pgcorpus.cli.output import print_json, results, snippet
from pgcorpus.services.retrieval import Retrieved, Retriever


@click.command()
@click.argument("query")
@options.collection
@options.tenant
@options.embedder
@click.option("-k", type=click.IntRange(1, 10_000), default=5, show_default=True, help="Hits wanted.")
@click.option(
    "-w",
    "--where",
    metavar="JSON",
    callback=options.parse_object,
    help='A filter, for example \'{"meta.year": {"$gte": 2020}}\'.',
)
@click.option(
    "--recall",
    type=click.FloatRange(0.0, 1.0),
    help="The share of the nearest to be found, 0 to 1, by what `pgcorpus tune` measured.",
)
@click.option("--exact", is_flag=True, help="Compare with every document rather than ask the index.")
@options.as_json
@options.database_url
def search(
    query: str,
    collection: str,
    tenant: str,
    embedder: str | None,
    k: int,
    where: dict[str, Any] | None,
    recall: float | None,
    exact: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Find the documents nearest in meaning to a question.

    A filter names columns (source, key, language, position, ...) and metadata (meta.KEY), with $eq $ne $gt $gte $lt
    $lte $between $in $nin $exists $like $ilike $contains $any $all and $and $or $not.
    """
    if not query.strip():
        raise click.BadParameter("it is empty", param_hint="QUERY")
    if exact and recall is not None:
        raise click.UsageError("choose one of --recall and --exact: an exact search has a recall of 1")
    chosen = options.chosen_embedder(embedder)
    with options.migrated_database(database_url) as engine:
        hits = Retriever(engine, chosen, collection, tenant).retrieve(query, k, where=where, recall=recall, exact=exact)
    if as_json:
        seconds = hits.seconds["search"]
        print_json({"query": query, "collection": collection, "seconds": seconds, "hits": hits_as_json(hits)})
    else:
        print_hits(hits)


def print_hits(hits: Sequence[Retrieved]) -> None:
    """Print ranked hits for a person."""
    console = results()
    if not hits:
        console.print("no hits", style="dim")
    for rank, hit in enumerate(hits, 1):
        heading = hit.document.meta.get("heading") or hit.document.meta.get("title") or ""
        console.print(
            Text.assemble(
                (f"{rank:>2}. ", "dim"),
                (f"{hit.score:.3f}  ", "bold green"),
                (snippet(hit.document.source or hit.document.key), "bold"),
                (f"  {snippet(str(heading), 80)}" if heading else "", "cyan"),
            )
        )
        console.print(Text(f"    {snippet(hit.document.content)}"))


def hits_as_json(hits: Sequence[Retrieved]) -> list[dict[str, Any]]:
    """Return hits as JSON objects."""
    return [
        {
            "rank": rank,
            "score": hit.score,
            "distance": hit.distance,
            "source": hit.document.source,
            "position": hit.document.position,
            "key": hit.document.key,
            "snippet": snippet(hit.document.content),
            "content": hit.document.content,
            "metadata": hit.document.meta,
        }
        for rank, hit in enumerate(hits, 1)
    ]
