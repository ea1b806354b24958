"""``pgcorpus ingest``."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from pgcorpus.cli import options
from pgcorpus.cli.output import messages, note, print_json, results
from pgcorpus.errors import SourceError
from pgcorpus.services.ingesting import Ingestor, IngestReport, Progress, Stage
from pgcorpus.services.sources import FORMATS, SourceSet, find_sources


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@options.collection
@options.tenant
@options.embedder
@click.option("--source", "stdin_name", default="stdin", show_default=True, help="The source's name for '-'.")
@click.option("--format", "stdin_format", type=click.Choice(FORMATS), help="What '-' holds. [default: text]")
@click.option(
    "--prune/--no-prune",
    default=None,
    help="Delete what is stored of files that are no longer in a folder. By default for every folder but '.', to which "
    "all relative names in the collection would belong.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="PATTERN",
    help="Leave out files of a folder, as .gitignore does; may be repeated. A folder may have a .pgcorpusignore, too.",
)
@click.option("--dry-run", is_flag=True, help="Read and compare only: say what would be done, and at what cost.")
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    help="Of a million tokens, to tell the cost. [env: PGCORPUS_PRICE]",
    envvar="PGCORPUS_PRICE",
)
@click.option(
    "--cache/--no-cache",
    default=None,
    help="Keep embeddings by their text, so that none is paid for twice. By default unless they are made here.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no notes.")
@options.as_json
@options.database_url
def ingest(
    paths: tuple[str, ...],
    collection: str,
    tenant: str,
    embedder: str | None,
    stdin_name: str,
    stdin_format: str | None,
    prune: bool | None,
    ignore: tuple[str, ...],
    dry_run: bool,
    price: float | None,
    cache: bool | None,
    quiet: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Store files and folders as documents with embeddings.

    Text, Markdown, HTML, PDF and JSON lines ({"content": "...", "metadata": {...}}); '-' is standard input. A second
    run embeds and writes only what changed, and deletes what vanished. Each file is stored whole or not at all; an
    interrupted run is taken up by the next, which pays for no embedding twice.
    """
    if "-" in paths and sys.stdin.isatty():
        note("reading standard input; Ctrl-D ends it")
    found = find_sources(
        paths, stdin_name=stdin_name, stdin_format=stdin_format, empty_folders=prune is True, ignore=ignore
    )
    roots = [] if prune is False else [root for root in found.roots if root or prune]
    chosen = options.chosen_embedder(embedder)
    started = time.perf_counter()
    with options.migrated_database(database_url) as engine, progress_bar(found.size, quiet=quiet) as progress:
        ingestor = Ingestor(engine, chosen, collection, tenant, cache=cache, price=price, progress=progress)
        report = ingestor.ingest(found, roots, dry_run=dry_run)
    if not quiet:
        _say_skipped(found)
    print_report(report, collection, time.perf_counter() - started, as_json=as_json)
    if report.passages == 0 and not prune:
        raise SourceError("there is no text in what was read")


@contextmanager
def progress_bar(size: float, *, quiet: bool = False) -> Iterator[Any]:
    """Yield a callback that draws an ingest's progress on standard error.

    Args:
        size: Bytes to come.
        quiet: Draw nothing.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=messages(), transient=True, disable=quiet) as bar:
        task = bar.add_task(Stage.EMBEDDING.value, total=size, counts="")

        def update(progress: Progress) -> None:
            counts = f"{progress.passages:,} passages, {progress.embedded:,} embedded"
            total = size if progress.stage is Stage.EMBEDDING else None
            bar.update(task, description=progress.stage.value, completed=progress.size, total=total, counts=counts)

        yield update


def print_report(report: IngestReport, collection: str, seconds: float, *, as_json: bool) -> None:
    """Print what an ingest did."""
    if as_json:
        counts = asdict(report.changes)
        print_json({"collection": collection, **asdict(report), "changes": counts, "total_seconds": seconds})
        return
    results().print(f"{collection}: {_summary(report)}; {seconds:.1f} s", markup=False)


def _summary(report: IngestReport) -> str:
    changes = report.changes
    cached = f" ({report.cached:,} from the cache)" if report.cached else ""
    about = "about " if report.dry_run else ""
    tokens = f", {about}{report.tokens:,} tokens" if report.tokens else ""
    cost = f", {about}{report.cost:,.4f} at that price" if report.cost is not None else ""
    summary = (
        f"{report.passages:,} passages of {report.sources:,} sources; {changes.added:,} added, "
        f"{changes.updated:,} updated, {changes.unchanged:,} unchanged, {changes.deleted:,} deleted; "
        f"{report.embedded:,} embedded{cached}{tokens}{cost}"
    )
    return f"dry run, nothing was done: {summary}" if report.dry_run else summary


def _say_skipped(found: SourceSet) -> None:
    for reason, count in Counter(skipped.reason for skipped in found.skipped).items():
        note(f"skipped {count:,} {reason}")
