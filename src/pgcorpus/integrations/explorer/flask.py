"""The Explorer as a Flask blueprint."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pgcorpus.errors import MissingExtraError
from pgcorpus.integrations.explorer.core import Explorer
from pgcorpus.integrations.explorer.http import PageRequest, PageResponse

try:
    from flask import Blueprint, Request, Response, request, url_for
except ImportError as exc:
    raise MissingExtraError("flask", "the Explorer's blueprint") from exc


def blueprint(explorer: Explorer, name: str = "pgcorpus_explorer") -> Blueprint:
    """Return an Explorer as a blueprint: ``app.register_blueprint(blueprint(explorer), url_prefix="/corpus")``.

    The access rule and ``tenant`` get Flask's request.

    Args:
        explorer: The Explorer.
        name: The blueprint's.
    """
    made = Blueprint(name, __name__)

    @made.get("/", defaults={"path": ""})
    @made.get("/<path:path>")
    def show(path: str, **place: Any) -> Response:
        native: Request = request._get_current_object()  # type: ignore[attr-defined]
        asked = _asked(native, path, url_for(str(native.endpoint), path="", **place))
        return _answer(explorer.public(asked) or explorer.answer(asked, explorer.admits(asked)))

    return made


def _asked(native: Request, path: str, root: str) -> PageRequest:
    return PageRequest(
        f"/{path}",
        native.query_string,
        quote(root.rstrip("/"), safe="/%"),
        native.cookies,
        native.is_secure,
        native.headers.get("Sec-Fetch-Site") == "cross-site",
        native,
    )


def _answer(response: PageResponse) -> Response:
    return Response(response.body, response.status, response.all_headers())
