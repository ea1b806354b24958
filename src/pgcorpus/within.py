"""Our history inside a revision of the host's own: what ``schema.apply`` and ``schema.revert`` stand on.

``alembic.op`` is one per process, so that our revisions work on whatever context the host's revision runs in. What is
left to do here is what Alembic's own runner does around a revision: choose the steps, record each, commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from typing import Any, NamedTuple, Protocol

import alembic.op
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import Script
from sqlalchemy import Connection, text

from pgcorpus import migrating
from pgcorpus.errors import MigrationLockError, SchemaError
from pgcorpus.locks import advisory_lock
from pgcorpus.models import SCHEMA


class HostOperations(Protocol):
    """``alembic.op``, or an ``Operations``."""

    def get_context(self) -> MigrationContext:
        """Return the context of the revision that runs."""
        ...


class Step(NamedTuple):
    """One of our revisions, up or down.

    Attributes:
        run: Its upgrade() or downgrade().
        before: The revision the database has; None for the base.
        after: The one it has afterwards.
    """

    run: Callable[[], None]
    before: str | None
    after: str | None


class History:
    """Our revisions in a line; a position in it is the number of those that a database has.

    Args:
        scripts: The revisions, oldest first.
    """

    def __init__(self, scripts: list[Script]) -> None:
        self._scripts = scripts
        self._line: list[str | None] = [None, *(script.revision for script in scripts)]

    def position(self, revision: str | None) -> int:
        """Return where a revision is.

        Raises:
            SchemaError: There is none of that name.
        """
        name = None if revision == "base" else revision
        if name not in self._line:
            known = ", ".join(script.revision for script in self._scripts)
            raise SchemaError(f"this pgcorpus has {known}, and no {revision}: a newer one may have it")
        return self._line.index(name)

    def up(self, start: int, target: int) -> list[Step]:
        """Return what leads from one position up to another; nothing where the start is above."""
        scripts, line = self._scripts, self._line
        return [Step(scripts[at].module.upgrade, line[at], line[at + 1]) for at in range(start, target)]

    def down(self, start: int, target: int) -> list[Step]:
        """Return what leads from one position down to another; nothing where the start is below."""
        scripts, line = self._scripts, self._line
        return [Step(scripts[at].module.downgrade, line[at + 1], line[at]) for at in range(start - 1, target - 1, -1)]


def migrate(
    operations: HostOperations,
    history: History,
    choose: Callable[[int], list[Step]],
    since: str | None,
    lock_wait: float | None,
) -> None:
    """Take the steps that a database needs, in the context of the host's revision.

    Args:
        operations: The host's.
        history: Our revisions.
        choose: Returns the steps from a position.
        since: Where the database is, if it cannot be asked since the SQL is only printed.
        lock_wait: Seconds to wait for another migration; 300 by default.

    Raises:
        MigrationLockError: Another migration still runs after that time.
        SchemaError: The database is at a revision that is not known.
    """
    context = operations.get_context()
    with _installed(_ours(context)) as ours:
        if context.as_sql:
            for step in choose(history.position(since)):
                _take(ours, step)
        else:
            wait = migrating.DEFAULT_LOCK_WAIT if lock_wait is None else lock_wait
            _migrate_online(ours, lambda: choose(history.position(recorded(_connection(ours)))), wait)


def _migrate_online(operations: Operations, steps_left: Callable[[], list[Step]], wait: float) -> None:
    connection = _connection(operations)
    settings = _settings(connection)
    if not steps_left():
        return
    # Who waits with a transaction open may have a snapshot, for which the other's concurrent build would wait.
    _commit(operations)
    with advisory_lock(connection.engine, "migration", wait, MigrationLockError):
        _put_back(operations, settings)
        for step in steps_left():
            _prepare(connection)
            _take(operations, step)
            _put_back(operations, settings)


def _take(operations: Operations, step: Step) -> None:
    step.run()
    _record(operations, step)
    _commit(operations)  # a run that dies goes on from here


def _commit(operations: Operations) -> None:
    """Commit and begin anew, also in what is printed; a transaction that is not Alembic's stays open."""
    with operations.get_context().autocommit_block():
        pass


# The operations


def _ours(context: MigrationContext) -> Operations:
    if context.as_sql or context._transaction is not None:
        return Operations(context)
    return _in_one_transaction(context)


def _in_one_transaction(context: MigrationContext) -> Operations:
    """Return operations for a transaction that is not Alembic's to end, where a block outside of any cannot be.

    ``env.py`` of the template multidb opens one, and every ``env.py`` that executes something before
    ``context.configure``. A concurrent build is an ordinary one there.
    """
    context = copy(context)
    context.autocommit_block = nullcontext  # type: ignore[assignment, method-assign]
    operations = Operations(context)
    operations.create_index = _ordinary(operations, operations.create_index)  # type: ignore[method-assign]
    operations.drop_index = _ordinary(operations, operations.drop_index)  # type: ignore[method-assign]
    return operations


def _ordinary(operations: Operations, operation: Callable[..., None]) -> Callable[..., None]:
    def not_concurrently(*arguments: Any, **options: Any) -> None:
        _prepare(_connection(operations))  # a revision lifts the timeout for a concurrent build, which keeps nobody out
        operation(*arguments, **options | {"postgresql_concurrently": False})

    return not_concurrently


@contextmanager
def _installed(operations: Operations) -> Iterator[Operations]:
    """Let ``alembic.op`` be these operations, and what it was afterwards."""
    hosts = getattr(alembic.op, "_proxy", None)
    operations._install_proxy()
    try:
        yield operations
    finally:
        operations._remove_proxy()
        if hosts is not None:
            hosts._install_proxy()


# The version table, written as Alembic does

_TABLE = f"{SCHEMA}.alembic_version"
_CREATE_TABLE = f"""
CREATE TABLE IF NOT EXISTS {_TABLE} (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""


def recorded(connection: Connection) -> str | None:
    """Return the revision that our own version table names, or None where there is no schema yet.

    Raises:
        SchemaError: There is one, and its revision is recorded elsewhere.
    """
    if kept_by_host(connection):
        raise SchemaError(
            f"the tables of pgcorpus are there, but {_TABLE} names no revision: the host's own Alembic has them in its"
            " history (version_locations), so run `alembic upgrade pgcorpus@head` in its project"
        )
    return _recorded(connection)


def kept_by_host(connection: Connection) -> bool:
    """Say whether our tables are in a history of the host's: they are there, and our version table knows nothing."""
    has_documents = connection.scalar(text(f"SELECT to_regclass('{SCHEMA}.documents') IS NOT NULL"))
    return bool(has_documents) and _recorded(connection) is None


def _recorded(connection: Connection) -> str | None:
    if not connection.scalar(text(f"SELECT to_regclass('{_TABLE}') IS NOT NULL")):
        return None
    revision: str | None = connection.scalar(text(f"SELECT version_num FROM {_TABLE}"))  # noqa: S608
    return revision


def _record(operations: Operations, step: Step) -> None:
    if step.before is None:
        operations.execute(_CREATE_TABLE)
        operations.execute(f"INSERT INTO {_TABLE} (version_num) VALUES ('{step.after}')")  # noqa: S608
    elif step.after is None:
        operations.execute(f"DELETE FROM {_TABLE} WHERE version_num = '{step.before}'")  # noqa: S608
    else:
        operations.execute(
            f"UPDATE {_TABLE} SET version_num = '{step.after}' WHERE version_num = '{step.before}'"  # noqa: S608
        )


# The settings

# What our revisions set, and what a host may have set for a transaction that we end.
_SETTINGS = text("""
    SELECT name, current_setting(name) AS value
    FROM unnest(ARRAY['role', 'search_path', 'lock_timeout', 'statement_timeout']) AS name
""")
_PUT_BACK = text("""
    SELECT set_config(name, value, :for_this_transaction)
    FROM unnest(CAST(:names AS text[]), CAST(:wanted AS text[])) AS settings (name, value)
    WHERE current_setting(name) <> value
""")


def _settings(connection: Connection) -> dict[str, str]:
    return {row.name: row.value for row in connection.execute(_SETTINGS)}


def _prepare(connection: Connection) -> None:
    """Do as ``migrating.migration_connection`` does, for this transaction only."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{migrating.LOCK_TIMEOUT}'"))
    connection.execute(text("SET LOCAL citus.multi_shard_modify_mode = 'sequential'"))


def _put_back(operations: Operations, settings: dict[str, str]) -> None:
    """Restore the host's settings: what it had set for its transaction went with our commit.

    In a transaction that goes on, our own settings have to be undone instead, those for the session too.
    """
    values = {"names": list(settings), "wanted": list(settings.values())}
    committed = operations.get_context()._transaction is not None
    _connection(operations).execute(_PUT_BACK, values | {"for_this_transaction": committed})


def _connection(operations: Operations) -> Connection:
    connection = operations.get_context().connection
    assert connection is not None  # noqa: S101 -- only offline there is none
    return connection
