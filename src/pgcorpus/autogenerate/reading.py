"""How SQLAlchemy's reflection knows pgvector's types, wherever the extension lives."""

from __future__ import annotations

from typing import Any

import pgvector.sqlalchemy  # noqa: F401 -- tells SQLAlchemy of its types, as far as the search_path finds them
from alembic.autogenerate.api import AutogenContext
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR

from pgcorpus.autogenerate.extension import extension_home

_TYPES = {"vector": VECTOR, "halfvec": HALFVEC, "sparsevec": SPARSEVEC}


def know_types(context: AutogenContext) -> None:
    """Have this engine's reflection know the types where PostgreSQL prints them with a schema."""
    assert context.connection is not None  # noqa: S101 -- autogenerate has one
    home = extension_home(context.connection)
    if home is not None and not home[1]:
        _add_types(context.connection.dialect, home[0])


def know_schemas(context: AutogenContext, schemas: set[str | None]) -> None:
    """Have the schemas of the models compared that SQLAlchemy before 2.0.53 takes for the server's own.

    It leaves out what is LIKE 'pg_%', which every name that begins with pg is.
    """
    if context.opts.get("include_schemas"):
        assert context.connection is not None  # noqa: S101 -- autogenerate has one
        default = context.connection.dialect.default_schema_name
        named = {table.schema for table in context.sorted_tables if (table.schema or "").startswith("pg")} - {default}
        schemas |= {name for name in named if context.run_name_filters(name, "schema", {})}


def _add_types(dialect: Any, schema: str) -> None:
    quoted = dialect.identifier_preparer.quote(schema).lower()  # SQLAlchemy looks it up in lower case
    qualified = {f"{quoted}.{name}": type_ for name, type_ in _TYPES.items()}
    dialect.ischema_names = {**dialect.ischema_names, **qualified}
