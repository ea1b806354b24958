"""Documents kept in step with a Django model: what is saved is found, and what is deleted is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from pgcorpus.integrations.django.backfill import backfill
from pgcorpus.integrations.django.found import objects, objects_and_hits
from pgcorpus.integrations.django.kept import DocumentsOf, all_kept, forget, kept_of, remember
from pgcorpus.integrations.django.signals import Listener
from pgcorpus.integrations.django.stepping import StepReport, bring_one_in_step
from pgcorpus.services.chunking import Chunker

__all__ = [
    "DocumentsOf",
    "StepReport",
    "all_kept",
    "backfill",
    "keep_in_step",
    "objects",
    "objects_and_hits",
    "stop_keeping",
    "sync_one",
]

M = TypeVar("M", bound=Model)


def keep_in_step(
    model: type[M],
    *,
    text: Callable[[M], str | None],
    meta: Callable[[M], Mapping[str, Any]] | None = None,
    tenant: str | Callable[[M], Any] | None = None,
    collection: str | Callable[[M], str] | None = None,
    where: Callable[[M], bool] | None = None,
    source: str | None = None,
    queryset: Callable[[], QuerySet[M]] | None = None,
    using: str | None = None,
    format: str = "text",
    chunk: Chunker | None = None,
    run: Callable[[str, str], object] | None = None,
    robust: bool = True,
) -> DocumentsOf:
    """Keep documents in step with a model's objects; call it once for a model, in ``AppConfig.ready()``.

    An object that is saved or deleted is read again once the outermost transaction is committed, and what it is then
    becomes what is stored of it, in one transaction on Django's connection. What sends no signal is seen by
    ``manage.py pgcorpus sync``: ``QuerySet.update()``, ``bulk_create()``, many-to-many changes, SQL, and saves of other
    models that ``text`` reads.

    Args:
        model: The class; its proxies and children are followed too.
        text: Of an object; long ones become several passages, of None or blank ones nothing is stored.
        meta: Metadata of each passage, as :func:`pgcorpus.services.sources.rows` takes it: dates, UUIDs, decimals.
        tenant: Whose documents, or a function of an object; by default that of the settings. An object whose tenant
            changes takes its documents along.
        collection: Its name likewise.
        where: Whether documents are kept of an object.
        source: What stands before the primary key in the name of a source: by default ``shop.article``.
        queryset: Returns where to read the objects, in place of the model's default manager: those it does not have
            have no documents.
        using: The alias of the objects' database, by default the router's for writing; of saves elsewhere nothing is
            kept.
        format: Of the text: ``text``, ``markdown`` or ``html``.
        chunk: Cuts the text in place of the format's chunker.
        run: Called after the commit with two strings in place of the work itself, to hand them to a worker that calls
            :func:`sync_one` with them: ``run=sync_article.delay``.
        robust: Whether a failure after the commit is logged (logger ``pgcorpus.django``) rather than raised.

    Raises:
        ConfigError: It was called for the model before, or cannot be done for it.
    """
    given = DocumentsOf(
        model=model,
        text=text,
        meta=meta,
        tenant=tenant,
        collection=collection,
        where=where,
        source=source or model._meta.label_lower,
        queryset=queryset,
        using=using,
        format=format,
        chunk=chunk,
        run=run,
        robust=robust,
    )
    kept = remember(given)
    Listener(kept).connect()
    return kept


def stop_keeping(kept: DocumentsOf) -> None:
    """Follow the model's objects no more, in a test, say; what is stored stays.

    Args:
        kept: What :func:`keep_in_step` returned.
    """
    forget(kept)
    Listener(kept).disconnect()


def sync_one(label: str, key: str) -> None:
    """Bring one object in step: what a worker does that ``run`` handed it to.

    In whatever order and however often it is called, the last one leaves what the object is then.

    Args:
        label: The model's, such as ``shop.article``.
        key: Its primary key as text.

    Raises:
        ConfigError: No documents are kept of the model.
        PgCorpusError: As :func:`.stepping.bring_in_step`; and whatever the functions raise that are kept of the model.
    """
    bring_one_in_step(kept_of(label), key)
