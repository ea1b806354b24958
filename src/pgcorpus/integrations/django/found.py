"""From hits back to the objects they are of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from pgcorpus.integrations.django.kept import kept_of

M = TypeVar("M", bound=Model)


def objects(model: type[M], hits: Iterable[Any], queryset: QuerySet[M] | None = None) -> list[M]:
    """Return the objects that hits are of, the best first; see :func:`objects_and_hits`."""
    return [thing for thing, _ in objects_and_hits(model, hits, queryset)]


def objects_and_hits(model: type[M], hits: Iterable[Any], queryset: QuerySet[M] | None = None) -> list[tuple[M, Any]]:
    """Return the objects that hits are of, each with its best hit, the best first: in one query.

    An object that is gone, or that its ``where`` no longer admits, is left out, even if its documents are still there.

    Args:
        model: One that is kept in step.
        hits: Of a retriever or a repository, or citations of an answer; those of other sources are left out.
        queryset: Where to look, such as ``Article.objects.select_related("author")``, or those a user may see.

    Raises:
        ConfigError: No documents are kept of the model.
    """
    kept = kept_of(model)
    best: dict[Any, Any] = {}
    for hit in hits:
        key = kept.key_in(hit.document.source)
        if key is not None and (pk := kept.pk_of(key)) is not None:
            best.setdefault(pk, hit)
    found = (kept.all_objects() if queryset is None else queryset).in_bulk(list(best))
    return [(found[pk], hit) for pk, hit in best.items() if pk in found and kept.is_wanted(found[pk])]
