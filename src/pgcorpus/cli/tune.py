"""``pgcorpus tune``."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from pgcorpus.cli import options
from pgcorpus.cli.host import current_host
from pgcorpus.cli.output import messages, note, print_json, printable, results
from pgcorpus.database import create_engine, session_factory
from pgcorpus.errors import ConfigError, DatabaseError
from pgcorpus.indexing import IndexForm
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.calibrating import (
    ALL_MODES,
    DEFAULT_MODES,
    MAX_SAMPLE,
    RATE,
    SAMPLE,
    TARGET,
    TIMEOUT,
    CalibrationReport,
    K,
    Measured,
    Progress,
    Question,
    Wanted,
    calibrate,
    described,
    prepare_report,
    read_questions,
    write_report,
)
from pgcorpus.services.embedding import Embedder

# Characters of a filter that are shown: one of fifty queries' own fills a screen.
_FILTER = 240


def _parse_filters(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> list[dict[str, Any]] | None:
    parsed = (options.parse_object(context, parameter, value) for value in values)
    return [each for each in parsed if each is not None] or None


@click.command()
@options.collection
@options.tenant
@options.embedder
@click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Real questions, one a line: a text, an array of numbers, or {"query": ..., "where": FILTER}.',
)
@click.option(
    "--sample",
    type=click.IntRange(1, MAX_SAMPLE),
    default=SAMPLE,
    show_default=True,
    help="Without them: queries made of so many documents.",
)
@click.option("--target", type=click.FloatRange(0, 1), default=TARGET, show_default=True, help="The recall wanted.")
@click.option("-k", type=click.IntRange(1, 10_000), default=K, show_default=True, help="Hits wanted.")
@click.option(
    "-w",
    "--filter",
    "filters",
    metavar="JSON",
    multiple=True,
    callback=_parse_filters,
    help="Measure with this filter, too; may be repeated. [default: up to three of about 1, 10 and 50 %]",
)
@click.option("--no-filters", is_flag=True, help="Measure without filters only.")
@click.option("--modes", type=click.Choice(["default", "all"]), default="default", help="Other ways of scanning, too.")
@click.option(
    "--form",
    type=click.Choice([form.value for form in IndexForm]),
    help="The index of that form. [default: the one in use]",
)
@click.option(
    "--rate", type=click.FloatRange(0), default=RATE, show_default=True, help="Searches a second; 0 for no limit."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=TIMEOUT,
    show_default=True,
    help="Seconds after which a search is given up.",
)
@click.option("--seed", type=int, default=0, help="Other documents are chosen with another number.")
@click.option("--report", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write plots and a page.")
@click.option(
    "--refresh",
    is_flag=True,
    help="Measure again, with the k, filters and modes stored; name --sample, --seed and --target again.",
)
@click.option("--fresh", is_flag=True, help="Do not go on where an interrupted run stopped.")
@click.option("--no-store", "--dry-run", "no_store", is_flag=True, help="Store nothing.")
@click.option("--store-url", metavar="URL", help="Store in this database: the primary of a standby.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@options.as_json
@options.database_url
def tune(
    collection: str,
    tenant: str,
    embedder: str | None,
    queries: Path | None,
    folder: Path | None,
    no_filters: bool,
    modes: str,
    filters: Sequence[Mapping[str, Any]] | None,
    fresh: bool,
    no_store: bool,
    store_url: str | None,
    quiet: bool,
    as_json: bool,
    database_url: str | None,
    **numbers: Any,
) -> None:
    """Measure which setting reaches a recall in a collection, so that searches can ask for the recall.

    Each setting is compared with exact answers from the database. It only reads, on one connection, so many searches
    a second. Interrupt it, kill it: the next run goes on. What was measured is stored, for search(recall=...).
    """
    if folder is not None:
        prepare_report(folder)
    questions = None if queries is None else read_questions(queries)
    wanted = Wanted(
        filters=[] if no_filters else filters, modes=ALL_MODES if modes == "all" else DEFAULT_MODES, **numbers
    )
    with (
        options.migrated_database(database_url) as engine,
        _store(no_store, store_url) as store_in,
        _progress_bar(quiet=quiet) as progress,
    ):
        report = calibrate(
            engine,
            collection,
            tenant,
            wanted=wanted,
            questions=questions,
            embedder=_embedder(engine, collection, tenant, embedder, questions or ()),
            store_in=store_in,
            fresh=fresh,
            progress=progress,
        )
    _tell(report, folder, as_json=as_json)


def _embedder(
    engine: Engine, collection: str, tenant: str, name: str | None, questions: Sequence[Question]
) -> Embedder | None:
    """Return the embedder of the collection's model, where there are texts.

    Raises:
        ConfigError: Nobody knows it, or its key is missing.
    """
    if all(question.vector is not None for question in questions):
        return None
    if name is not None:
        return options.chosen_embedder(name)
    with session_factory(engine)() as session:
        model = DocumentRepository(session, collection, tenant).collection().embedding_model
    if (found := options.embedder_of(model)) is None:
        named = f"the embedder of {model}" if model else "the embedder of the collection's model"
        raise ConfigError(f"the questions are texts: name {named} (--embedder), or set its key")
    return found


@contextmanager
def _store(no_store: bool, url: str | None) -> Iterator[Engine | bool]:
    """Yield where a calibration is stored: nowhere, in the database that is measured, or in another one."""
    if url is None or no_store:
        yield not no_store
        return
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _progress_bar(*, quiet: bool) -> Iterator[Callable[[Progress], object]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=messages(), transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=1)

        def told(progress: Progress) -> None:
            stage = printable(progress.stage)
            bar.update(task, description=stage[:60], completed=progress.done, total=max(progress.total, 1))

        yield told


def _tell(report: CalibrationReport, folder: Path | None, *, as_json: bool) -> None:
    """Print what was measured, and in the end what could not be done with it.

    Raises:
        DatabaseError: It could not be stored.
    """
    files = [] if folder is None else write_report(report, folder)
    if report.resumed:
        note(f"{report.resumed:,} searches were done by an earlier run, and not again")
    if as_json:
        print_json(report.as_json() | {"files": [str(file) for file in files]})
    else:
        _print(report)
        for file in files:
            _say(f"written: {file}")
    if report.not_stored:
        raise DatabaseError(
            f"it is not stored, for {report.not_stored}. Name the primary, and nothing is measured again: "
            f"`{_command(report)} --store-url URL`; or measure only, with --no-store"
        )


def _command(report: CalibrationReport) -> str:
    host = current_host()
    words = [*(host.command if host else "pgcorpus").split(), "tune", "-c", report.collection]
    return shlex.join([*words, *([] if report.tenant == DEFAULT_TENANT else ["--tenant", report.tenant])])


def _print(report: CalibrationReport) -> None:
    chosen, filtered = report.chosen(), report.chosen(filtered=True) if report.filters else None
    for where in (None, *report.filters):
        _say(f"{'no filter' if where is None else _shown(where)}:")
        of_filter = [measured for measured in report.measured if measured.where == where]
        results().print(_table(report, [_row(each, is_chosen=each in (chosen, filtered)) for each in of_filter]))
    if chosen is not None:
        _say(f"a recall of {report.target:g} takes {described(chosen.setting)}: {_figures(chosen)}")
    if filtered is not None and chosen is not None and filtered.setting != chosen.setting:
        _say(f"with a filter it takes {described(filtered.setting)}: {_figures(filtered)} without one")
    if (default := report.at(report.default)) is not None:
        _say(f"searches that ask for none take {described(report.default)}: {_figures(default)}")
    for each in report.notes:
        _say(f"note: {each}")


def _table(report: CalibrationReport, rows: Sequence[Sequence[str]]) -> Table:
    """All of a report are as wide, one below the other."""
    widest = max(len(described(measured.setting)) for measured in report.measured)
    widths = {"": 1, "setting": widest, f"recall@{report.k}": 0, "at least": 0}
    table = Table(box=None)
    for name, width in (widths | {"p50 ms": 7, "p95 ms": 7, "scanned": 10}).items():
        table.add_column(name, min_width=width, justify="left" if name in ("", "setting") else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _shown(where: Mapping[str, Any]) -> str:
    text = json.dumps(where, ensure_ascii=False)
    return f"filter {text if len(text) <= _FILTER else text[: _FILTER - 1] + '…'}"


def _row(measured: Measured, *, is_chosen: bool) -> list[str]:
    figures = [f"{measured.recall:.3f}", f"{measured.at_least:.3f}", f"{measured.p50_ms:.1f}", f"{measured.p95_ms:.1f}"]
    scanned = f"{'' if measured.indexed or measured.setting.exact else 'all '}{measured.scanned:,.0f}"
    return ["*" if is_chosen else "", described(measured.setting), *figures, scanned]


def _figures(measured: Measured) -> str:
    return f"recall {measured.recall:.3f} (at least {measured.at_least:.3f}), p50 {measured.p50_ms:.1f} ms"


def _say(text: str) -> None:
    results().print(printable(text), markup=False)
