"""The declarative base: our own schema, and a name for every constraint."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

# A schema of our own keeps a host's `alembic --autogenerate` from dropping tables it does not know.
SCHEMA = "pgcorpus"

# A migration can only drop what has a name (Alembic documentation, "The Importance of Naming Constraints").
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The base of the shipped models; a host's own models keep the host's base."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMING_CONVENTION)
