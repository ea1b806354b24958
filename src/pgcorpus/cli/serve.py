"""``pgcorpus serve``."""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from sqlalchemy import Engine

from pgcorpus.cli import options
from pgcorpus.cli.output import note, print_json
from pgcorpus.database import session_factory
from pgcorpus.errors import ConfigError, MissingExtraError
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.embedding import Embedder

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

DEFAULT_PORT = 8642
LOCAL_NAMES = frozenset({"127.0.0.1", "::1", "localhost"})


def _loopback(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """The link lets in whoever has it, and over a network it would travel unencrypted."""
    with suppress(ValueError):
        if ipaddress.ip_address("127.0.0.1" if value == "localhost" else value).is_loopback:
            return "127.0.0.1" if value == "localhost" else value
    raise click.BadParameter(
        f"{value} is not this machine's own (127.0.0.1 or ::1). From elsewhere, come through ssh -L "
        f"{DEFAULT_PORT}:127.0.0.1:{DEFAULT_PORT}; for others, mount the Explorer in an app with an access rule"
    )


@click.command()
@click.option("-c", "--collection", "collections", multiple=True, help="Show this one only; may be repeated.")
@options.tenant
@options.embedder
@click.option("--host", default="127.0.0.1", show_default=True, callback=_loopback, help="An address of this machine.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True, help="0 for one that is free."
)
@click.option("--open/--no-open", "show", default=False, show_default=True, help="Open it in the browser.")
@click.option("--json", "as_json", is_flag=True, help='Print {"url": ...} in place of the line for a person.')
@options.database_url
def serve(
    collections: tuple[str, ...],
    tenant: str,
    embedder: str | None,
    host: str,
    port: int,
    show: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Show the corpus on a web page of this machine, until Ctrl-C.

    The page is read-only, and the link with its random token lets in whoever has it: keep it to yourself.
    """
    explorer, asgi, access_rule = _parts()
    with _listening(host, port) as listener, options.migrated_database(database_url) as engine:
        _require(engine, tenant, collections)
        access = access_rule()
        page = explorer(
            engine, _embedders(engine, tenant, embedder), access=access, tenant=tenant, collections=collections or None
        )
        url = access.url(_address(host, listener.getsockname()[1]))
        with _announced(url, as_json=as_json, show=show), suppress(KeyboardInterrupt):
            _run(_only_local(asgi(page), host), listener)


def _parts() -> tuple[Any, Any, Any]:
    """Return what the extra brings, before anything is opened."""
    try:
        import uvicorn  # noqa: F401

        from pgcorpus.integrations.explorer import Explorer, TokenAccess
        from pgcorpus.integrations.explorer.asgi import asgi
        from pgcorpus.integrations.explorer.rendering import environment

        environment()
    except (ImportError, MissingExtraError) as exc:
        raise MissingExtraError("explorer", "`pgcorpus serve`") from exc
    return Explorer, asgi, TokenAccess


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port first: that it is taken is told before a database is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as exc:
        raise ConfigError(
            f"port {port} of {host} cannot be had ({os.strerror(exc.errno or 0)}): choose another with --port, or a "
            "free one with --port 0"
        ) from exc
    with listener:
        yield listener


def _require(engine: Engine, tenant: str, collections: tuple[str, ...]) -> None:
    """Tell a collection that is misspelt, rather than show a page without it."""
    with session_factory(engine)() as session:
        for name in collections:
            DocumentRepository(session, name, tenant).collection()


def _embedders(engine: Engine, tenant: str, name: str | None) -> list[Embedder]:
    """Return the embedder that is named; else those that are to be had of what the collections were made with."""
    if name:
        return [options.chosen_embedder(name)]
    with session_factory(engine)() as session:
        models = {each.embedding_model for each in DocumentRepository(session, tenant=tenant).collections()}
    found = {model: options.embedder_of(model) for model in sorted(filter(None, models))}
    if missing := [model for model, embedder in found.items() if embedder is None]:
        note(f"no embedder for {', '.join(missing)}: those collections are searched by words")
    return [embedder for embedder in found.values() if embedder]


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _announced(url: str, *, as_json: bool, show: bool) -> Iterator[None]:
    """Say where the page is: the only time that the token is written."""
    if as_json:
        print_json({"url": url})
    else:
        click.echo(f"The Explorer is at {url}")
        note("Whoever has the link can read the corpus. Ctrl-C ends it.")
    with tempfile.TemporaryDirectory(prefix="pgcorpus-") as folder:
        if show and not webbrowser.open(_leading_to(url, Path(folder)).as_uri()):
            note("no browser was found: open the link")
        yield


def _leading_to(url: str, folder: Path) -> Path:
    """Write a page that leads on: every account of the machine can read a browser's arguments, but not this file."""
    page = folder / "explorer.html"
    page.touch(mode=0o600)
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(url)}">')
    return page


def _only_local(app: ASGIApp, host: str) -> ASGIApp:
    """Refuse other names: a web page elsewhere could point its own at this machine, and read the answers."""
    from starlette.datastructures import Headers
    from starlette.responses import PlainTextResponse

    refusal = PlainTextResponse("This page is served on this machine, as 127.0.0.1 or localhost.\n", 421)

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        local = _name_in(Headers(scope=scope).get("host", "")) in LOCAL_NAMES | {host}
        await (app if local else refusal)(scope, receive, send)

    return checked


def _name_in(header: str) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _run(app: ASGIApp, listener: socket.socket) -> None:
    import uvicorn

    # The access log would have the token. No proxy stands before it that could say who asks.
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listener])
