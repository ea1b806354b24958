"""Django's DATABASES from a URL: without an import of Django, for the settings of a project are read before it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import URL, make_url


def databases_on(url: URL | str, **default: Any) -> dict[str, dict[str, Any]]:
    """Return settings whose aliases ``default`` and ``replica`` are both the database of a URL.

    Args:
        url: Of any driver.
        **default: More entries of the alias ``default``, such as ``CONN_MAX_AGE`` or ``OPTIONS``.
    """
    target = make_url(url)
    # A directory of a Unix socket stands in the query.
    host = target.query.get("host", target.host or "")
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": target.database or "",
        "USER": target.username or "",
        "PASSWORD": target.password or "",
        "HOST": host if isinstance(host, str) else ",".join(host),
        "PORT": str(target.query.get("port", target.port or "")),
    }
    return {"default": database | default, "replica": database | {"TEST": {"MIRROR": "default"}}}
