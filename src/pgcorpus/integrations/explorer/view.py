"""What a page is made with: the Explorer's settings, the request, and the collections it may show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from pgcorpus.errors import CollectionNotFoundError
from pgcorpus.integrations.explorer.asking import Ask
from pgcorpus.integrations.explorer.http import PageRequest, PageResponse, Parameters, html
from pgcorpus.integrations.explorer.reading import engine_of, reading
from pgcorpus.integrations.explorer.rendering import plain, render
from pgcorpus.models import Collection
from pgcorpus.repositories import DocumentRepository


@dataclass(frozen=True, slots=True)
class Site:
    """What an Explorer was made with; see :class:`~pgcorpus.integrations.explorer.core.Explorer`."""

    engine: Engine | Callable[[], Engine]
    embedders: tuple[Any, ...]
    tenant: str | Callable[[Any], str]
    collections: frozenset[str] | None
    title: str
    seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether a reader may know of the whole database: not where readers have tenants or a choice of ours."""
        return isinstance(self.tenant, str) and self.collections is None


@dataclass(slots=True)
class View:
    """One page being made.

    Attributes:
        site: The Explorer's settings.
        page: The request.
        tenant: Whose collections are shown.
        ask: What was asked for.
        given: The first value of each parameter of the address.
    """

    site: Site
    page: PageRequest
    tenant: str
    ask: Ask
    given: dict[str, str]
    started: float = field(default_factory=time.perf_counter)

    def reading(self) -> AbstractContextManager[Session]:
        """Return a session that can only read."""
        return reading(engine_of(self.site.engine), self.site.seconds)

    def collections(self, session: Session) -> Sequence[Collection]:
        """Return the collections that may be shown, by name."""
        allowed = self.site.collections
        found = DocumentRepository(session, tenant=self.tenant).collections()
        return [each for each in found if allowed is None or each.name in allowed]

    def chosen(self, collections: Sequence[Collection]) -> Collection | None:
        """Return the collection asked for, else ``default``, else the first; None if there are none at all.

        Raises:
            CollectionNotFoundError: There is none of that name, or it may not be shown.
        """
        by_name = {each.name: each for each in collections}
        # A form sends a name as the page shows it.
        by_look = {plain(each.name): each for each in collections}
        name = self.ask.collection
        found = by_name.get(name) or by_look.get(plain(name))
        if name and not found:
            raise CollectionNotFoundError(f"there is no collection {name[:200]!r} here")
        return found or by_name.get("default") or next(iter(collections), None)

    def opened(self, session: Session) -> tuple[Collection, DocumentRepository]:
        """Return the collection asked for and its documents; from here on addresses name it.

        Raises:
            CollectionNotFoundError: There is none.
        """
        if (found := self.chosen(self.collections(session))) is None:
            raise CollectionNotFoundError("there is no collection yet")
        self.ask = replace(self.ask, collection=found.name)
        return found, self.repository(session, found)

    def repository(self, session: Session, collection: Collection, model: str | None = None) -> DocumentRepository:
        """Return a collection's documents.

        Args:
            session: The page's.
            collection: The collection.
            model: The embedding model of the question, where there is one.
        """
        return DocumentRepository(session, collection.name, self.tenant, embedding_model=model)

    def document(self, repository: DocumentRepository, wanted: int | None) -> Any:
        """Return a document by its id, as a mapped object.

        Raises:
            CollectionNotFoundError: There is none.
        """
        if not wanted or (found := repository.get(wanted)) is None:
            raise CollectionNotFoundError("there is no such document here; it may have been deleted")
        return found

    def url(self, path: str, parameters: Parameters = (), **more: Any) -> str:
        """Return the address of a page."""
        return self.page.url(path, [*parameters, *more.items()])

    def milliseconds(self) -> float:
        """Return how long the page has been in the making."""
        return (time.perf_counter() - self.started) * 1000

    def render(self, template: str, status: int = 200, **values: Any) -> PageResponse:
        """Return a page made from a template."""
        return html(status, render(template, view=self, ask=self.ask, url=self.url, **values))
