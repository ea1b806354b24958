"""The schema's history: upgrade, downgrade, look, without an ini file; apply and revert in a host's own revision."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from pgcorpus.errors import DatabaseError, ExtensionError, SchemaError
from pgcorpus.faults import sqlstate, translated
from pgcorpus.models import SCHEMA
from pgcorpus.within import History, HostOperations, kept_by_host, migrate, recorded

_EXTENSION_FAULT = "PGC01"  # raised by revision pgcorpus_0001
_INSUFFICIENT_PRIVILEGE = "42501"
_IN_FAILED_TRANSACTION = "25P02"
_LOCK_NOT_AVAILABLE = "55P03"

# An index beside those of the models, for another metric say, harms nobody.
_MORE_INDEXES = ("drop_vector_index", "remove_index")

# Who uses our tables, now that a migration has given up.
_USERS = text("""
    SELECT DISTINCT a.pid, a.usename, a.application_name, date_trunc('second', now() - a.xact_start) AS since
    FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation
    WHERE l.granted AND c.relnamespace = to_regnamespace(:schema) AND a.datname = current_database()
      AND l.pid <> pg_backend_pid()
    ORDER BY a.pid
""")

# `alembic.op` and `alembic.context` are one per process, so threads take turns.
_ALEMBIC = threading.RLock()


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of the history.

    Attributes:
        id: The revision's identifier.
        summary: Its first line.
        applied: Whether the database asked has it; None without a database.
    """

    id: str
    summary: str
    applied: bool | None = None


def migrations_path() -> Path:
    """Return the folder of the migrations: the installed one, else the checkout's."""
    here = Path(__file__).parent
    installed = here / "migrations"
    return installed if installed.is_dir() else here.parents[1] / "alembic"


def alembic_config(engine: Engine | None = None, *, lock_wait: float | None = None) -> Config:
    """Return an Alembic configuration on our migrations.

    Args:
        engine: The database; passed as it is, since a URL rendered to text loses what has to be escaped.
        lock_wait: Seconds to wait for another migration.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["engine"] = engine
    config.attributes["lock_wait"] = lock_wait
    return config


def upgrade(engine: Engine, revision: str = "head", *, lock_wait: float | None = None) -> None:
    """Bring the schema up to a revision.

    Args:
        engine: The database.
        revision: A revision, ``head``, or a relative step such as ``+1``.
        lock_wait: Seconds to wait for another migration, 300 by default.

    Raises:
        ExtensionError: pgvector is missing, too old, or may not be created by this role.
        MigrationLockError: Another migration runs.
        SchemaError: The revision is unknown, the database is ahead of this code, or a host's history has our tables.
        DatabaseError: The role lacks a right, or the server refused.
    """
    _require_named(revision)
    _require_known(engine)
    with _clear_errors(engine):
        command.upgrade(alembic_config(engine, lock_wait=lock_wait), revision)


def downgrade(engine: Engine, revision: str, *, lock_wait: float | None = None) -> None:
    """Take the schema back to a revision; ``base`` removes our tables and what they hold.

    Args:
        engine: The database.
        revision: A revision, ``base``, or a relative step such as ``-1``.
        lock_wait: Seconds to wait for another migration, 300 by default.

    Raises:
        MigrationLockError: Another migration runs.
        SchemaError: The revision is unknown, or a host's history has our tables.
        DatabaseError: The role lacks a right, or the server refused.
    """
    _require_named(revision)
    _require_known(engine)
    with _clear_errors(engine):
        command.downgrade(alembic_config(engine, lock_wait=lock_wait), revision)


def apply(op: HostOperations, revision: str, *, since: str = "base", lock_wait: float | None = None) -> None:
    """Bring our schema up to a revision, from within the upgrade() of a revision of the host's own.

    What the database has is left out, so a run that died is taken up where it ended, and a database that is further
    stays there. The host's transaction is committed before the first and after each of our revisions: give the call a
    revision of its own. Only where Alembic does not hold the transaction (``env.py`` of the template multidb) all
    happens in it, and indexes are built in the ordinary way, which keeps writers out.

    Args:
        op: ``alembic.op``.
        revision: Such as ``pgcorpus_0004``; never a moving ``head``, since the host's revision has to stay the same.
        since: What the database has already where the SQL is only printed (``--sql``); online it is asked.
        lock_wait: Seconds to wait for another migration, 300 by default.

    Raises:
        ExtensionError: pgvector is missing, too old, or may not be created by this role.
        MigrationLockError: Another migration runs.
        SchemaError: The revision is unknown, or the database is ahead of this code.
        DatabaseError: The role lacks a right, or the server refused.
    """
    with _clear_host_errors(op):
        ours = _history()
        target = ours.position(revision)
        migrate(op, ours, lambda start: ours.up(start, target), since, lock_wait)


def revert(op: HostOperations, revision: str, *, since: str | None = None, lock_wait: float | None = None) -> None:
    """Take our schema back to a revision, from within the downgrade() of a revision of the host's own.

    As for :func:`apply`; a database that is not as far stays as it is.

    Args:
        op: ``alembic.op``.
        revision: Such as ``pgcorpus_0002``; ``base`` removes our tables and what they hold.
        since: What the database has where the SQL is only printed (``--sql``); online it is asked.
        lock_wait: Seconds to wait for another migration, 300 by default.

    Raises:
        MigrationLockError: Another migration runs.
        SchemaError: The revision is unknown, or the SQL is to be printed and ``since`` is missing.
        DatabaseError: The role lacks a right, or the server refused.
    """
    with _clear_host_errors(op):
        ours = _history()
        target = ours.position(revision)
        if since is None and op.get_context().as_sql:
            raise SchemaError(f"--sql cannot ask the database where it is: schema.revert(op, {revision!r}, since=...)")
        migrate(op, ours, lambda start: ours.down(start, target), since, lock_wait)


def current(engine: Engine) -> str | None:
    """Return the database's revision, or None where there is no schema yet.

    Raises:
        SchemaError: A host's own history has our tables (``version_locations``), so its Alembic has to be asked.
    """
    with _clear_errors(engine), engine.connect() as connection:
        return recorded(connection)


def head() -> str:
    """Return the newest revision this code knows."""
    revision = _script().get_current_head()
    assert revision is not None  # noqa: S101 -- the package ships its revisions
    return revision


def history(engine: Engine | None = None) -> list[Revision]:
    """Return all revisions, oldest first.

    Args:
        engine: A database to say of each revision whether it has it.
    """
    scripts = list(reversed(list(_script().walk_revisions())))
    ids = [script.revision for script in scripts]
    reached = None if engine is None else current(engine)
    applied = ids.index(reached) if reached in ids else -1
    return [
        Revision(script.revision, script.doc, None if engine is None else position <= applied)
        for position, script in enumerate(scripts)
    ]


def check(engine: Engine) -> None:
    """Pass if the database is at the newest revision and its tables equal the models.

    Raises:
        SchemaError: They differ; the message lists how.
    """
    if not _is_kept_by_host(engine):
        _require_head(engine)
    _require_equal(engine)


def sql(revision: str = "head", *, downgrade: bool = False) -> str:
    """Return the SQL of a migration without running it.

    Args:
        revision: Target, or a range ``from:to``; a downgrade needs a range.
        downgrade: Whether to go down.

    Raises:
        SchemaError: The revision is unknown, or a downgrade has no range.
    """
    output = io.StringIO()
    config = alembic_config()
    config.output_buffer = output
    with _command_errors():
        (command.downgrade if downgrade else command.upgrade)(config, revision, sql=True)
    return output.getvalue()


def require_current(engine: Engine) -> None:
    """Pass if the database is at the newest revision.

    Where a host's own history has our tables (``version_locations``), it passes if they equal the models.

    Raises:
        SchemaError: It is not; the message says what to run.
    """
    if _is_kept_by_host(engine):
        _require_equal(engine)
    else:
        _require_head(engine)


def _is_kept_by_host(engine: Engine) -> bool:
    with _clear_errors(engine), engine.connect() as connection:
        return kept_by_host(connection)


def _require_named(revision: str) -> None:
    if not revision.strip():
        raise SchemaError(f"name a revision, such as {head()}, head or base")


def _require_known(engine: Engine) -> str | None:
    """Return the database's revision, unless a newer release of this package has left it there."""
    reached = current(engine)
    if reached is not None and reached not in {revision.id for revision in history()}:
        raise SchemaError(f"the database is at {reached}, which this pgcorpus does not know: upgrade the package")
    return reached


def _require_head(engine: Engine) -> None:
    reached = _require_known(engine)
    if reached is None:
        raise SchemaError("the database has no pgcorpus schema yet: run `pgcorpus migrate upgrade`")
    if reached != head():
        raise SchemaError(f"the database is at {reached}, this pgcorpus needs {head()}: run `pgcorpus migrate upgrade`")


def _require_equal(engine: Engine) -> None:
    """Compare the tables with the models as ``alembic/env.py`` says, at whatever revision the database is."""
    config, differences = alembic_config(engine), list[Any]()

    def compare(_heads: object, context: MigrationContext) -> Iterable[Any]:
        found = compare_metadata(context, context.opts["target_metadata"])
        differences.extend(difference for difference in found if difference[0] not in _MORE_INDEXES)
        return ()

    script = ScriptDirectory.from_config(config)
    with _clear_errors(engine), EnvironmentContext(config, script, fn=compare, dont_mutate=True):
        script.run_env()
    if differences:
        raise SchemaError(f"the database differs from the models: {differences}")


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


def _history() -> History:
    return History(list(reversed(list(_script().walk_revisions()))))


@contextmanager
def _clear_errors(engine: Engine) -> Iterator[None]:
    """Turn what Alembic and the driver raise into this package's errors."""
    with _command_errors():
        try:
            yield
        except DBAPIError as exc:
            raise _explained(_first(exc), engine) from exc
        except PendingRollbackError as exc:  # what is left when the connection died in the middle
            raise _explained(_cause(exc), engine) from exc


@contextmanager
def _clear_host_errors(op: HostOperations) -> Iterator[None]:
    connection = op.get_context().connection
    if op.get_context().as_sql or connection is None:
        with _command_errors():
            yield
    else:
        with _clear_errors(connection.engine):
            yield


@contextmanager
def _command_errors() -> Iterator[None]:
    try:
        with _ALEMBIC:
            yield
    except CommandError as exc:
        raise SchemaError(str(exc)) from exc


def _first(exc: DBAPIError) -> DBAPIError:
    """Return the error that made a transaction fail, not that of the statement after it."""
    return _cause(exc) if sqlstate(exc) == _IN_FAILED_TRANSACTION else exc


def _cause(exc: BaseException) -> DBAPIError:
    """Return the driver's error behind one that was raised while cleaning up after it."""
    context = exc.__context__
    while not isinstance(context, DBAPIError):
        if context is None:
            raise exc
        if isinstance(context, KeyboardInterrupt):
            raise context
        context = context.__context__
    return context


def _explained(exc: DBAPIError, engine: Engine) -> Exception:
    fault = translated(exc)
    if sqlstate(exc) == _EXTENSION_FAULT:
        return ExtensionError(str(fault))
    if sqlstate(exc) == _INSUFFICIENT_PRIVILEGE:
        return DatabaseError(f"{fault}. Ask a superuser to run in the same database: {_grant(engine)}")
    if sqlstate(exc) == _LOCK_NOT_AVAILABLE:
        return DatabaseError(f"{fault}: {_users(engine)}")
    return fault


def _users(engine: Engine) -> str:
    """Return who uses our tables."""
    with engine.connect() as connection:
        users = connection.execute(_USERS, {"schema": SCHEMA}).all()
    processes = [f"{each.pid} ({each.usename}, {each.application_name}, for {each.since})" for each in users]
    used = f"the tables are used by the server processes {', '.join(processes)}; " if users else ""
    return f"{used}run it again, or end those sessions"


def _grant(engine: Engine) -> str:
    """Return the statement that gives the role the schema."""
    with engine.connect() as connection:
        role = connection.scalar(text("SELECT quote_ident(current_user)"))
        if connection.scalar(text("SELECT to_regnamespace(:schema)"), {"schema": SCHEMA}) is None:
            return f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {role};"
        return f"GRANT ALL ON SCHEMA {SCHEMA} TO {role}; and make {role} the owner of its tables"
