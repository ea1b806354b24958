"""The commands behind ``manage.py pgcorpus``: those of ``pgcorpus``, and ``sync``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from pgcorpus.cli import options
from pgcorpus.cli.hosted import HostedCommands
from pgcorpus.cli.output import fail, messages, note, print_json, results
from pgcorpus.errors import SourceError
from pgcorpus.integrations.django.backfill import backfill
from pgcorpus.integrations.django.conf import host
from pgcorpus.integrations.django.kept import DocumentsOf, all_kept, kept_of
from pgcorpus.integrations.django.stepping import StepReport

# Objects named one by one; a wrong function fails for all of them.
_MOST_TOLD = 10


def commands(command: str) -> HostedCommands:
    """Return the commands on the project's database and models.

    Args:
        command: How they are called, such as ``manage.py pgcorpus``.
    """
    group = HostedCommands(lambda _context: host().commands(command))
    # Those inside take it over. Django's own commands know both.
    group.context_settings["help_option_names"] = ["-h", "--help"]
    group.add_command(sync)
    return group


@click.command()
@click.argument("models", nargs=-1, metavar="[APP.MODEL]...")
@click.option("--all", "everything", is_flag=True, help="All models that are kept in step.")
@click.option(
    "--prune/--no-prune",
    default=None,
    help="Delete documents of objects that are gone; by default unless all objects are.",
)
@click.option("--dry-run", is_flag=True, help="Read and compare only: say what would be done.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@options.as_json
def sync(
    models: tuple[str, ...], everything: bool, prune: bool | None, dry_run: bool, quiet: bool, as_json: bool
) -> None:
    """Bring the documents of models in step with their objects.

    Only what changed is embedded and written. Interrupt it, kill it: the next run goes on. An object that cannot be
    read does not stop the others; the exit code tells.
    """
    chosen = _chosen(models, everything=everything)
    reports: dict[str, StepReport] = {}
    seconds: dict[str, float] = {}
    with options.migrated_database(None):
        for kept in chosen:
            started = time.perf_counter()
            with _progress_bar(kept, quiet=quiet) as progress:
                report = reports[kept.label] = backfill(kept, prune=prune, dry_run=dry_run, progress=progress)
            seconds[kept.label] = time.perf_counter() - started
            if not as_json:
                _print(kept.label, report, seconds[kept.label], dry_run=dry_run)
            if prune is None and not report.objects:
                note(f"{kept.label}: there are no objects; documents of earlier ones stay, unless --prune is given")
    if as_json:
        values = {label: _as_json(report) | {"seconds": seconds[label]} for label, report in reports.items()}
        print_json({"dry_run": dry_run, "models": values})
    _tell_failures({name: exc for report in reports.values() for name, exc in report.failures.items()})


def _chosen(models: Sequence[str], *, everything: bool) -> list[DocumentsOf]:
    if models and everything:
        raise click.UsageError("name models, or --all, not both")
    if models:
        return [kept_of(label) for label in dict.fromkeys(models)]
    if everything:
        return all_kept()
    known = ", ".join(kept.label for kept in all_kept()) or "none yet: call keep_in_step in AppConfig.ready()"
    raise click.UsageError(f"name models, or --all. Models that are kept in step: {known}")


@contextmanager
def _progress_bar(kept: DocumentsOf, *, quiet: bool) -> Iterator[Callable[[int], object]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    total = kept.all_objects().using(kept.database).count()
    with ProgressBar(*columns, console=messages(), transient=True, disable=quiet) as bar:
        task = bar.add_task(kept.label, total=total)
        yield lambda objects: bar.advance(task, objects)


def _print(label: str, report: StepReport, seconds: float, *, dry_run: bool) -> None:
    results().print(f"{label}: {_summary(report, dry_run=dry_run)}; {seconds:.1f} s", markup=False)


def _summary(report: StepReport, *, dry_run: bool) -> str:
    changes = report.changes
    summary = (
        f"{report.objects:,} objects; {changes.added:,} passages added, {changes.updated:,} updated, "
        f"{changes.unchanged:,} unchanged, {changes.deleted:,} deleted; {report.embedded:,} embedded"
    )
    return f"dry run, nothing was done: {summary}" if dry_run else summary


def _as_json(report: StepReport) -> dict[str, Any]:
    return asdict(replace(report, failures={})) | {
        "failures": {name: str(exc) for name, exc in report.failures.items()}
    }


def _tell_failures(failures: Mapping[str, Exception]) -> None:
    for name, exc in list(failures.items())[:_MOST_TOLD]:
        fail(f"{name}: {exc}")
    if failures:
        raise SourceError(f"{len(failures):,} objects could not be read, and are not in step; the others are")
