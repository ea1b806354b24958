"""The app's own environment, as `alembic init` makes it, on the database of DATABASE_URL."""

from __future__ import annotations

from typing import Any

from alembic import context
from app import Base
from sqlalchemy import NullPool

from pgcorpus.database import create_engine


def run(**options: Any) -> None:
    context.configure(target_metadata=Base.metadata, **options)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run(dialect_name="postgresql", literal_binds=True)
else:
    with create_engine(poolclass=NullPool).connect() as connection:
        run(connection=connection)
