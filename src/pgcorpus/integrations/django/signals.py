"""Saves and deletions heard, and followed once their transaction is committed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connections, transaction
from django.db.models import Model
from django.db.models.signals import class_prepared, post_delete, post_save

from pgcorpus.integrations.django.kept import DocumentsOf
from pgcorpus.integrations.django.stepping import PAGE, bring_in_step

_logger = logging.getLogger("pgcorpus.django")


class _Batch:
    """Objects of one model that were saved or deleted in one transaction, and not followed since.

    Attributes:
        transaction: Its outermost atomic block, or None where each statement is one.
        keys: Theirs, in order.
    """

    def __init__(self, transaction: Any) -> None:
        self.transaction = transaction
        self.keys: dict[str, None] = {}

    def take(self, key: str, most: int) -> list[str]:
        """Return an object and others with it, which are followed now; none where it was followed since its save."""
        if key not in self.keys:
            return []
        taken = [key, *(other for other in self.keys if other != key)][:most]
        for each in taken:
            del self.keys[each]
        return taken


# Of each of Django's connections, by the model's label.
_batches: WeakKeyDictionary[Any, dict[str, _Batch]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Listener:
    """Follows the objects of one model; two for the same are one.

    Attributes:
        kept: What is kept of them.
    """

    kept: DocumentsOf

    def connect(self) -> None:
        """Begin, for the model's proxies, children and parents too: those there are, and those to come."""
        # Not without a sender: Django would then delete no model's rows in one statement any more.
        for model in self._models():
            self._prepared(model)
        class_prepared.connect(self._prepared, weak=False, dispatch_uid=self._uid)

    def disconnect(self) -> None:
        """End."""
        class_prepared.disconnect(dispatch_uid=self._uid)
        for model in self._models():
            post_save.disconnect(sender=model, dispatch_uid=self._uid)
            post_delete.disconnect(sender=model, dispatch_uid=self._uid)

    def _models(self) -> list[type[Model]]:
        """Return the models that there are so far."""
        apps = self.kept.model._meta.apps
        return apps.get_models() if apps.models_ready else [self.kept.model]

    @property
    def _uid(self) -> str:
        return f"pgcorpus:{self.kept.label}"

    def _prepared(self, sender: Any, **_: Any) -> None:
        if self._is_related(sender):
            post_save.connect(self._changed, sender=sender, weak=False, dispatch_uid=self._uid)
            post_delete.connect(self._changed, sender=sender, weak=False, dispatch_uid=self._uid)

    def _is_related(self, model: type[Model]) -> bool:
        """Return whether rows of ours may be written through a class: itself, a proxy, a child, a parent's table."""
        theirs, ours = model._meta.concrete_model, self.kept.model._meta.concrete_model
        return theirs is not None and ours is not None and (issubclass(theirs, ours) or issubclass(ours, theirs))

    def _changed(self, instance: Any, using: str, **_: Any) -> None:
        """Hear of a save or a deletion, also one by `loaddata`: nothing is read of the object before the commit."""
        if using != self.kept.database:
            return
        key = self._key_of(instance)
        with self._told(self.kept.name_of(key)):
            batch = self._batch(connections[using])
            batch.keys[key] = None
            # For every save: the hook of an earlier one may go with its savepoint, or be one that no test runs.
            transaction.on_commit(partial(self._committed, batch, key), using=using)

    def _batch(self, connection: Any) -> _Batch:
        batches = _batches.setdefault(connection, {})
        outermost = connection.atomic_blocks[0] if connection.in_atomic_block and connection.atomic_blocks else None
        known = batches.get(self.kept.label)
        if known is None or outermost is None or known.transaction is not outermost:
            known = batches[self.kept.label] = _Batch(outermost)
        return known

    def _key_of(self, instance: Any) -> str:
        pk = self.kept.model._meta.pk
        return str(getattr(instance, pk.attname, instance.pk))

    def _committed(self, batch: _Batch, key: str) -> None:
        # A queue is told of no object whose save was rolled back with a savepoint; to look at it again costs little.
        if not (keys := batch.take(key, 1 if self.kept.run else PAGE)):
            return
        with self._told(*map(self.kept.name_of, keys)):
            if self.kept.run:
                self.kept.run(self.kept.label, key)
                return
            for name, exc in bring_in_step(self.kept, keys).failures.items():
                with self._told(name):
                    raise exc

    @contextmanager
    def _told(self, *names: str) -> Iterator[None]:
        """Log a failure: no request fails for it, unless that is asked for."""
        try:
            yield
        except Exception as exc:
            if not self.kept.robust:
                raise
            said = "%s is not in step: %s; `manage.py pgcorpus sync %s` mends it"
            _logger.exception(said, ", ".join(names), exc, self.kept.label)
