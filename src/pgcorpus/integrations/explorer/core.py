"""The Explorer without a framework: a request in, a response out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Engine

from pgcorpus.errors import ConfigError, PgCorpusError
from pgcorpus.integrations.explorer import browsing, overview, searching
from pgcorpus.integrations.explorer.access import Access, PageAccess, checked_access, verdict
from pgcorpus.integrations.explorer.asking import Ask, parsed_ask
from pgcorpus.integrations.explorer.http import PageRequest, PageResponse, status_of
from pgcorpus.integrations.explorer.reading import engine_of
from pgcorpus.integrations.explorer.rendering import STATIC, environment, static_file
from pgcorpus.integrations.explorer.view import Site, View
from pgcorpus.models.collection import DEFAULT_TENANT
from pgcorpus.repositories.search.requests import MAX_TIMEOUT
from pgcorpus.repositories.writing.drafts import check_name
from pgcorpus.services.embedding import Embedder

_PAGES: dict[str, Callable[[View], PageResponse]] = {
    "/": searching.search_page,
    "/like": searching.like_page,
    "/source": browsing.source_page,
    "/document": browsing.document_page,
    "/collections": overview.collections_page,
    "/recall": overview.recall_page,
}


class Explorer:
    """A read-only web page over a corpus; :mod:`~pgcorpus.integrations.explorer.flask` and
    :mod:`~pgcorpus.integrations.explorer.asgi` mount it in an app.

    Args:
        engine: The database, or a function that returns it for each request. Its sessions are read-only.
        embedder: One, or several of which that of a collection's model is used. Without one, and for collections of
            other models, the page searches by words.
        access: The app's own rule: a function that takes the framework's request and returns True or False; under
            ASGI it may be async. What it raises goes to the framework. Or a :class:`TokenAccess`.
        tenant: Whose collections are shown, or a function that says so of the framework's request.
        collections: The names of those shown; None for all of the tenant's.
        title: The page's.
        timeout: Seconds that a statement may take.

    Raises:
        ConfigError: There is no access rule, or another argument cannot be used.
        MissingExtraError: Jinja2 is not installed.
    """

    def __init__(
        self,
        engine: Engine | Callable[[], Engine],
        embedder: Embedder | Sequence[Embedder] | None = None,
        *,
        access: Access | None = None,
        tenant: str | Callable[[Any], str] = DEFAULT_TENANT,
        collections: Collection[str] | None = None,
        title: str = "pgcorpus",
        timeout: float = 10.0,
    ) -> None:
        self._access = checked_access(access)
        if not callable(engine):
            engine_of(engine)
        if not (math.isfinite(timeout) and 0 < timeout <= MAX_TIMEOUT):
            raise ConfigError(f"timeout is a number of seconds, more than 0 and at most {MAX_TIMEOUT:,.0f}")
        names = None if collections is None else _names(collections)
        self._site = Site(engine, _embedders(embedder), tenant, names, title, timeout)
        environment()

    def public(self, page: PageRequest) -> PageResponse | None:
        """Return what anybody may have: the style sheet and the icon, which say nothing."""
        if (content_type := STATIC.get(page.path)) is None:
            return None
        headers = {"Content-Type": content_type, "Cache-Control": "public, max-age=86400"}
        return PageResponse(200, static_file(page.path), headers)

    def admits(self, page: PageRequest) -> Any:
        """Return what the access rule says: to be awaited if it is awaitable, then given to :meth:`answer`."""
        if isinstance(self._access, PageAccess):
            return self._access(page)
        return self._access(page.native)

    def answer(self, page: PageRequest, admitted: Any) -> PageResponse:
        """Return the answer to a request.

        Args:
            page: The request.
            admitted: What the access rule said.

        Raises:
            ConfigError: The rule said neither yes nor no, or ``tenant`` returned no name.
        """
        said = verdict(admitted)
        if isinstance(said, PageResponse):
            return said
        view = View(self._site, page, "", Ask(), {})
        if not said:
            return view.render("forbidden.html", 403)
        view.tenant = self._tenant(page)
        try:
            parameters = page.parameters()
        except ValueError as exc:
            return view.render("error.html", 400, heading="That cannot be asked", message=str(exc), retry=False)
        view.ask = parsed_ask(parameters)
        view.given = dict(reversed(parameters))
        return _made(view)

    def _tenant(self, page: PageRequest) -> str:
        tenant = self._site.tenant
        found: Any = tenant if isinstance(tenant, str) else tenant(page.native)
        if not isinstance(found, str) or not found:
            raise ConfigError(f"tenant must return a tenant's name, not {type(found).__name__}")
        check_name(found, "the tenant's name")
        return found


def _made(view: View) -> PageResponse:
    make = _PAGES.get(view.page.path)
    if make is None:
        return view.render("error.html", 404, heading="There is no such page", message="", retry=False)
    try:
        return make(view)
    except PgCorpusError as exc:
        status = status_of(exc)
        heading = {400: "That cannot be asked", 404: "That is not here"}.get(status, "The corpus cannot be read now")
        return view.render("error.html", status, heading=heading, message=str(exc), retry=True)


def _names(collections: Collection[str]) -> frozenset[str]:
    if isinstance(collections, str):
        raise ConfigError("collections is a list of names")
    return frozenset(collections)


def _embedders(given: Any) -> tuple[Any, ...]:
    """Return the embedders as a tuple.

    Raises:
        ConfigError: One of them is async: a page is made in a thread.
    """
    several = () if given is None else tuple(given) if isinstance(given, Sequence) else (given,)
    for each in several:
        if inspect.iscoroutinefunction(each.embed):
            raise ConfigError(f"{type(each).__name__} is async: give the Explorer a sync embedder")
    return several
