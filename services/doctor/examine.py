"""A database examined: the facts are read, each check looks at them, and what is wrong is told with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, TimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util import greenlet_spawn

from pgcorpus.database import autocommit
from pgcorpus.errors import ConfigError, UnreachableError
from pgcorpus.faults import translated
from pgcorpus.models import Collection
from pgcorpus.repositories.transactions import connection_of
from pgcorpus.services.doctor.documents import document_findings
from pgcorpus.services.doctor.extension import extension_findings
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity, worst
from pgcorpus.services.doctor.indexes import index_findings
from pgcorpus.services.doctor.reading import read_facts
from pgcorpus.services.doctor.rights import rights_findings
from pgcorpus.services.doctor.tables import table_findings

Bind: TypeAlias = Engine | Connection | Session | scoped_session[Any]
AsyncBind: TypeAlias = AsyncEngine | AsyncConnection | AsyncSession | async_scoped_session[Any]


def examine(bind: Bind) -> list[Finding]:
    """Return what is wrong with a database, in the order in which to mend it; of a healthy one nothing.

    It only reads, in two statements, also on a hot standby and as a role that may do nothing else.

    Args:
        bind: An engine, or a connection or session: then its transaction is used, in a savepoint, and left usable
            whatever happens.

    Raises:
        ConfigError: The bind is an async one, or none.
        DatabaseError: The server refused for another reason, such as a transaction that has failed before.
    """
    try:
        with _connection(bind) as connection:
            return findings_of(read_facts(connection))
    except TimeoutError as exc:
        return [_exhausted(exc)]
    except DBAPIError as exc:
        return [_refused(exc)]


async def examine_async(bind: AsyncBind) -> list[Finding]:
    """Return what :func:`examine` does, without blocking the event loop.

    Args:
        bind: As in :func:`examine`, async.

    Raises:
        ConfigError: The bind is a sync one, or none.
        DatabaseError: As in :func:`examine`.
    """
    findings: list[Finding] = await greenlet_spawn(examine, _sync(bind))
    return findings


def findings_of(facts: Facts) -> list[Finding]:
    """Return what is wrong, by facts read before."""
    findings = [*extension_findings(facts), *table_findings(facts), *rights_findings(facts)]
    if not facts.locks and worst(findings) is not Severity.ERROR:
        findings += [*index_findings(facts), *document_findings(facts)]
    return [_on_the_primary(finding) for finding in findings] if facts.standby else findings


def _on_the_primary(finding: Finding) -> Finding:
    return replace(finding, remedy=f"On the primary, for this is a standby: {finding.remedy}")


@contextmanager
def _connection(bind: Bind) -> Iterator[Connection]:
    bind = bind() if isinstance(bind, scoped_session) else bind
    if isinstance(bind, Engine):
        with autocommit(bind).connect() as connection:
            yield connection
    elif isinstance(bind, Session):
        yield connection_of(bind, Collection)
    elif isinstance(bind, Connection):
        yield bind
    else:
        raise ConfigError(f"give an Engine, a Connection or a Session, not {type(bind).__name__}")


def _sync(bind: AsyncBind) -> Bind:
    """Return what an async bind stands on."""
    bind = bind() if isinstance(bind, async_scoped_session) else bind
    if isinstance(bind, AsyncEngine):
        return bind.sync_engine
    if isinstance(bind, AsyncSession):
        return bind.sync_session
    if isinstance(bind, AsyncConnection) and bind.sync_connection is not None:
        return bind.sync_connection
    raise ConfigError(f"give an AsyncEngine, an AsyncSession or an open AsyncConnection, not {type(bind).__name__}")


# What keeps from looking


def _refused(exc: DBAPIError) -> Finding:
    """Return the finding for what the server, or its absence, raised.

    Raises:
        DatabaseError: There is none for it.
    """
    fault = translated(exc)
    if isinstance(fault, UnreachableError) or exc.connection_invalidated:
        return _unreachable(str(fault))
    raise fault from exc


def _unreachable(message: str) -> Finding:
    return Finding(
        "server-unreachable",
        Severity.ERROR,
        "The database does not answer.",
        message,
        "Nothing can be stored or searched.",
        "Start the server, or name the right one (PGCORPUS_DATABASE_URL); whether one answers says:",
        command="pg_isready",
    )


def _exhausted(exc: TimeoutError) -> Finding:
    return Finding(
        "pool-exhausted",
        Severity.ERROR,
        "The pool has no connection left.",
        str(exc).partition("(")[0].strip(),
        "Requests wait for a connection, and fail.",
        "Find who keeps connections (pg_stat_activity, state `idle in transaction`), or give the engine more:"
        " create_engine(url, pool_size=...).",
    )
