"""``settings.PGCORPUS``, read when first needed and again when a test overrides it."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.connection import ConnectionDoesNotExist
from django.utils.module_loading import import_string

from pgcorpus.errors import ConfigError
from pgcorpus.integrations.hosting import Host, HostSettings

NAME = "PGCORPUS"
DATABASE = "DATABASE"

# Settings that may name an object by its path, as Django's own do: a settings module can import little.
_BY_PATH = ("EMBEDDER", "CHAT_MODEL")
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")

_lock = threading.Lock()
_hosts: dict[str, Host] = {}


def host(using: str | None = None) -> Host:
    """Return what ``settings.PGCORPUS`` makes of a database: its embedder, chat model and services.

    Args:
        using: An alias of ``settings.DATABASES``; by default the setting ``DATABASE``, else ``default``.

    Raises:
        ConfigError: A setting is unknown or has a value that cannot be used, or the alias is not PostgreSQL's.
    """
    from pgcorpus.integrations.django.pooling import engine

    alias = database_alias(using)
    with _lock:
        if alias not in _hosts:
            _hosts[alias] = Host(host_settings(), engine=lambda: engine(alias))
        return _hosts[alias]


def host_settings() -> HostSettings:
    """Return ``settings.PGCORPUS`` but for the database.

    Raises:
        ConfigError: A setting is unknown or has a value that cannot be used.
    """
    values = _values()
    if "DATABASE_URL" in values:
        raise ConfigError(f'settings.{NAME}: name an alias of settings.DATABASES, "{DATABASE}": "default", not a URL')
    try:
        return HostSettings.of({key: _resolved(key, value) for key, value in values.items()}, known=(DATABASE,))
    except ConfigError as exc:
        raise ConfigError(f"settings.{NAME}: {exc}") from None


def database_alias(using: str | None = None) -> str:
    """Return the alias of a PostgreSQL database.

    Args:
        using: By default the setting ``DATABASE``, else ``default``.

    Raises:
        ConfigError: There is no such alias, or it is another kind of database.
    """
    alias = using or _values().get(DATABASE) or DEFAULT_DB_ALIAS
    try:
        vendor = connections[alias].vendor
    except ConnectionDoesNotExist:
        known = ", ".join(connections)
        raise ConfigError(f"settings.DATABASES has no alias {alias!r}, but {known}") from None
    if vendor != "postgresql":
        raise ConfigError(
            f"settings.DATABASES[{alias!r}] is {vendor}, and pgcorpus needs PostgreSQL: give it the ENGINE "
            f'django.db.backends.postgresql, or name another alias, {NAME} = {{"{DATABASE}": "..."}}'
        )
    return str(alias)


def _values() -> Mapping[str, Any]:
    values = getattr(settings, NAME, {})
    if not isinstance(values, Mapping):
        raise ConfigError(f"settings.{NAME} is a dictionary, not {type(values).__name__}")
    return values


def _resolved(key: str, value: Any) -> Any:
    if key not in _BY_PATH or not isinstance(value, str) or not _PATH.fullmatch(value):
        return value
    try:
        return import_string(value)
    except ImportError as exc:
        raise ConfigError(f"{key}: {exc}") from exc


def _forget(*, setting: str, **_: Any) -> None:
    if setting == NAME:
        with _lock:
            _hosts.clear()


setting_changed.connect(_forget, dispatch_uid=__name__)
