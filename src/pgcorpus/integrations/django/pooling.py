"""A pool of our own on a database of ``settings.DATABASES``: one for each process and alias."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.signals import connection_created
from psycopg import IsolationLevel
from sqlalchemy import Engine, event
from sqlalchemy.engine import URL

from pgcorpus.database import create_engine
from pgcorpus.integrations.django.conf import database_alias, host

# What Django hands to its own connections and ours have otherwise: cursors, types, and how text is encoded.
_DJANGOS_OWN = ("context", "cursor_factory", "client_encoding")


class _Plan(NamedTuple):
    """What decides an engine: a test database, or a setting overridden, makes another."""

    parameters: dict[str, Any]
    options: dict[str, Any]
    role: str | None


_lock = threading.Lock()
_made: dict[str, tuple[_Plan, Engine]] = {}


def engine(using: str | None = None) -> Engine:
    """Return the engine of a database, with connections beside Django's and transactions of its own.

    It follows Django to a test database. Where ``DISABLE_SERVER_SIDE_CURSORS`` says that a pooler in transaction mode
    stands between, it is made for one. A forked process begins with connections of its own.

    Args:
        using: An alias of ``settings.DATABASES``; by default that of ``settings.PGCORPUS``.

    Raises:
        ConfigError: A setting is wrong, or the alias is not PostgreSQL's.
    """
    alias = database_alias(using)
    plan = _plan(alias)
    with _lock:
        before = _made.get(alias)
        if before and before[0] == plan:
            return before[1]
        if before:
            before[1].dispose()
        made = _make(plan)
        _made[alias] = (plan, made)
        return made


def dispose() -> None:
    """Close the connections of all engines that nobody has in use; they connect again when asked to."""
    with _lock:
        for _, made in _made.values():
            made.dispose()


def _plan(alias: str) -> _Plan:
    wrapper: Any = connections[alias]
    django_options = wrapper.settings_dict["OPTIONS"]
    parameters = {name: value for name, value in wrapper.get_connection_params().items() if name not in _DJANGOS_OWN}
    options: dict[str, Any] = {"pgbouncer": bool(wrapper.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"))}
    if "prepare_threshold" not in django_options:
        parameters.pop("prepare_threshold", None)  # Django's default is for poolers; ours asks for one above
    if (level := django_options.get("isolation_level")) is not None:
        options["isolation_level"] = IsolationLevel(level).name.replace("_", " ")
    return _Plan(parameters, options | host(alias).settings.engine_options, django_options.get("assume_role"))


def _make(plan: _Plan) -> Engine:
    parameters = dict(plan.parameters)
    url = _url(parameters)
    connect_args = parameters | plan.options.get("connect_args", {})
    made = create_engine(url, **plan.options | {"connect_args": connect_args})
    if plan.role:
        event.listen(made, "connect", _assuming(plan.role))
    return made


def _url(parameters: dict[str, Any]) -> URL:
    """Take what a URL can say out of the parameters, so that logs and errors name the database."""
    host = parameters.get("host", "")
    # The directory of a Unix socket, or several hosts, are for libpq to read.
    place: dict[str, Any] = {}
    if host and not set("/,") & set(host):
        place = {"host": parameters.pop("host"), "port": int(parameters.pop("port", 0)) or None}
    names = {"username": "user", "password": "password", "database": "dbname"}
    return URL.create("postgresql+psycopg", **place, **{ours: parameters.pop(its, None) for ours, its in names.items()})


def _assuming(role: str) -> Callable[[Any, Any], None]:
    def on_connect(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('role', %s, false)", (role,))
        connection.commit()

    return on_connect


def _make_way(*, connection: Any, **_: Any) -> None:
    """Let go of a test database: Django connects to none when it is to drop or copy one, which must not be in use."""
    if connection.alias == NO_DB_ALIAS:
        dispose()


connection_created.connect(_make_way, dispatch_uid=__name__)
