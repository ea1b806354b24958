"""The command line: ``python -m benchmarks``, from the folder above."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks import progress, results, suite
from benchmarks.comparison.peers import PEERS
from benchmarks.comparison.state import Options
from benchmarks.progress import Report
from benchmarks.reporting import page
from benchmarks.suite import PARTS, Asked
from pgcorpus.errors import PgCorpusError


class Names(click.ParamType[tuple[str, ...]]):
    """Names separated by commas.

    Args:
        known: All there are.
    """

    name = "names"

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        names = value if isinstance(value, tuple) else tuple(name.strip() for name in value.split(","))
        if unknown := set(names) - set(self._known):
            self.fail(f"no such name: {', '.join(sorted(unknown))}; there are {', '.join(self._known)}", param, ctx)
        return names


class Sizes(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas."""

    name = "rows"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            sizes = value if isinstance(value, tuple) else tuple(int(size) for size in value.split(",") if size)
        except ValueError:
            sizes = (0,)
        if any(size < 1_000 for size in sizes):
            self.fail(f"{value!r} is no list of sizes of at least 1,000 rows", param, ctx)
        return sizes


@click.command()
@click.option("--only", "parts", type=Names(PARTS), help=f"Parts, separated by commas; all are {', '.join(PARTS)}.")
@click.option("--rows", type=click.IntRange(min=1_000), default=20_000, show_default=True, help="Vectors in each set.")
@click.option("--rounds", type=click.IntRange(min=2), default=24, show_default=True, help="Rounds of 25 searches.")
@click.option("--peers", "names", type=Names(tuple(PEERS)), default=tuple(PEERS), help="Which, separated by commas.")
@click.option("--delay/--no-delay", default=True, help="Also with 1 ms of added network delay.")
@click.option("--scale", "far", is_flag=True, help="Only the part scale, up to 1,000,000 rows; goes on.")
@click.option("--sizes", type=Sizes(), default=(), help="Of the part scale, separated by commas.")
@click.option("--budget", type=click.FloatRange(min=0), help="Minutes of scale: a size that takes longer waits.")
@click.option("--fresh", is_flag=True, help="Measure sizes again that were measured before.")
@click.option("--quick", is_flag=True, help="Little of everything: to see it work, not to quote.")
@click.option("--render", is_flag=True, help="Measure nothing: write the report of what there is.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=results.OUT, help="The folder of results."
)
@click.option("--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Where the peers' figures go.")
def main(
    parts: tuple[str, ...] | None,
    rows: int,
    rounds: int,
    names: tuple[str, ...],
    delay: bool,
    far: bool,
    sizes: tuple[int, ...],
    budget: float | None,
    fresh: bool,
    quick: bool,
    render: bool,
    out: Path,
    path: Path | None,
) -> None:
    """Measure pgcorpus beside hand-written psycopg 3 and other libraries, its forms of index, and how it scales."""
    progress.end_as_interrupted()
    options = Options(rows, rounds, names, delay, out)
    ladder = suite.ladder(sizes, budget, far=far, fresh=fresh)
    asked = Asked(parts or (("scale",) if far else PARTS), options, ladder, 2, out, path or out / "peers.json")
    report = Report(progress.console())
    try:
        if not render:
            suite.measure(suite.quick(asked) if quick else asked, report)
    except PgCorpusError as exc:
        raise click.ClickException(str(exc)) from exc
    report.saved(page.write(results.load(out), out))


if __name__ == "__main__":
    sys.exit(main())
