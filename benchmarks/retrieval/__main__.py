"""The command line: ``python -m benchmarks.retrieval``, from the checkout."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks import progress, results
from benchmarks.progress import Report
from benchmarks.retrieval.manual import PACKAGE, ManualError
from benchmarks.retrieval.run import Options, run
from benchmarks.retrieval.tables import figures_of, show
from pgcorpus.errors import PgCorpusError


@click.command()
@click.option("--queries", type=click.IntRange(min=10), help="Ask so many, drawn at random; all by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the draw, and of the halves of the grid.")
@click.option("--grid", is_flag=True, help="Try weights and constants on half of the queries, judge on the other.")
@click.option(
    "--passages", is_flag=True, help="Cut the sections as ingest would; the first ten hits are then passages."
)
@click.option(
    "--manual",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Folder of the manual's HTML; by default one installed, or Debian's package {PACKAGE}, downloaded.",
)
@click.option(
    "--json",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=results.OUT / "retrieval.json",
    help="Where to save.",
)
def main(queries: int | None, seed: int, grid: bool, passages: bool, manual: Path | None, path: Path) -> None:
    """Measure search by words, by vector and by both against the index of the PostgreSQL manual."""
    progress.end_as_interrupted()
    report = Report(progress.console())
    try:
        measured = run(Options(manual, queries, seed, grid, passages), report)
    except (ManualError, PgCorpusError) as exc:
        raise click.ClickException(str(exc)) from exc
    figures = figures_of(measured)
    show(figures, report.console)
    report.saved(results.write(path, figures))


if __name__ == "__main__":
    sys.exit(main())
