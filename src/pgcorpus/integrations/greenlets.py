"""Drivers and gevent: one that waits in C stops every greenlet of the process at each query."""

from __future__ import annotations

import sys

from psycopg import waiting
from psycopg2 import extensions
from sqlalchemy import Engine

from pgcorpus.errors import ConfigError


def refuse_blocking(engine: Engine) -> None:
    """Pass unless gevent has patched this process and the engine's driver would block all of its greenlets.

    psycopg 3 looks for gevent when it is imported, and not again (its documentation, "Support for gevent"); psycopg2
    waits in C unless it has a wait callback (its documentation, "Support for coroutine libraries").

    Args:
        engine: Of any driver.

    Raises:
        ConfigError: It would.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("select"):
        return
    if engine.driver == "psycopg2" and extensions.get_wait_callback() is None:
        raise ConfigError(
            "gevent has patched this process, and psycopg2 blocks all of its greenlets: use psycopg 3, "
            "postgresql+psycopg://..."
        )
    if engine.driver == "psycopg" and waiting.wait is getattr(waiting, "wait_c", None):
        raise ConfigError(
            "psycopg was imported before gevent patched this process, and blocks all of its greenlets: load the app "
            "in the workers (no --preload), or patch first, with gevent.monkey.patch_all() at the top of "
            "gunicorn.conf.py"
        )
