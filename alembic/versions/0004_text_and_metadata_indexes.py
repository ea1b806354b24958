"""Indexes for full text, for metadata filters, and for the passages of a source.

Revision ID: pgcorpus_0004
Revises: pgcorpus_0003
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import op

revision = "pgcorpus_0004"
down_revision = "pgcorpus_0003"
branch_labels = None
depends_on = None

SCHEMA = "pgcorpus"

INDEXES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "ix_documents_tsv": (["tsv"], {"postgresql_using": "gin"}),
    "ix_documents_metadata": (
        ["metadata"],
        {"postgresql_using": "gin", "postgresql_ops": {"metadata": "jsonb_path_ops"}},
    ),
    "ix_documents_collection_id_source": (["collection_id", "source"], {}),
}

# A failed concurrent build leaves an invalid index, which IF NOT EXISTS would take for a built one.
DROP_INVALID = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('{schema}.{index}') AND NOT indisvalid) THEN
        DROP INDEX {schema}.{index};
    END IF;
END $$
"""

# A concurrent build waits for every older transaction: a timeout would leave it half-built.
PREPARE = """
SELECT set_config('pgcorpus.lock_timeout', current_setting('lock_timeout'), false),
       set_config('pgcorpus.statement_timeout', current_setting('statement_timeout'), false),
       set_config('lock_timeout', '0', false),
       set_config('statement_timeout', '0', false)
"""
RESTORE = """
SELECT set_config('lock_timeout', current_setting('pgcorpus.lock_timeout'), false),
       set_config('statement_timeout', current_setting('pgcorpus.statement_timeout'), false)
"""


@contextmanager
def concurrently() -> Iterator[None]:
    with op.get_context().autocommit_block():
        op.execute(PREPARE)
        try:
            yield
        finally:
            op.execute(RESTORE)


def upgrade() -> None:
    with concurrently():
        for name, (columns, options) in INDEXES.items():
            op.execute(DROP_INVALID.format(schema=SCHEMA, index=name))
            op.create_index(
                name,
                "documents",
                columns,
                schema=SCHEMA,
                if_not_exists=True,
                postgresql_concurrently=True,
                **options,
            )


def downgrade() -> None:
    with concurrently():
        for name in reversed(INDEXES):
            op.drop_index(name, "documents", schema=SCHEMA, if_exists=True, postgresql_concurrently=True)
