"""The tables of docs/benchmarks.md, from the results as they are kept.

``python -m benchmarks.reporting.markdown`` prints them; ``--write docs/benchmarks.md`` fills them into the places
that the file marks, and leaves places alone whose part was not measured::

    <!-- figures: forms -->
    | Dimensions | ...
    <!-- end -->
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks import results
from benchmarks.reporting.tables import TABLES, Table

_PLACE = re.compile(r"(?P<begin><!-- figures: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=results.OUT, help="The folder of results."
)
@click.option("--write", "target", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Fill this file.")
def main(out: Path, target: Path | None) -> None:
    """Print the tables of the results, or fill them into a file's places, with the plots in a folder beside it."""
    made = rendered(results.load(out))
    if target is None:
        click.echo("\n\n".join(f"<!-- figures: {name} -->\n{text}<!-- end -->" for name, text in made.items()))
    else:
        target.write_text(filled(target.read_text(encoding="utf-8"), made), encoding="utf-8")
        _copy_plots(out / "plots", target.parent / "plots")


def _copy_plots(made: Path, beside: Path) -> None:
    """Put the plots where the file shows them."""
    beside.mkdir(exist_ok=True)
    for plot in sorted(made.glob("*.svg")):
        shutil.copyfile(plot, beside / plot.name)


def rendered(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what belongs into each place: the machine, and the tables.

    Args:
        found: The results, by part.
    """
    made = {f"machine-{part}": machine_of(each) for part, each in found.items()}
    tables = {name: as_markdown(make(found[part])) for name, (part, make) in TABLES.items() if part in found}
    return {name: f"\n{text}\n\n" for name, text in {**made, **tables}.items()}


def filled(text: str, made: Mapping[str, str]) -> str:
    """Return a text with its places filled.

    Args:
        text: With marks.
        made: By the names of places; a place that is not among them stays as it is.

    Raises:
        ClickException: A place has a name that no table has.
    """
    known = {*TABLES, *(f"machine-{part}" for part in (*results.PARTS, results.SIZES))}
    for place in _PLACE.finditer(text):
        if place["name"] not in known:
            raise click.ClickException(f"there is no table {place['name']}; there are {', '.join(sorted(known))}")
    return _PLACE.sub(lambda place: _fill(place, made), text)


def as_markdown(table: Table) -> str:
    """Return a table as the docs have it."""
    lines: Sequence[tuple[str, ...]] = [table.head, ("---",) * len(table.head), *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine_of(part: Mapping[str, Any]) -> str:
    """Return a sentence: what a part was measured on, and when."""
    machine, settings = part["machine"], part["settings"]
    server = f"PostgreSQL {machine['PostgreSQL']}, pgvector {machine['pgvector']}, Python {machine['Python']}"
    where = f"{machine['CPU']}, {machine['cores']} cores, {machine['memory']}, {machine['kernel']}"
    told = ", ".join(f"{name} {value}" for name, value in settings.items())
    return f"Measured {part['measured']}: {server}, {machine['libraries']}; {where}; {told}."


def _fill(place: re.Match[str], made: Mapping[str, str]) -> str:
    text = made.get(place["name"])
    return place[0] if text is None else f"{place['begin']}{text}{place['end']}"


if __name__ == "__main__":
    main()
