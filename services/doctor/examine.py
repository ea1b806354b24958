"""A database examined: the facts are read, each check looks at them, and what is wrong is told with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, TimeoutError
from sqlalchemy.util import greenlet_spawn

from pgcorpus.faults import translated
from pgcorpus.models import Collection
from pgcorpus.services.binds import AsyncReadBind, ReadBind, reading, sync_bind
from pgcorpus.services.doctor.contents import contents_findings
from pgcorpus.services.doctor.documents import document_findings
from pgcorpus.services.doctor.extension import extension_findings
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity, worst
from pgcorpus.services.doctor.index_health import index_health_findings
from pgcorpus.services.doctor.indexes import index_findings
from pgcorpus.services.doctor.memory import memory_findings
from pgcorpus.services.doctor.neighbours import neighbour_findings
from pgcorpus.services.doctor.plans import plan_findings
from pgcorpus.services.doctor.pooling import pooling_findings
from pgcorpus.services.doctor.reading import read_facts
from pgcorpus.services.doctor.refusals import is_lost, refusal, refused_findings
from pgcorpus.services.doctor.rights import rights_findings
from pgcorpus.services.doctor.settings import setting_findings
from pgcorpus.services.doctor.storing import storing_findings
from pgcorpus.services.doctor.tables import table_findings


def examine(bind: ReadBind, *, deep: bool = False, brief: bool = False) -> list[Finding]:
    """Return what is wrong with a database, in the order in which to mend it; of a healthy one nothing.

    It only reads, also on a hot standby and as a role that may do nothing else.

    Args:
        bind: An engine, or a connection or session: then its transaction is used, in a savepoint, and left usable
            whatever happens.
        deep: Whether to read all documents, rather than some: the server reads them through once.
        brief: Whether to be content with two statements, and a third where a collection is large: for what is asked
            often. What the documents hold, the host's tables and the pool are then left out.

    Raises:
        ConfigError: The bind is an async one, or none.
        DatabaseError: The server refuses to say anything, as in a transaction that has failed before. What it refuses
            beyond that is a finding.
    """
    try:
        with reading(bind, Collection) as connection:
            return _examined(connection, deep=deep, brief=brief)
    except TimeoutError as exc:
        return [_exhausted(exc)]
    except DBAPIError as exc:
        return [_refused(exc)]


async def examine_async(bind: AsyncReadBind, *, deep: bool = False, brief: bool = False) -> list[Finding]:
    """Return what :func:`examine` does, without blocking the event loop.

    Args:
        bind: As in :func:`examine`, async.
        deep: As in :func:`examine`.
        brief: As in :func:`examine`.

    Raises:
        ConfigError: The bind is a sync one, or none.
        DatabaseError: As in :func:`examine`.
    """
    findings: list[Finding] = await greenlet_spawn(examine, sync_bind(bind), deep=deep, brief=brief)
    return findings


def findings_of(facts: Facts) -> list[Finding]:
    """Return what is wrong, by facts read before."""
    return _worded(facts, _judged(facts))


def _examined(connection: Connection, *, deep: bool, brief: bool) -> list[Finding]:
    facts = read_facts(connection)
    if deep and not brief:
        facts = replace(facts, waiting=())  # all of them are counted below
    findings = _judged(facts)
    if not (brief or _is_grave(facts, findings)):
        findings += _looked_further(connection, facts, deep=deep)
    return _worded(facts, findings)


def _judged(facts: Facts) -> list[Finding]:
    findings = [*extension_findings(facts), *table_findings(facts), *rights_findings(facts)]
    if not _is_grave(facts, findings):
        findings += [finding for check in _CHECKS for finding in check(facts)]
    return [*findings, *refused_findings(facts.refusals)]


def _is_grave(facts: Facts, findings: list[Finding]) -> bool:
    """Say whether what was found keeps from looking further, or makes it pointless."""
    return bool(facts.locks) or worst(findings) is Severity.ERROR


def _looked_further(connection: Connection, facts: Facts, *, deep: bool) -> list[Finding]:
    """Return what statements of their own find: in the documents, beside our tables, and in what stands between."""
    looks: dict[str, Callable[[], list[Finding]]] = {
        "what the documents hold": partial(contents_findings, connection, facts, deep=deep),
        "the host's tables": partial(neighbour_findings, connection, facts),
        "the pool and the server's sessions": partial(pooling_findings, connection, facts),
    }
    return [finding for what, look in looks.items() for finding in _tried(what, look)]


def _tried(what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what a look finds; one that is refused keeps nobody from the others."""
    try:
        return look()
    except DBAPIError as exc:
        return refused_findings([refusal(what, exc)])


def _worded(facts: Facts, findings: list[Finding]) -> list[Finding]:
    return [_on_the_primary(finding) for finding in findings] if facts.standby else findings


# In the order in which to mend: what the planner goes by comes before how it plans.
_CHECKS = (
    setting_findings,
    index_findings,
    index_health_findings,
    storing_findings,
    plan_findings,
    memory_findings,
    document_findings,
)


def _on_the_primary(finding: Finding) -> Finding:
    return replace(finding, remedy=f"On the primary, for this is a standby: {finding.remedy}")


# What keeps from looking


def _refused(exc: DBAPIError) -> Finding:
    """Return the finding for what the server, or its absence, raised.

    Raises:
        DatabaseError: There is none for it.
    """
    if is_lost(exc):
        return _unreachable(str(translated(exc)))
    raise translated(exc) from exc


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
