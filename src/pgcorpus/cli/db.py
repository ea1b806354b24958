"""``pgcorpus db``: the private PostgreSQL that commands use when no database is named."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict

import click

from pgcorpus.cli import options
from pgcorpus.cli.output import print_json, results
from pgcorpus.config import load_settings
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.errors import EmbeddedServerError
from pgcorpus.target import embedded_server

force = click.option("--force", is_flag=True, help="Even while others use it.")


@click.group()
def db() -> None:
    """The private PostgreSQL that is used when no database is named.

    Its data lies in PGCORPUS_DATA_DIR, by default in the user's data directory. It runs while a command needs it;
    'start' keeps it running.
    """


@db.command()
def start() -> None:
    """Start the server and keep it running."""
    results().print(f"running: {_server().keep_running()}", markup=False)


@db.command()
@force
def stop(force: bool) -> None:
    """Stop the server."""
    server = _server()
    if not server.status().running:
        results().print("not running")
        return
    server.shutdown(force=force)
    results().print("stopped")


@db.command()
@options.as_json
def status(as_json: bool) -> None:
    """Say whether the server runs, and where its data is."""
    state = _server().status()
    if as_json:
        print_json(asdict(state))
        return
    for name, value in asdict(state).items():
        results().print(f"{name.replace('_', ' ')}: {value}", markup=False)


@db.command()
def url() -> None:
    """Print the URL of the running server."""
    click.echo(_running().status().url)


@db.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the server; ARGUMENTS are passed on."""
    with _server() as server:
        sys.exit(subprocess.run([*server.psql_command(), *arguments], check=False).returncode)


@db.command()
@force
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(force: bool, yes: bool) -> None:
    """Stop the server and delete all it holds."""
    server = _server()
    if not yes:
        click.confirm(f"Delete all data in {server.data_dir}?", abort=True, err=True)
    server.reset(force=force)
    results().print("deleted")


def _server() -> EmbeddedServer:
    return embedded_server(load_settings())


def _running() -> EmbeddedServer:
    server = _server()
    if not server.status().running:
        raise EmbeddedServerError("the server does not run: start it with `pgcorpus db start`")
    return server
