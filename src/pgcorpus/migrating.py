"""What ``alembic/env.py`` stands on: one migration at a time, on a connection prepared for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from pgcorpus.errors import MigrationLockError
from pgcorpus.locks import advisory_lock
from pgcorpus.models import SCHEMA

DEFAULT_LOCK_WAIT = 300.0  # seconds: another migration may be building an index

# A migration that cannot have its lock on a table gives up rather than queue every reader behind it.
LOCK_TIMEOUT = "10s"

# Our schema may be on the path by itself, for a role of the same name ("$user"): then the extension would be created
# in it, and Alembic would take our tables for a host's. The extension's schema must be on it: reflection knows a
# vector column only where the path finds its type.
_SEARCH_PATH = text("""
    SELECT set_config('search_path', string_agg(quote_ident(name), ', ' ORDER BY place), false)
    FROM (
        SELECT name, place FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
        UNION
        SELECT nspname, 1000 FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'vector' AND nspname <> ALL (current_schemas(true))
    ) AS schemas
    WHERE name <> :ours
""")


@contextmanager
def migration_connection(engine: Engine, lock_wait: float | None = None) -> Iterator[Connection]:
    """Yield a connection to migrate with, while no other migration runs on the database.

    Args:
        engine: The database.
        lock_wait: Seconds to wait for another migration to end; 300 by default.

    Raises:
        MigrationLockError: Another migration still runs after that time.
    """
    wait = DEFAULT_LOCK_WAIT if lock_wait is None else lock_wait
    with advisory_lock(engine, "migration", wait, MigrationLockError), engine.connect() as connection:
        default_schema = connection.dialect.default_schema_name
        try:
            _prepare(connection)
            yield connection
        finally:
            connection.dialect.default_schema_name = default_schema
            connection.invalidate()  # its settings go with it, not back into the pool


def _prepare(connection: Connection) -> None:
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    # Citus: every shard in turn, since our revisions mix DDL on reference and distributed tables.
    connection.execute(text("SET citus.multi_shard_modify_mode = 'sequential'"))
    connection.execute(_SEARCH_PATH, {"ours": SCHEMA})
    connection.dialect.default_schema_name = connection.scalar(text("SELECT current_schema()"))
    connection.commit()


# Not CREATE SCHEMA IF NOT EXISTS: that asks for the privilege even where the schema is there.
CREATE_SCHEMA = f"""
DO $$ BEGIN
    IF to_regnamespace('{SCHEMA}') IS NULL THEN
        CREATE SCHEMA {SCHEMA};
    END IF;
END $$
"""


def ensure_schema(connection: Connection) -> None:
    """Create our schema, which holds Alembic's version table, unless it is there."""
    connection.execute(text(CREATE_SCHEMA))
    connection.commit()
