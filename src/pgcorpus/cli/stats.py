"""``pgcorpus stats``: what there is in the database, how large it is, and how it is used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from pgcorpus.cli import options
from pgcorpus.cli.host import as_called
from pgcorpus.cli.output import note, print_json, printable, results, snippet
from pgcorpus.services.statistics import (
    CacheFigures,
    CalibrationFigures,
    CollectionFigures,
    IndexFigures,
    ServerFigures,
    StatementFigures,
    Statistics,
    TableFigures,
    read_statistics,
)

_STATEMENT_CHARACTERS = 100
_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_UNKNOWN = "-"

# A name or a figure is never broken into two lines: a narrow terminal wraps the row, and a pipe has no width.
_WIDEST = 1_000


@click.command()
@click.option("-c", "--collection", metavar="NAME", help="Only collections of this name.")
@click.option("--tenant", metavar="NAME", help="Only this tenant's; all by default.")
@click.option("--exact", is_flag=True, help="Count large collections, too, rather than estimate them: reads them all.")
@options.as_json
@options.database_url
def stats(collection: str | None, tenant: str | None, exact: bool, as_json: bool, database_url: str | None) -> None:
    """Show what there is in the database, how large it is, and how it is used; nothing is changed."""
    with options.migrated_database(database_url) as engine:
        found = read_statistics(engine, collection, tenant, exact=exact)
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)


def _print(found: Statistics) -> None:
    console = results()
    console.width = _WIDEST
    for title, lines in _sections(found):
        table = Table(box=None, show_header=False, pad_edge=False)
        for line in lines:
            table.add_row(*(Text(printable(cell)) for cell in line))
        console.print(Text(title, style="bold"))
        console.print(table)
        console.print()
    if any(each.estimated for each in found.collections) or any(each.estimated for each in found.cache):
        note("~ is an estimate: --exact counts")
    if found.statements is None:
        note("pg_stat_statements is not there, or not to be read: no statements")


def _sections(found: Statistics) -> Iterator[tuple[str, Iterable[Sequence[str]]]]:
    yield "collections", _collections(found.collections)
    yield "vector indexes", _rows(_INDEXES, map(_index, found.indexes), "none: searches compare with every row")
    yield "tables", _rows(_TABLES, map(_table, found.tables))
    if found.cache:
        yield "embedding cache", _rows(("model", "embeddings", "size"), map(_cached, found.cache))
    if found.statements:
        yield "statements on the documents", _rows(_STATEMENTS, map(_statement, found.statements))
    yield "server", _server(found.server)


def _collections(found: Sequence[CollectionFigures]) -> Iterator[Sequence[str]]:
    empty = as_called("none: make one with `pgcorpus ingest`")
    return _rows(_COLLECTIONS, map(_collection, found), empty)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str = "none") -> Iterator[Sequence[str]]:
    """Yield a heading with its rows, or what is said of none."""
    found = list(rows)
    yield head if found else (empty,)
    yield from found


_COLLECTIONS = ("tenant", "name", "documents", "embedded", "sources", "text", "last change", "recall measured")
_INDEXES = ("name", "kind", "metric", "size", "rows", "scans", "from memory", "")
_TABLES = ("name", "rows", "dead", "heap", "toast", "indexes", "from memory", "vacuumed", "analyzed")
_STATEMENTS = ("calls", "mean ms", "max ms", "total s", "statement")


def _collection(each: CollectionFigures) -> Sequence[str]:
    about = "~" if each.estimated else ""
    return (
        each.tenant,
        each.name,
        about + _number(each.documents),
        about + _number(each.embedded),
        _number(each.sources),
        about + _size(each.content_bytes),
        _moment(each.changed_at),
        _calibration(each.calibration),
    )


def _calibration(measured: CalibrationFigures | None) -> str:
    if measured is None:
        return "never"
    recall = "" if measured.recall is None else f", {measured.recall:.3f} at {measured.k} by default"
    stale = f", stale: {measured.stale}" if measured.stale else ""
    return f"{measured.measured_at:%Y-%m-%d}{recall}{stale}"


def _index(each: IndexFigures) -> Sequence[str]:
    of_one = "" if each.collection_id is None else f"of collection {each.collection_id}"
    kind = f"{each.method} {each.form}"
    size, share = _size(each.bytes), _share(each.hit_ratio)
    remark = of_one if each.valid else "invalid"
    return each.name, kind, each.metric or _UNKNOWN, size, _number(each.rows), _number(each.scans), share, remark


def _table(each: TableFigures) -> Sequence[str]:
    sizes = map(_size, (each.heap_bytes, each.toast_bytes, each.index_bytes))
    moments = map(_moment, (each.vacuumed_at, each.analyzed_at))
    return each.name, _number(each.rows), _number(each.dead_rows), *sizes, _share(each.hit_ratio), *moments


def _cached(each: CacheFigures) -> Sequence[str]:
    about = "~" if each.estimated else ""
    return each.model, about + _number(each.entries), about + _size(each.bytes)


def _statement(each: StatementFigures) -> Sequence[str]:
    shown = snippet(each.text, _STATEMENT_CHARACTERS)
    return _number(each.calls), f"{each.mean_ms:,.1f}", f"{each.max_ms:,.1f}", f"{each.total_ms / 1000:,.1f}", shown


def _server(server: ServerFigures) -> Iterator[Sequence[str]]:
    yield "PostgreSQL", f"{server.version}{', a standby' if server.standby else ''}"
    yield "pgvector", server.pgvector or "missing"
    yield "counted since", _moment(server.counted_since)
    yield from server.settings.items()


def _number(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _size(size: int | None) -> str:
    if size is None:
        return _UNKNOWN
    power = 0
    scaled = float(size)
    while scaled >= 1000 and power < len(_UNITS) - 1:
        scaled, power = scaled / 1000, power + 1
    return f"{scaled:,.0f} {_UNITS[power]}" if power == 0 or scaled >= 100 else f"{scaled:,.1f} {_UNITS[power]}"


def _share(share: Any) -> str:
    return _UNKNOWN if share is None else f"{share:.1%}"


def _moment(moment: datetime | None) -> str:
    return _UNKNOWN if moment is None else f"{moment:%Y-%m-%d %H:%M}"
