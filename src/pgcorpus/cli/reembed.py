"""``pgcorpus reembed``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from sqlalchemy import Engine

from pgcorpus.cli import options
from pgcorpus.cli.host import current_host
from pgcorpus.cli.output import messages, print_json, printable, results
from pgcorpus.errors import ConfigError
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories.switching.standing import State
from pgcorpus.services.embedding import Embedder
from pgcorpus.services.switching import (
    HOLD,
    SAMPLE,
    Comparison,
    LateWrites,
    ModelSwitch,
    Progress,
    SwitchReport,
    SwitchStatus,
)

Make = Callable[[Embedder | None], ModelSwitch]


@click.command()
@options.collection
@options.tenant
@click.option("--to", metavar="NAME", help="The embedder to switch to: openai, openai:MODEL or local.")
@click.option("--flip/--no-flip", default=True, help="Change places in the end, or only prepare it.")
@click.option(
    "--sample",
    type=click.IntRange(0, 10_000),
    default=SAMPLE,
    show_default=True,
    help="Documents to compare by; 0 for none.",
)
@click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of questions to compare by instead, one a line; they are embedded with both models.",
)
@click.option("--min-recall", type=click.FloatRange(0, 1), help="Do not change places if the new index finds less.")
@click.option(
    "--hold",
    type=click.FloatRange(0, min_open=True),
    default=HOLD,
    show_default=True,
    help="Seconds that writers may wait while they change places.",
)
@click.option("--rollback", "action", flag_value="rollback", help="Give the place back to the retired collection.")
@click.option("--finish", "action", flag_value="finish", help="Delete the retired collection.")
@click.option("--status", "action", flag_value="status", help="Say what is going on.")
@click.option("--abort", "action", flag_value="abort", help="Delete a copy that has not taken the place.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
@options.as_json
@options.database_url
def reembed(
    collection: str,
    tenant: str,
    to: str | None,
    flip: bool,
    sample: int,
    queries: Path | None,
    min_recall: float | None,
    hold: float,
    action: str | None,
    quiet: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Switch a collection's embedding model while an app serves from it.

    The documents are copied under the new model, the two are compared, and change places in one transaction. The old
    one is kept, for --rollback, until --finish. Interrupt it, kill it: the next run goes on.
    """
    if action is None and to is None:
        raise click.UsageError("name the embedder to switch to: --to openai:MODEL")
    with options.migrated_database(database_url) as engine, progress_bar(quiet=quiet) as progress:
        command = _Command(engine, collection, tenant, progress, hold)
        if action is None:
            answer: Any = command.run(str(to), flip, sample, queries, min_recall)
        else:
            answer = command.do(action, to)
    if as_json:
        print_json({"collection": collection, "tenant": tenant, **_as_json(answer)})
    else:
        _print(answer, _Way(collection, tenant))


class _Command:
    """What is asked for, with the embedders that it takes."""

    def __init__(
        self,
        engine: Engine,
        collection: str,
        tenant: str,
        progress: Callable[[Progress], object],
        hold: float,
    ) -> None:
        self._make: Make = lambda embedder: ModelSwitch(
            engine, embedder, collection, tenant, progress=progress, hold=hold
        )

    def run(self, to: str, flip: bool, sample: int, queries: Path | None, min_recall: float | None) -> SwitchReport:
        questions = [] if queries is None else [line.strip() for line in queries.read_text().splitlines()]
        return self._make(options.chosen_embedder(to)).run(
            flip=flip,
            sample=sample,
            queries=[question for question in questions if question],
            old_embedder=options.embedder_of(self._make(None).status().embedding_model),
            min_recall=min_recall,
        )

    def do(self, action: str, to: str | None) -> SwitchReport | SwitchStatus | LateWrites | int:
        status = self._make(None).status()
        if action == "status":
            return status
        switch = self._make(options.embedder_of(status.embedding_model))
        if action == "rollback":
            return switch.rollback(self._old_embedder(status, to))
        return switch.finish() if action == "finish" else switch.abort()

    def _old_embedder(self, status: SwitchStatus, to: str | None) -> Embedder:
        if to is not None:
            return options.chosen_embedder(to)
        shadows = [each for each in status.shadows if each.state is not State.DROPPED]
        # The last one that was retired; or that one, where a rollback was interrupted.
        shadow = max(shadows, key=lambda each: each.state is State.RETIRED, default=None)
        if shadow is None:
            raise click.ClickException(f"nothing stands behind {status.collection!r}: nothing was done")
        if (embedder := options.embedder_of(shadow.embedding_model)) is None:
            raise ConfigError(f"name the embedder of {shadow.embedding_model}: --to openai:MODEL, or set its key")
        return embedder


class _Way:
    """The commands that go on from here."""

    def __init__(self, collection: str, tenant: str) -> None:
        host = current_host()
        self._words = [*(host.command if host else "pgcorpus").split(), "reembed", "-c", collection]
        self._words += [] if tenant == DEFAULT_TENANT else ["--tenant", tenant]

    def __call__(self, *words: str) -> str:
        return shlex.join([*self._words, *words])


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Callable[[Progress], object]]:
    """Yield a callback that draws a switch's progress on standard error.

    Args:
        quiet: Draw nothing.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
    )
    with ProgressBar(*columns, console=messages(), transient=True, disable=quiet) as bar:
        task = bar.add_task("", total=1)
        yield lambda progress: bar.update(
            task, description=progress.stage.value, completed=progress.done, total=max(progress.total, 1)
        )


def _as_json(answer: Any) -> dict[str, Any]:
    if isinstance(answer, int):
        return {"deleted": answer}
    return {"late": asdict(answer)} if isinstance(answer, LateWrites) else asdict(answer)


def _print(answer: Any, way: _Way) -> None:
    if isinstance(answer, SwitchReport):
        _print_report(answer, way)
    elif isinstance(answer, SwitchStatus):
        _print_status(answer, way)
    elif isinstance(answer, LateWrites):
        _say(f"the retired collection is deleted{_late(answer)}")
    else:
        _say(f"the copy and its {answer:,} documents are deleted")


def _print_report(report: SwitchReport, way: _Way) -> None:
    filled, flipped = report.filled, report.flipped
    _say(
        f"{report.collection}: {filled.copied:,} documents embedded with {report.new_model}, {filled.deleted:,} "
        f"deleted, in {filled.passes} passes; {filled.seconds:.1f} s{_late(report.late)}"
    )
    if report.comparison is not None:
        _print_comparison(report, report.comparison)
    if flipped is None:
        _say(f"it is prepared. Change places:  {way('--to', 'NAME')}\nGive it up:  {way('--abort')}")
        return
    _say(
        f"{report.collection} is {report.new_model} now; writers waited for {flipped.locked_seconds:.2f} s, "
        f"attempt {flipped.attempts}{_late(flipped.late)}"
    )
    _say(f"Back again:  {way('--rollback')}\nDelete the old one:  {way('--finish')}")


def _print_comparison(report: SwitchReport, comparison: Comparison) -> None:
    table = Table("model", "recall@10", "p50 ms", "p95 ms", box=None)
    sides = ((report.old_model, comparison.old), (report.new_model, comparison.new))
    for model, side in sides:
        table.add_row(printable(str(model)), f"{side.recall:.3f}", f"{side.p50:.1f}", f"{side.p95:.1f}")
    results().print(table, markup=False)
    _say(f"of the ten answers to {comparison.questions:,} questions, the two share {comparison.overlap:.0%}")


def _print_status(status: SwitchStatus, way: _Way) -> None:
    _say(f"{status.collection}: {status.documents:,} documents of {status.embedding_model}")
    if not status.shadows:
        _say("no switch is under way, and nothing is retired")
    said = {
        State.FILLING: f"is being filled:  {way('--to', 'NAME')}  or  {way('--abort')}",
        State.RETIRED: f"is retired:  {way('--rollback')}  or  {way('--finish')}",
        State.DROPPED: f"is being deleted:  {way('--finish')}",
    }
    for shadow in status.shadows:
        _say(f"{shadow.name}: {shadow.documents:,} of {status.documents:,} documents, {said[shadow.state]}")


def _late(late: LateWrites) -> str:
    said = ""
    if late.total:
        said = (
            f"; {late.inserted:,} late inserts, {late.updated:,} updates and {late.deleted:,} deletes were carried over"
        )
    if late.pending:
        said += f"; {late.pending} older transactions go on: what they still write is for --finish to carry over"
    return said


def _say(text: str) -> None:
    results().print(printable(text), markup=False)
