"""What of a model's objects is kept as documents, and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import router
from django.db.models import CompositePrimaryKey, Model, QuerySet

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.integrations.django.conf import host
from pgcorpus.repositories import Draft
from pgcorpus.services.chunking import Chunker, keyed
from pgcorpus.services.sources import FORMATS, Item, documents
from pgcorpus.services.sources.rows import json_value

Of = Callable[[Any], Any]


class Place(NamedTuple):
    """Where documents lie."""

    tenant: str
    collection: str


@dataclass(frozen=True, eq=False, kw_only=True)
class DocumentsOf:
    """What is kept of one model's objects; the attributes are the arguments of :func:`.syncing.keep_in_step`."""

    model: type[Model]
    text: Of
    meta: Of | None = None
    tenant: str | Of | None = None
    collection: str | Of | None = None
    where: Of | None = None
    source: str
    queryset: Callable[[], QuerySet[Any]] | None = None
    using: str | None = None
    format: str = "text"
    chunk: Chunker | None = None
    run: Callable[[str, str], object] | None = None
    robust: bool = True

    def __post_init__(self) -> None:
        if problem := _problem(self):
            raise ConfigError(f"keep_in_step({self.model.__name__}): {problem}")

    @property
    def label(self) -> str:
        """The model's, such as ``shop.article``."""
        return self.model._meta.label_lower

    @property
    def database(self) -> str:
        """The alias of the objects' database: where they are written, for a replica may be late."""
        return self.using or router.db_for_write(self.model)

    def all_objects(self) -> QuerySet[Any]:
        """Return the objects that may be kept."""
        return self.queryset() if self.queryset else self.model._default_manager.all()

    def current(self, keys: list[str]) -> dict[str, Any]:
        """Return the objects of these keys as they are in their database at this moment, by key."""
        pks = [pk for key in keys if (pk := self.pk_of(key)) is not None]
        found = self.all_objects().using(self.database).filter(pk__in=pks)
        return {str(each.pk): each for each in found}

    def pk_of(self, key: str) -> Any:
        """Return the primary key that was written as a text, or None where it cannot have been one."""
        try:
            return self.model._meta.pk.to_python(key)
        except (ValidationError, ValueError):
            return None

    @property
    def prefix(self) -> str:
        """How the names of all its sources begin."""
        return f"{self.source}:"

    def name_of(self, key: str) -> str:
        """Return the name of an object's source, such as ``shop.article:42``."""
        return self.prefix + key

    def key_in(self, source: str | None) -> str | None:
        """Return the object's key in a source's name, or None where that is of something else."""
        return source.removeprefix(self.prefix) if source and source.startswith(self.prefix) else None

    def is_wanted(self, thing: Any) -> bool:
        """Return whether documents are kept of an object."""
        return self.where is None or bool(self.where(thing))

    @property
    def fixed_place(self) -> tuple[str | None, str | None]:
        """Tenant and collection, each None where an object decides."""
        settings = host().settings
        return _fixed(self.tenant, settings.tenant), _fixed(self.collection, settings.collection)

    def place_of(self, thing: Any) -> Place:
        """Return where the documents of an object belong.

        Raises:
            SourceError: It has no tenant or no collection.
        """
        fixed = self.fixed_place
        place = [
            each(thing) if callable(each) else known
            for each, known in zip((self.tenant, self.collection), fixed, strict=True)
        ]
        for name, value in zip(Place._fields, place, strict=True):
            if value is None or value == "":
                raise SourceError(f"{self.name_of(str(thing.pk))} has no {name}: leave such objects out by where=")
        return Place(*map(str, place))

    def drafts_of(self, thing: Any) -> list[Draft]:
        """Return the passages of an object; none where it is not wanted, or has no text.

        Raises:
            SourceError: Its text is no text, or its metadata is nothing that JSON can hold.
        """
        if not self.is_wanted(thing):
            return []
        text = self.text(thing)
        meta = json_value(self.meta(thing)) if self.meta else {}
        item = Item(self.name_of(str(thing.pk)), "" if text is None else text, meta)
        return [
            Draft(key, passage.content, passage.metadata)
            for source in documents([item], format=self.format, chunk=self.chunk)
            for key, passage in keyed(source.name, source.passages())
        ]


def _fixed(given: str | Of | None, usual: str) -> str | None:
    return None if callable(given) else given or usual


def _problem(kept: DocumentsOf) -> str | None:
    meta = kept.model._meta
    if meta.abstract or meta.swapped:
        return "the model is abstract or swapped out: keep the one that has a table"
    if isinstance(meta.pk, CompositePrimaryKey):
        return "its primary key is of several columns, which cannot name a source"
    if ":" in kept.source or not kept.source.strip():
        return f"source={kept.source!r} is empty or has a colon, which stands before the object's key"
    if kept.format not in FORMATS:
        return f"there is no format {kept.format!r}: choose one of {', '.join(FORMATS)}"
    return None


# By label. Filled while Django loads the apps.
_kept: dict[str, DocumentsOf] = {}

# Which apps were there then: a test that overrides INSTALLED_APPS has all of them say again what they said.
_said: dict[str, Any] = {}


def remember(kept: DocumentsOf) -> DocumentsOf:
    """Add what is kept of a model, and return it, or what was said before other apps were loaded.

    Raises:
        ConfigError: It was said before, or another model's sources have the name.
    """
    if kept.label in _kept:
        if _said[kept.label] is not apps.app_configs:
            return _kept[kept.label]
        raise ConfigError(f"keep_in_step({kept.model.__name__}) is called twice: call it once, in AppConfig.ready()")
    if taken := [other.label for other in _kept.values() if other.source == kept.source]:
        raise ConfigError(f"keep_in_step({kept.model.__name__}): {taken[0]} has the source {kept.source!r}")
    _kept[kept.label], _said[kept.label] = kept, apps.app_configs
    return kept


def forget(kept: DocumentsOf) -> None:
    """Take back what was added."""
    _kept.pop(kept.label, None)
    _said.pop(kept.label, None)


def all_kept() -> list[DocumentsOf]:
    """Return what is kept of every model, by label."""
    return [_kept[label] for label in sorted(_kept)]


def kept_of(model: type[Model] | str) -> DocumentsOf:
    """Return what is kept of a model.

    Args:
        model: The class, or its label.

    Raises:
        ConfigError: Nothing is.
    """
    label = model.lower() if isinstance(model, str) else model._meta.label_lower
    if label not in _kept:
        known = ", ".join(_kept) or "no model at all"
        raise ConfigError(f"no documents are kept of {label}, but of {known}: call keep_in_step in AppConfig.ready()")
    return _kept[label]
