"""An Alembic plugin that understands pgvector: operations, and what ``alembic revision --autogenerate`` finds.

Alembic 1.18 and later loads it by itself, by the entry point ``alembic.plugins``. Before, ``env.py`` has one line::

    from pgcorpus import autogenerate; autogenerate.setup()

Nothing is imported here that a program pays for which only imports Alembic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.runtime.plugins import Plugin

__all__ = ["setup"]


def setup(plugin: Plugin | None = None) -> None:
    """Take part in autogenerate.

    Args:
        plugin: Alembic's, when it is Alembic that calls. Without it, and where Alembic has no plugins (before
            1.18), the comparisons are put among its own; a second call does nothing.
    """
    from pgcorpus.autogenerate import taking_part

    taking_part.register(plugin)


# After `setup`: importing Alembic, which this does, may call it.
from pgcorpus.autogenerate import operations as operations  # noqa: E402 -- what `op` has
