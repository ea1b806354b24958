"""What ``pgcorpus index`` says: tables, the progress of a build, and its warnings."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from pgcorpus.cli.host import as_called
from pgcorpus.cli.output import messages, note, print_json, printable, results
from pgcorpus.services.indexes import Advice, BuildPlan, BuildProgress, Choice, IndexUse, Kept

_MB = 1024 * 1024
_WIDTH = 240  # columns, more than any table needs
_MEMORY = {
    "hnsw": "more memory than a build is given: --memory",
    "ivfflat": "a build takes more memory than the server seems to have",
}


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[BuildProgress], object]]:
    """Yield what draws a build's progress on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
    )
    console = messages()
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("", total=None, left="")

        def tell(progress: BuildProgress) -> None:
            left = "" if progress.seconds_left is None else f"{_time(progress.seconds_left)} left"
            bar.update(
                task, description=progress.phase, completed=progress.done, total=progress.total or None, left=left
            )

        yield tell


class _Noting(logging.Handler):
    """Says what the builder warns of, in the words of the command line."""

    def emit(self, record: logging.LogRecord) -> None:
        said = re.sub(r"maintenance_work_mem='(\w+)'", r"--memory \1", record.getMessage())
        note(f"warning: {as_called(said)}")


@contextmanager
def warnings_noted() -> Iterator[None]:
    """Say on standard error what the builder warns of."""
    logger, handler = logging.getLogger("alembic.pgcorpus"), _Noting(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _say(line: str) -> None:
    results().print(Text(printable(line)))


def _print_table(table: Table) -> None:
    """A line is a row, however narrow the terminal: a name that is cut cannot be copied."""
    console = results()
    console.width = max(console.width, _WIDTH)
    console.print(table)


def _size(size: int) -> str:
    return f"{size / _MB:,.0f} MB" if size >= 10 * _MB else f"{size / _MB:,.1f} MB"


def _time(seconds: float) -> str:
    return f"{seconds:,.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def foreseen(plan: BuildPlan) -> str:
    """Return what a build takes, on one line."""
    return (
        f"{plan.name}: about {plan.rows:,} rows, {_size(plan.estimate.bytes)} on disk, {_size(plan.estimate.memory)} "
        f"of {_size(plan.memory)} memory, {_time(plan.estimate.seconds)} of one core, up to {plan.workers} workers"
    )


def print_plan(plan: BuildPlan, *, as_json: bool) -> None:
    """Print the statements of a build, and what it takes."""
    if as_json:
        print_json(asdict(plan))
        return
    if not plan.statements:
        _say(f"{plan.name} is there already")
        return
    for statement in plan.statements:
        _say(statement if statement.startswith("--") else f"{statement};")
    note(foreseen(plan))
    if not plan.fits:
        needed = plan.estimate.memory // _MB + 1
        note(
            "warning: it will not fit in memory: HNSW takes many times as long then, and IVFFlat is refused; if the "
            f"server has it, give --memory {needed}MB"
        )


def print_kept(kept: Kept, *, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        print_json(asdict(kept))
        return
    size = f", {_size(kept.bytes)}" if kept.bytes else ""
    _say(f"{kept.name}: {kept.outcome} in {_time(kept.seconds)}{size}")


def print_list(found: list[IndexUse]) -> None:
    """Print indexes as a table."""
    if not found:
        _say("there is no vector index: every search is exact")
        return
    table = Table("index", "form", "method", "metric", "for", "rows", "size", "in cache", "scans", "state", box=None)
    for each in found:
        table.add_row(*(Text(printable(cell)) for cell in _cells(each)))
    _print_table(table)


def _cells(each: IndexUse) -> tuple[str, ...]:
    parameters = ", ".join(f"{name}={value}" for name, value in each.options.items())
    state = "valid" if each.valid else "being built" if each.building else "INVALID"
    return (
        each.name,
        each.form or "other",
        f"{each.method} {parameters}",
        each.metric or "-",
        _rows_of(each),
        f"{each.rows:,}",
        _size(each.bytes),
        "-" if each.cached is None else f"{each.cached / max(each.bytes, 1):.0%}",
        f"{each.scans:,}",
        state,
    )


def _rows_of(each: IndexUse) -> str:
    if each.collection_id is not None:
        return each.collection or f"a collection that is gone ({each.collection_id})"
    return each.where or "all"


def print_advice(advice: Advice) -> None:
    """Print what each form takes, and which one to build."""
    table = Table("form", "method", "on disk", "to build: memory", "one core", "", box=None)
    for choice in advice.choices:
        table.add_row(*map(Text, _choice_cells(choice)))
    _print_table(table)
    _say(
        f"{advice.rows:,} rows of {advice.dimensions:,} dimensions: an exact search takes {advice.exact_ms:,.1f} ms of "
        f"a core, HNSW {advice.hnsw_ms:,.1f} ms; below {advice.crossover:,} rows no index is needed"
    )
    _say(f"advice: {_advised(advice)}, since {advice.because}")


def _choice_cells(choice: Choice) -> tuple[str, ...]:
    if choice.estimate is None:
        return choice.form.value, choice.method, "-", "-", "-", "too many dimensions"
    remarks = [
        *([] if choice.fits_cache else ["more than the server's cache"]),
        *([] if choice.fits_build else [_MEMORY[choice.method]]),
    ]
    estimate = choice.estimate
    sizes = _size(estimate.bytes), _size(estimate.memory), _time(estimate.seconds)
    return choice.form.value, choice.method, *sizes, ", ".join(remarks)


def _advised(advice: Advice) -> str:
    if advice.form is None:
        return "no index"
    return as_called(f"`pgcorpus index build --form {advice.form}`")
