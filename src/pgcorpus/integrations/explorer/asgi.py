"""The Explorer as an ASGI app, for Starlette, FastAPI and any other."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING
from urllib.parse import quote

from pgcorpus.errors import MissingExtraError
from pgcorpus.integrations.explorer.core import Explorer
from pgcorpus.integrations.explorer.http import PageRequest, PageResponse

try:
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route, Router
except ImportError as exc:
    raise MissingExtraError("explorer", "the Explorer's ASGI app") from exc

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def asgi(explorer: Explorer) -> ASGIApp:
    """Return an Explorer as an app of its own or to mount: ``app.mount("/corpus", asgi(explorer))``.

    The access rule and ``tenant`` get Starlette's request. What the rule raises goes to the handlers of the app that
    this one is mounted in. Pages are made in a thread.

    Args:
        explorer: The Explorer.
    """

    async def show(native: Request) -> Response:
        asked = _asked(native)
        if (file := explorer.public(asked)) is not None:
            return _answer(file)
        # In a thread: a rule that asks a database must not hold up the others.
        admitted = await run_in_threadpool(explorer.admits, asked)
        if inspect.isawaitable(admitted):
            admitted = await admitted
        return _answer(await run_in_threadpool(explorer.answer, asked, admitted))

    # No Starlette: that would answer what the rule raises itself.
    return Router([Route("/{path:path}", show, methods=["GET"])])


def _asked(native: Request) -> PageRequest:
    return PageRequest(
        f"/{native.path_params['path']}",
        native.scope["query_string"],
        quote(native.scope.get("root_path", "")).rstrip("/"),
        native.cookies,
        native.url.scheme == "https",
        native.headers.get("sec-fetch-site") == "cross-site",
        native,
    )


def _answer(response: PageResponse) -> Response:
    return Response(response.body, response.status, response.all_headers())
