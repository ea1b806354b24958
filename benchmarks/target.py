"""Where a client connects; without libraries, so that a peer's own environment can import it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Where a client connects.

    Attributes:
        host: Folder of the socket.
        port: Port of the socket.
        database: Name of the database.
        user: Role.
        ef_search: ``hnsw.ef_search`` for all searches.
    """

    host: str
    port: int
    database: str
    user: str
    ef_search: int

    def url(self, driver: str) -> str:
        """Return a SQLAlchemy URL.

        Args:
            driver: ``psycopg``, ``psycopg2`` or ``asyncpg``.
        """
        return f"postgresql+{driver}://{self.user}@/{self.database}?host={self.host}&port={self.port}"
