"""Collections and documents.

Revision ID: pgcorpus_0002
Revises: pgcorpus_0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects import postgresql

revision = "pgcorpus_0002"
down_revision = "pgcorpus_0001"
branch_labels = None
depends_on = None

SCHEMA = "pgcorpus"

# For this transaction, find the extension's types wherever it lives.
SEE_EXTENSION = """
SELECT set_config(
    'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(nspname)), true
)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'vector' AND nspname <> ALL (current_schemas(true))
"""

LANGUAGES = (
    "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german",
    "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian",
    "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
CONFIGURATION = " ".join(f"WHEN '{language}'::text THEN '{language}'::regconfig" for language in LANGUAGES)
TSVECTOR = f"to_tsvector(CASE language {CONFIGURATION} ELSE 'simple'::regconfig END, left(content, 200000))"


def upgrade() -> None:
    op.execute(SEE_EXTENSION)
    op.create_table(
        "collections",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("tenant_id", sa.Text(), server_default="default", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("embedding_model", sa.Text()),
        sa.Column("distance", sa.Text(), server_default="cosine", nullable=False),
        sa.Column("language", sa.Text(), server_default="english", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_collections_tenant_id_name"),
        sa.CheckConstraint("distance IN ('cosine', 'l2', 'inner_product', 'l1')", name=op.f("ck_collections_distance")),
        schema=SCHEMA,
    )
    op.create_table(
        "documents",
        sa.Column("collection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), server_default=sa.text("(gen_random_uuid())::text"), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary()),
        sa.Column("source", sa.Text()),
        sa.Column("position", sa.Integer()),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("embedding", VECTOR(1536)),
        sa.Column("language", sa.Text(), server_default="english", nullable=False),
        sa.Column("tsv", postgresql.TSVECTOR(), sa.Computed(TSVECTOR, persisted=True)),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "id", name="pk_documents"),
        sa.UniqueConstraint("collection_id", "key", name="uq_documents_collection_id_key"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_documents_collection_id_collections",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    # Vectors out of line make the heap look tiny, and the planner then scans it all rather than use HNSW.
    op.execute(f"ALTER TABLE {SCHEMA}.documents ALTER COLUMN embedding SET STORAGE MAIN")
    op.execute(f"ALTER TABLE {SCHEMA}.documents SET (toast_tuple_target = 8160)")


def downgrade() -> None:
    op.drop_table("documents", schema=SCHEMA)
    op.drop_table("collections", schema=SCHEMA)
