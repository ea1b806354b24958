"""What stands between the app and the server: a pooler, a pool, and what they carry from one use to the next."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from pgcorpus.names import literal, quote
from pgcorpus.services.doctor.facts import Facts
from pgcorpus.services.doctor.finding import Finding, Severity
from pgcorpus.services.doctor.pooling_reading import Limit, Pooling, read_pooling

# Seconds for which a transaction may have nothing to do before it is taken for forgotten.
PATIENCE = 300.0

# So large a share of the connections taken leaves none for a deployment, where old and new processes overlap.
_NEARLY_ALL = 0.8

# What create_engine() opens at most, by default.
_USUAL = 15

_SHOWN = 3

_BEHIND_A_POOLER = "create_engine(url, pgbouncer=True)"


def pooling_findings(connection: Connection, facts: Facts, *, patience: float = PATIENCE) -> list[Finding]:
    """Return what is wrong between the app and the server.

    Args:
        connection: One of the engine's pool. In a transaction it reads in savepoints, leaves it usable, and says
            nothing of settings: there SET LOCAL cannot be told from SET.
        facts: What :func:`~pgcorpus.services.doctor.reading.read_facts` read.
        patience: Seconds for which a transaction may have nothing to do.

    Raises:
        DBAPIError: The connection is lost, or the server refused.
    """
    return findings_of_pooling(facts, read_pooling(connection, patience), patience=patience)


def findings_of_pooling(facts: Facts, pooling: Pooling, *, patience: float = PATIENCE) -> list[Finding]:
    """Return what is wrong, by what was read before; the arguments are those of :func:`pooling_findings`."""
    return [
        *_prepared(pooling),
        *_dropped(facts, pooling),
        *_lost(pooling),
        *_leaked(pooling),
        *_few(pooling),
        *_too_large(pooling),
        *_idle(pooling, patience),
    ]


# A pooler


def _prepared(pooling: Pooling) -> list[Finding]:
    if not (pooling.has_pooler and pooling.prepares):
        return []
    return [
        Finding(
            "pooler-prepared",
            Severity.WARNING,
            "A pooler stands between, and the driver prepares statements.",
            _handed_around(pooling),
            "In transaction mode a statement that one server process has prepared is executed by another: after five"
            " times it fails, `prepared statement does not exist`, now and then. In session mode nothing comes of it.",
            f"Make the engine by {_BEHIND_A_POOLER}; one of your own with connect_args={{'prepare_threshold': None}}.",
        )
    ]


def _handed_around(pooling: Pooling) -> str:
    seen = " and ".join(str(process) for process in dict.fromkeys(pooling.processes))
    return f"The driver was told of the server process {pooling.told}; {seen} answered."


def _dropped(facts: Facts, pooling: Pooling) -> list[Finding]:
    if not pooling.dropped:
        return []
    where = f"ALTER ROLE {pooling.role} IN DATABASE {quote(facts.database)}"
    return [
        Finding(
            "pooler-settings",
            Severity.NOTE,
            "The search settings that were asked for at connect did not arrive.",
            f"The connection's options have {_listed(pooling.dropped)}; the server is set otherwise: a pooler dropped"
            " them.",
            "Every search sets them for its own transaction: one more message to the server each time.",
            f"Ask for none, by {_BEHIND_A_POOLER}. Or have a superuser set them for the role, and the pooler connect"
            " anew (PgBouncer: RECONNECT).",
            sql=" ".join(f"{where} SET {name} = {literal(value)};" for name, value in pooling.dropped.items()),
        )
    ]


def _lost(pooling: Pooling) -> list[Finding]:
    if not pooling.lost:
        return []
    return [
        Finding(
            "search-settings-lost",
            Severity.WARNING,
            "Searches run with other settings than they ask for.",
            f"The connection had the search settings when it was made, and now has {_listed(pooling.lost)}."
            f" {_handed_around(pooling)}",
            "A search trusts the connection and sets nothing: it finds fewer of the nearest documents, and fewer rows"
            " under a filter.",
            f"If a pooler hands connections around, make the engine by {_BEHIND_A_POOLER}: then each search sets its"
            " own. If it was another command of this session, empty the pool: engine.dispose().",
        )
    ]


def _leaked(pooling: Pooling) -> list[Finding]:
    if not pooling.leaked:
        return []
    return [
        Finding(
            "setting-leaked",
            Severity.WARNING,
            "A connection of the pool keeps settings that somebody left in it.",
            f"pg_settings has {_listed(pooling.leaked)} by a SET of the session"
            + (", and a pooler hands sessions around." if pooling.has_pooler else "; a new connection has not."),
            "Whoever gets the connection next works with them: plans, timeouts and answers differ by chance.",
            "Use SET LOCAL, which ends with its transaction. To clear this connection, empty the pool, engine.dispose()"
            " (of PgBouncer: RECONNECT), or run in this session:",
            sql=" ".join(f"RESET {name};" for name in pooling.leaked),
        )
    ]


def _listed(settings: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} = {'nothing' if value is None else value}" for name, value in settings.items())


# Connections


def _few(pooling: Pooling) -> list[Finding]:
    return [
        Finding(
            "connections-few",
            Severity.WARNING,
            f"Nearly all connections of {limit.of} are taken.",
            f"{limit.taken:,} of {limit.most:,}. The application {pooling.holder}.",
            "Soon new ones are refused: `too many clients already`, or `too many connections`.",
            f"Give each process a smaller pool, such as {_smaller(limit)}; put a PgBouncer between, and"
            f" {_BEHIND_A_POOLER}; or raise the limit.",
        )
        for limit in pooling.limits
        if limit.taken >= _NEARLY_ALL * limit.most
    ]


def _too_large(pooling: Pooling) -> list[Finding]:
    tightest = min(pooling.limits, key=lambda limit: limit.most, default=None)
    if pooling.pool is None or pooling.has_pooler or tightest is None or pooling.pool <= tightest.most:
        return []
    wanted = "any number of" if pooling.pool == float("inf") else f"{pooling.pool:,}"
    return [
        Finding(
            "pool-too-large",
            Severity.WARNING,
            f"The engine's pool may open more connections than {tightest.of} lets.",
            f"pool_size and max_overflow allow {wanted} connections; {tightest.of} has {tightest.most:,} for all.",
            "Under load the server refuses what the pool would have made wait: requests fail.",
            f"Make the pool smaller: {_smaller(tightest)}. Each process of the app has a pool of its own.",
        )
    ]


def _smaller(limit: Limit) -> str:
    """Return the arguments of a pool that leaves room for others."""
    most = max(1, min(_USUAL, limit.most // 3))
    size = -(-most // 3)
    return f"create_engine(url, pool_size={size}, max_overflow={most - size})"


def _idle(pooling: Pooling, patience: float) -> list[Finding]:
    if not pooling.idle:
        return []
    shown = "; ".join(
        f"{each.process} ({each.application}) for {each.seconds:,.0f} s" for each in pooling.idle[:_SHOWN]
    )
    more = len(pooling.idle) - _SHOWN
    processes = ", ".join(str(each.process) for each in pooling.idle)
    ending = (
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN ({processes})"  # noqa: S608
        f" AND state LIKE 'idle in transaction%' AND state_change < now() - interval '{patience:g} s';"
    )
    return [
        Finding(
            "transactions-idle",
            Severity.WARNING,
            "Sessions have begun a transaction and forgotten it.",
            f"pg_stat_activity has the server processes {shown} idle in a transaction"
            + (f", and {more} more." if more > 0 else "."),
            "They keep connections and locks, and VACUUM from removing what was updated since: tables grow.",
            # In words: what they have written is lost.
            "End the transactions where they begin (`with session:`); idle_in_transaction_session_timeout does it from"
            f" then on. To end these sessions, whose work is undone then: {ending}",
        )
    ]
