"""Run the migrations on an engine from ``config.attributes["engine"]`` or from the environment."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from alembic import context

from pgcorpus import autogenerate
from pgcorpus.migrating import CREATE_SCHEMA, ensure_schema, migration_connection
from pgcorpus.models import SCHEMA, Base
from pgcorpus.target import open_database

if TYPE_CHECKING:
    from sqlalchemy import Connection


autogenerate.setup()  # for Alembic before 1.18


def only_ours(name: str | None, type_: str, _parents: object) -> bool:
    """Compare our schema and no other: the host's tables are none of our business."""
    return type_ != "schema" or name == SCHEMA


OPTIONS: dict[str, Any] = {
    "target_metadata": Base.metadata,
    "version_table_schema": SCHEMA,
    "include_schemas": True,
    "include_name": only_ours,
    # A concurrent index build has to leave its transaction; each revision therefore has its own.
    "transaction_per_migration": True,
}


def run_offline() -> None:
    context.configure(dialect_name="postgresql", literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.execute(CREATE_SCHEMA)
        context.run_migrations()


def run_online(connection: Connection) -> None:
    context.configure(connection=connection, **OPTIONS)
    if not context.get_context().opts.get("dont_mutate"):  # set by `current` and `check`
        ensure_schema(connection)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    given = context.config.attributes.get("engine")
    url = context.get_x_argument(as_dictionary=True).get("url")
    lock_wait = context.config.attributes.get("lock_wait")
    with (
        nullcontext(given) if given is not None else open_database(url) as engine,
        migration_connection(engine, lock_wait) as migrating,
    ):
        run_online(migrating)
