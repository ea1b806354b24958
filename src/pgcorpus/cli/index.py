"""``pgcorpus index``: vector indexes listed, foreseen, built, rebuilt and dropped while an app serves."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import click
from sqlalchemy import Engine, select

from pgcorpus.autogenerate.resources import MAX_MEMORY
from pgcorpus.cli import options
from pgcorpus.cli.index_output import (
    foreseen,
    print_advice,
    print_kept,
    print_list,
    print_plan,
    progress_bar,
    warnings_noted,
)
from pgcorpus.cli.output import note, print_json, printable
from pgcorpus.database import session_factory
from pgcorpus.errors import CollectionNotFoundError, DefinitionError
from pgcorpus.indexing import METHODS, IndexForm
from pgcorpus.models import Collection, Metric
from pgcorpus.services.indexes import (
    MAX_ROWS,
    BuildSettings,
    advise,
    build_index,
    drop_index,
    list_indexes,
    plan_build,
    rebuild_index,
    wanted_index,
)

_SIZE = re.compile(r"([0-9]{1,10}) ?(kB|MB|GB|TB)")
_KILOBYTES = {"kB": 1, "MB": 1024, "GB": 1024**2, "TB": 1024**3}
# PostgreSQL manual, "maintenance_work_mem"; servers before 18 ask a megabyte at least.
_LEAST, _MOST = 1024, MAX_MEMORY // 1024
_Command = TypeVar("_Command", bound=Callable[..., Any])

_FORMS = [form.value for form in IndexForm]
_METRICS = [metric.value for metric in Metric]


def _as_size(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Read an amount of memory as PostgreSQL spells it."""
    if value is None:
        return None
    size = _SIZE.fullmatch(value)
    if size is None:
        raise click.BadParameter("write a number and its unit: 512MB, 2GB")
    if not _LEAST <= int(size[1]) * _KILOBYTES[size[2]] <= _MOST:
        raise click.BadParameter("a build is given 1MB to 2047GB")
    return value


# Under another name than that of commands which work in one collection: an app's default is none here.
_collection = click.option(
    "-c", "--collection", "partial", metavar="NAME", help="Only of this collection: a partial index."
)
_memory = click.option(
    "--memory", callback=_as_size, metavar="SIZE", help="maintenance_work_mem of the build. [default: by its size]"
)
_workers = click.option(
    "--workers", type=click.IntRange(0, 1024), help="Parallel workers of the build. [default: by the server's limits]"
)


def _parameters(m: str, ef_construction: str, lists: str) -> Callable[[_Command], _Command]:
    """Return the options of an index's parameters, with what each is unless it is given."""

    def add(command: _Command) -> _Command:
        command = click.option("--lists", type=int, help=f"IVFFlat: clusters. [default: {lists}]")(command)
        command = click.option(
            "--ef-construction",
            type=int,
            help=f"HNSW: candidates kept while building, 4 to 1,000. [default: {ef_construction}]",
        )(command)
        return click.option("--m", type=int, help=f"HNSW: connections of an element, 2 to 100. [default: {m}]")(command)

    return add


_quiet = click.option("-q", "--quiet", is_flag=True, help="No progress bar.")


@click.group()
def index() -> None:
    """The vector indexes: what they take, and building them while the app serves.

    Searches choose among those there are: whole vectors first, then halfvec, then binary, and compare what they find
    exactly.
    """


@index.command("list")
@click.option("--table", metavar="SCHEMA.TABLE", help="Of another table than the documents'.")
@options.as_json
@options.database_url
def list_(table: str | None, as_json: bool, database_url: str | None) -> None:
    """Show the vector indexes, what they take and how often they are used."""
    with options.database(database_url) as engine:
        found = list_indexes(engine, table)
    if as_json:
        print_json({"indexes": [asdict(each) for each in found]})
    else:
        print_list(found)


@index.command()
@click.option("--form", type=click.Choice(_FORMS), default=_FORMS[0], show_default=True)
@click.option("--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True)
@click.option("--metric", type=click.Choice(_METRICS), help="[default: the collection's, else cosine]")
@_parameters("16", "64", "by the number of rows")
@_collection
@options.tenant
@_memory
@_workers
@click.option("--dry-run", is_flag=True, help="Print the SQL and what it takes, and change nothing.")
@_quiet
@options.as_json
@options.database_url
def build(
    form: str,
    method: str,
    metric: str | None,
    m: int | None,
    ef_construction: int | None,
    lists: int | None,
    partial: str | None,
    tenant: str,
    memory: str | None,
    workers: int | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Build an index; readers and writers go on meanwhile.

    A valid one that is the same is left as it is, what a killed build has left is replaced. Ctrl-C cancels the build
    and leaves nothing.
    """
    given = BuildSettings(memory, workers)
    with options.migrated_database(database_url) as engine, warnings_noted():
        found = None if partial is None else _found(engine, partial, tenant)
        wanted = wanted_index(
            form,
            method,
            metric or (found.distance if found else Metric.COSINE),
            collection_id=found.id if found else None,
            m=m,
            ef_construction=ef_construction,
            lists=lists,
        )
        plan = plan_build(engine, wanted, settings=given)
        if dry_run:
            print_plan(plan, as_json=as_json)
            return
        if plan.statements:
            note(foreseen(plan))
        with progress_bar(quiet=quiet) as tell:
            kept = build_index(engine, wanted, settings=given, tell=tell)
    print_kept(kept, as_json=as_json)


@index.command()
@click.argument("name", required=False)
@_collection
@options.tenant
@_parameters(*["as it is"] * 3)
@_memory
@_workers
@_quiet
@options.as_json
@options.database_url
def rebuild(
    name: str | None,
    partial: str | None,
    tenant: str,
    m: int | None,
    ef_construction: int | None,
    lists: int | None,
    memory: str | None,
    workers: int | None,
    quiet: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Build the index NAME anew beside the one that serves, and swap them.

    Searches have an index at every moment. Interrupt it, kill it: the next run finishes the job.
    """
    if (name is None) == (partial is None):
        raise click.UsageError("name the index, or the --collection that it is for")
    changes = {"m": m, "ef_construction": ef_construction, "lists": lists}
    with options.migrated_database(database_url) as engine, warnings_noted(), progress_bar(quiet=quiet) as tell:
        kept = rebuild_index(
            engine,
            name or _of_collection(engine, str(partial), tenant),
            options={option: value for option, value in changes.items() if value is not None},
            settings=BuildSettings(memory, workers),
            tell=tell,
        )
    print_kept(kept, as_json=as_json)


@index.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also the last one by which collections are searched.")
@options.as_json
@options.database_url
def drop(name: str, yes: bool, force: bool, as_json: bool, database_url: str | None) -> None:
    """Drop the index NAME; readers and writers go on meanwhile."""
    if not yes:
        click.confirm(f"Drop the index {printable(name)}?", abort=True, err=True)
    with options.migrated_database(database_url) as engine, warnings_noted():
        kept = drop_index(engine, name, force=force)
    print_kept(kept, as_json=as_json)


@index.command("advise")
@click.option("--rows", type=click.IntRange(0, MAX_ROWS), help="To plan for. [default: those that are there]")
@click.option("--dimensions", type=click.IntRange(1), help="To plan for. [default: the column's]")
@_collection
@options.tenant
@options.as_json
@options.database_url
def advise_(
    rows: int | None,
    dimensions: int | None,
    partial: str | None,
    tenant: str,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Say which index to build, if any: size, time and memory of each form, before anything is done."""
    with options.database(database_url) as engine:
        collection_id = None if partial is None else _found(engine, partial, tenant).id
        advice = advise(engine, rows=rows, dimensions=dimensions, collection_id=collection_id)
    if as_json:
        print_json(asdict(advice))
    else:
        print_advice(advice)


# What is asked for


def _found(engine: Engine, name: str, tenant: str) -> Collection:
    wanted = select(Collection).where(Collection.tenant_id == tenant, Collection.name == name)
    with session_factory(engine)() as session:
        found = session.scalars(wanted).one_or_none()
    if found is None:
        raise CollectionNotFoundError(f"tenant {tenant!r} has no collection {name!r}")
    return found


def _of_collection(engine: Engine, name: str, tenant: str) -> str:
    collection = _found(engine, name, tenant)
    names = [each.name for each in list_indexes(engine) if each.collection_id == collection.id]
    if len(names) != 1:
        raise DefinitionError(
            f"the collection {name!r} has no index of its own: build one with `pgcorpus index build -c {name}`"
            if not names
            else f"the collection {name!r} has several: name one of {', '.join(names)}"
        )
    return names[0]
