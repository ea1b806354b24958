"""The HNSW index for cosine distance.

Revision ID: pgcorpus_0003
Revises: pgcorpus_0002
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import op

revision = "pgcorpus_0003"
down_revision = "pgcorpus_0002"
branch_labels = None
depends_on = None

SCHEMA = "pgcorpus"
INDEX = "ix_documents_embedding"

# A failed concurrent build leaves an invalid index, which IF NOT EXISTS would take for a built one.
DROP_INVALID = f"""
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('{SCHEMA}.{INDEX}') AND NOT indisvalid) THEN
        DROP INDEX {SCHEMA}.{INDEX};
    END IF;
END $$
"""

# A concurrent build waits for every older transaction: a timeout would leave it half-built. The operator class is
# found wherever the extension lives.
PREPARE = """
SELECT set_config('pgcorpus.search_path', current_setting('search_path'), false),
       set_config('pgcorpus.lock_timeout', current_setting('lock_timeout'), false),
       set_config('pgcorpus.statement_timeout', current_setting('statement_timeout'), false),
       set_config('lock_timeout', '0', false),
       set_config('statement_timeout', '0', false)
"""
SEE_EXTENSION = """
SELECT set_config(
    'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(nspname)), false
)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'vector' AND nspname <> ALL (current_schemas(true))
"""
RESTORE = """
SELECT set_config('search_path', current_setting('pgcorpus.search_path'), false),
       set_config('lock_timeout', current_setting('pgcorpus.lock_timeout'), false),
       set_config('statement_timeout', current_setting('pgcorpus.statement_timeout'), false)
"""


@contextmanager
def concurrently() -> Iterator[None]:
    with op.get_context().autocommit_block():
        op.execute(PREPARE)
        try:
            op.execute(SEE_EXTENSION)
            yield
        finally:
            op.execute(RESTORE)


def upgrade() -> None:
    with concurrently():
        op.execute(DROP_INVALID)
        op.create_index(
            INDEX,
            "documents",
            ["embedding"],
            schema=SCHEMA,
            if_not_exists=True,
            postgresql_concurrently=True,
            postgresql_using="hnsw",
            postgresql_ops={"embedding": "vector_cosine_ops"},
            postgresql_with={"m": 16, "ef_construction": 64},
        )


def downgrade() -> None:
    with concurrently():
        op.drop_index(INDEX, "documents", schema=SCHEMA, if_exists=True, postgresql_concurrently=True)
