"""A Django project in the process of the tests: set up once, and pointed at a database for the time of a test.

Django is configured once a process and for good, so nothing here runs at import: a test without Django sees none of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.engine import URL

from tests.support.django_databases import databases_on

T = TypeVar("T")

SETTINGS = "tests.hosts.django_project.settings"
PROJECT = Path(__file__).parents[1] / "hosts" / "django_project"


def setup() -> None:
    """Configure Django for this process, the first time."""
    import django
    from django.apps import apps
    from django.conf import settings

    if settings.configured:
        assert apps.ready
        return
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    try:
        django.setup()
    finally:
        # pytest-django, where it is installed, would take the project for the one under test.
        del os.environ["DJANGO_SETTINGS_MODULE"]


@contextmanager
def django_on(url: URL, databases: dict[str, dict[str, Any]] | None = None, **default: Any) -> Iterator[None]:
    """Point the project at a database for the time, with no connection open before or after.

    Args:
        url: What the aliases ``default`` and ``replica`` are.
        databases: All of DATABASES instead.
        **default: More entries of the alias ``default``, such as ``CONN_MAX_AGE`` or ``OPTIONS``.
    """
    setup()
    from django.conf import settings

    before = settings.DATABASES
    _switch(databases if databases is not None else databases_on(url, **default))
    try:
        yield
    finally:
        _switch(before)


class ShopError(Exception):
    """An error of the app's own."""


@contextmanager
def failing(block: AbstractContextManager[T]) -> Iterator[T]:
    """Leave a block by an error of the app's own, which has to come through."""
    with pytest.raises(ShopError), block as given:  # noqa: PT012
        yield given
        raise ShopError


def migrate(url: URL) -> None:
    """Give a database the tables of Django and of the shop, as `manage.py migrate` does."""
    with django_on(url):
        from django.core.management import call_command

        call_command("migrate", verbosity=0)


def manage(url: URL, *arguments: str, check: bool = True, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the project's ``manage.py`` in a process of its own.

    Args:
        url: Its database.
        *arguments: The command.
        check: Whether a failing command fails the test.
        **environ: More variables.
    """
    settings = {"SHOP_DATABASE_URL": url.render_as_string(hide_password=False), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROJECT / "manage.py"), *arguments],
        env=os.environ | settings | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def _switch(databases: dict[str, dict[str, Any]]) -> None:
    """Replace DATABASES and forget this thread's connections, which keep the settings they were made with."""
    from django.conf import settings
    from django.db import connections

    for alias in list(connections):
        connections[alias].close()
        _close_pool(connections[alias])
        del connections[alias]
    settings.DATABASES = databases
    connections._settings = None
    connections.__dict__.pop("settings", None)
    connections.__dict__.pop("databases", None)


def _close_pool(connection: Any) -> None:
    if getattr(connection, "pool", None):
        connection.close_pool()
