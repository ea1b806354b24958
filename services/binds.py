"""The connection behind whatever an app has: an engine, a connection or a session, sync or async."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from pgcorpus.database import autocommit
from pgcorpus.errors import ConfigError
from pgcorpus.repositories.transactions import connection_of

ReadBind: TypeAlias = Engine | Connection | Session | scoped_session[Any]
AsyncReadBind: TypeAlias = AsyncEngine | AsyncConnection | AsyncSession | async_scoped_session[Any]


@contextmanager
def reading(bind: ReadBind, model: type[Any]) -> Iterator[Connection]:
    """Yield a connection to read with: an engine's own in AUTOCOMMIT, else the caller's.

    Args:
        bind: Sync.
        model: The mapped class that is read: a session may be bound to several databases.

    Raises:
        ConfigError: The bind is an async one, or none.
    """
    bind = bind() if isinstance(bind, scoped_session) else bind
    if isinstance(bind, Engine):
        with autocommit(bind).connect() as connection:
            yield connection
    elif isinstance(bind, Session):
        yield connection_of(bind, model)
    elif isinstance(bind, Connection):
        yield bind
    else:
        raise ConfigError(f"give an Engine, a Connection or a Session, not {type(bind).__name__}")


def sync_bind(bind: AsyncReadBind) -> ReadBind:
    """Return what an async bind stands on.

    Raises:
        ConfigError: The bind is a sync one, or none.
    """
    bind = bind() if isinstance(bind, async_scoped_session) else bind
    if isinstance(bind, AsyncEngine):
        return bind.sync_engine
    if isinstance(bind, AsyncSession):
        return bind.sync_session
    if isinstance(bind, AsyncConnection) and bind.sync_connection is not None:
        return bind.sync_connection
    raise ConfigError(f"give an AsyncEngine, an AsyncSession or an open AsyncConnection, not {type(bind).__name__}")
