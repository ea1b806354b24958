"""Where a command works: the database the environment names, else the embedded server.

For commands, the demo and tests only. The library itself raises ``ConfigError`` without a URL, so that an app never
writes to a private database by accident.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from pgcorpus.config import Settings, load_settings
from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer


@contextmanager
def open_database(url: str | None = None, settings: Settings | None = None) -> Iterator[Engine]:
    """Yield an engine on the database to use, and close it afterwards.

    Args:
        url: A database URL that goes before the environment's.
        settings: Settings read before; by default the environment's.

    Raises:
        ConfigError: The URL cannot be used.
        MissingExtraError: No URL is known and the embedded server is not installed.
        EmbeddedServerError: The embedded server cannot be started.
    """
    settings = settings or load_settings()
    named = url or settings.database_url
    if named:
        with _disposed(create_engine(named)) as engine:
            yield engine
        return
    with embedded_server(settings) as server, _disposed(create_engine(server.url)) as engine:
        yield engine


def embedded_server(settings: Settings) -> EmbeddedServer:
    """Return the embedded server in the data directory of the settings; nothing is started."""
    return EmbeddedServer(Path(settings.data_dir) if settings.data_dir else None)


@contextmanager
def _disposed(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()
