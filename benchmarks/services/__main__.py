"""The command line: ``python -m benchmarks.services``, from the checkout."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from benchmarks import progress, results
from benchmarks.server import SETTINGS
from benchmarks.services.measure import answer_overhead, ingest_offline, ingest_remote, passages
from pgcorpus import schema
from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.errors import PgCorpusError


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    offline: int
    remote: int
    answers: int
    rounds: int


@click.command()
@click.option("--passages", "offline", type=click.IntRange(1_000), default=20_000, show_default=True, help="Offline.")
@click.option("--remote", type=click.IntRange(100), default=4_000, show_default=True, help="Passages with the server.")
@click.option("--rounds", type=click.IntRange(1), default=100, show_default=True, help="Answers.")
@click.option(
    "--json",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=results.OUT / "services.json",
    help="Where to save.",
)
def main(offline: int, remote: int, rounds: int, path: Path) -> None:
    """Measure ingest beside the embedder alone, its growth with the concurrency allowed, and what an answer adds."""
    progress.end_as_interrupted()
    options = Options(offline, remote, min(offline, 4_000), rounds)
    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o711)  # as root, the server runs under another account
            with EmbeddedServer(Path(folder) / "server", SETTINGS) as server:
                engine = create_engine(server.url)
                schema.upgrade(engine)
                figures = run(engine, options)
                engine.dispose()
    except PgCorpusError as exc:
        raise click.ClickException(str(exc)) from exc
    show(figures, progress.console())
    results.write(path, figures)


def run(engine: Engine, options: Options) -> dict[str, dict[str, Any]]:
    """Return the figures by the name of their table."""
    contents = passages(max(options.offline, options.remote))
    offline = ingest_offline(engine, contents[: options.offline])
    remote = ingest_remote(engine, contents[: options.remote])
    return {
        f"Ingest of {options.offline:,} passages with the offline embedder": {
            "the embedder alone, passages/s": median(each.embedder for each in offline),
            "ingest until all are stored, passages/s": median(each.stored for each in offline),
            "ingest with the HNSW index built, passages/s": median(each.with_index for each in offline),
            "ratio, stored": median(each.stored / each.embedder for each in offline),
        },
        f"Ingest of {options.remote:,} passages, 50 ms a request": {
            f"{concurrency} at once, passages/s": rate for concurrency, rate in remote.items()
        }
        | {f"ratio of {concurrency} to 1": rate / remote[1] for concurrency, rate in remote.items()},
        f"answer(), {options.rounds} questions": answer_overhead(engine, contents[: options.answers], options.rounds),
    }


def show(figures: dict[str, dict[str, Any]], console: Console) -> None:
    """Print the figures."""
    for title, values in figures.items():
        table = Table("", "", title=title, title_justify="left", show_header=False)
        for name, value in values.items():
            table.add_row(name, f"{value:,.2f}" if value < 100 else f"{value:,.0f}")
        console.print(table)


if __name__ == "__main__":
    sys.exit(main())
