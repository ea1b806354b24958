"""pgcorpus in a Django project: put ``"pgcorpus.integrations.django"`` into INSTALLED_APPS.

What it offers is loaded when first used, for Django imports this package before its settings are complete.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pgcorpus.errors import MissingExtraError

try:
    import django as _django  # noqa: F401
except ImportError as exc:
    raise MissingExtraError("django", "pgcorpus.integrations.django") from exc

if TYPE_CHECKING:
    from pgcorpus.integrations.django.conf import host
    from pgcorpus.integrations.django.pooling import engine
    from pgcorpus.integrations.django.sessions import (
        answerer,
        current_session,
        ingestor,
        pooled_session,
        repository,
        retriever,
        session,
    )

__all__ = [
    "answerer",
    "current_session",
    "engine",
    "host",
    "ingestor",
    "pooled_session",
    "repository",
    "retriever",
    "session",
]

_MODULES = {"engine": "pooling", "host": "conf"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'sessions')}"), name)
