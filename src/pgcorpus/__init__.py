"""Documents and their embeddings in PostgreSQL: models, migrations, repositories and services on pgvector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

__all__ = ["register", "register_async"]

# Imports stand inside: who imports the package for its errors or settings loads no driver.


def register(connection: Any) -> None:
    """Teach a connection of psycopg or psycopg2 the types of pgvector, in whatever schema the extension lives.

    It then takes numpy arrays, ``pgvector.Vector``, ``HalfVector``, ``SparseVector`` and ``Bit``, in binary on
    psycopg 3, and returns float32 arrays for ``vector``. Its transaction is as it was before: made for
    ``ConnectionPool(configure=pgcorpus.register)``. Engines of :mod:`pgcorpus.database` need it not.

    Args:
        connection: A ``psycopg.Connection`` or a connection of psycopg2.

    Raises:
        ExtensionError: There is no pgvector in its database.
        DatabaseError: It is no such connection, is async or closed, or its transaction has failed.
    """
    from pgcorpus import adapters

    adapters.register(connection)


async def register_async(connection: psycopg.AsyncConnection[Any]) -> None:
    """Teach an async connection of psycopg the types of pgvector; see :func:`register`.

    Args:
        connection: For ``AsyncConnectionPool(configure=pgcorpus.register_async)``, or your own.

    Raises:
        ExtensionError: There is no pgvector in its database.
        DatabaseError: It is no such connection, is closed, or its transaction has failed.
    """
    from pgcorpus import adapters

    await adapters.register_async(connection)
