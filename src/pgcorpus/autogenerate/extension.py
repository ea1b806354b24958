"""The extension, in whatever schema it lives: create it, drop it, see its types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.autogenerate.blocks import do_block
from pgcorpus.autogenerate.catalog import is_autocommit, run
from pgcorpus.names import literal

# SQLSTATE PGC01 marks an error about the extension.
_CREATE = """
DECLARE
    extension text := {name};
    home text := coalesce({schema}, current_schema(), 'public');
BEGIN
    -- Looked up first: IF NOT EXISTS asks for the privilege even where the extension is there.
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = extension) THEN
        IF to_regnamespace(quote_ident(home)) IS NULL THEN
            EXECUTE 'CREATE SCHEMA ' || quote_ident(home);
        END IF;
        EXECUTE 'CREATE EXTENSION IF NOT EXISTS ' || quote_ident(extension) || ' SCHEMA ' || quote_ident(home);
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION USING ERRCODE = 'PGC01',
            MESSAGE = 'the role ' || current_user || ' may not create the extension ' || extension,
            HINT = 'Ask a superuser to run in the database ' || current_database() || ': CREATE EXTENSION '
                || quote_ident(extension) || CASE WHEN {schema} IS NULL THEN ';' ELSE
                ' SCHEMA ' || quote_ident(home) || ';' END;
    WHEN feature_not_supported OR undefined_file THEN
        RAISE EXCEPTION USING ERRCODE = 'PGC01',
            MESSAGE = 'the server has no extension ' || extension || ' to create',
            HINT = 'Install it on the server (pgvector on Debian: postgresql-NN-pgvector; managed: enable "vector").';
END
"""

# Without CASCADE: what was built on the extension keeps it.
_DROP = """
BEGIN
    EXECUTE 'DROP EXTENSION IF EXISTS ' || quote_ident({name});
EXCEPTION
    WHEN dependent_objects_still_exist OR insufficient_privilege THEN
        RAISE NOTICE USING MESSAGE = 'the extension ' || {name} || ' is in use, or not ours to drop, and stays';
END
"""

_SEE = """
SELECT set_config(
    'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(nspname)), {local}
)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = {name} AND nspname <> ALL (current_schemas(true))
"""

_HOME = text("""
    SELECT nspname AS schema, nspname = ANY (current_schemas(true)) AS on_path
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = :name
""")

_SET_PATH = text("SELECT set_config('search_path', :path, :local)")


def create_sql(name: str, schema: str | None) -> str:
    """Return the statement that creates an extension where there is none."""
    return do_block(_CREATE.format(name=literal(name), schema="NULL::text" if schema is None else literal(schema)))


def drop_sql(name: str) -> str:
    """Return the statement that drops an extension which nothing uses."""
    return do_block(_DROP.format(name=literal(name)))


def see_sql(name: str, *, local: bool = True) -> str:
    """Return the statement that puts an extension's schema on the search_path, the transaction's or the session's."""
    return _SEE.format(name=literal(name), local=str(local).lower())


def extension_home(connection: Connection, name: str = "vector") -> tuple[str, bool] | None:
    """Return an extension's schema and whether the search_path has it, or None without the extension."""
    row = connection.execute(_HOME, {"name": name}).one_or_none()
    return None if row is None else (row.schema, row.on_path)


@contextmanager
def extension_in_sight(connection: Connection) -> Iterator[None]:
    """Have pgvector's schema on the search_path inside, and the path as it was after."""
    path = connection.scalar(text("SELECT current_setting('search_path')"))
    local = not is_autocommit(connection)
    run(connection, see_sql("vector", local=local))
    try:
        yield
    finally:
        # A transaction that has failed takes nothing more, and its end puts the path back.
        with suppress(DBAPIError):
            connection.execute(_SET_PATH, {"path": path, "local": local})
