"""The command line: ``python -m benchmarks``, from the folder above."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from benchmarks.peers import PEERS
from benchmarks.report import Report, save
from benchmarks.run import run
from benchmarks.state import Options
from pgcorpus.errors import PgCorpusError

OUT = Path(__file__).parent / "out"
# Fewer, and the planner rightly scans our table rather than ask the index.
QUICK_ROWS = 8_000
QUICK_ROUNDS = 4


@click.command()
@click.option("--rows", type=click.IntRange(min=1_000), default=20_000, show_default=True, help="Vectors in each set.")
@click.option("--rounds", type=click.IntRange(min=2), default=24, show_default=True, help="Rounds of 25 searches.")
@click.option("--peers", "names", default=",".join(PEERS), show_default=True, help="Which, separated by commas.")
@click.option(
    "--quick", is_flag=True, help=f"{QUICK_ROWS:,} rows, {QUICK_ROUNDS} rounds: to see it work, not to quote."
)
@click.option("--delay/--no-delay", default=True, help="Also with 1 ms of added network delay.")
@click.option(
    "--json", "path", type=click.Path(dir_okay=False, path_type=Path), default=OUT / "peers.json", help="Where to save."
)
def main(rows: int, rounds: int, names: str, quick: bool, delay: bool, path: Path) -> None:
    """Compare pgcorpus with hand-written psycopg 3 and with other libraries, on a private PostgreSQL."""
    signal.signal(signal.SIGTERM, _interrupt)
    if quick:
        rows, rounds = QUICK_ROWS, QUICK_ROUNDS
    peers = tuple(name.strip() for name in names.split(","))
    if unknown := set(peers) - set(PEERS):
        raise click.BadParameter(f"no such peer: {', '.join(sorted(unknown))}", param_hint="--peers")
    report = Report(_console())
    try:
        figures = run(Options(rows, rounds, peers, delay, OUT), report)
    except PgCorpusError as exc:
        raise click.ClickException(str(exc)) from exc
    report.show(figures)
    report.notes(figures)
    save(figures, path)
    report.saved(path)


def _console() -> Console:
    """A file or a pipe has no width of its own: wide enough for the tables."""
    return Console() if sys.stdout.isatty() else Console(width=150)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 -- a signal handler's signature
    """End as Ctrl-C does: server stopped, processes ended, temporary files deleted."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
