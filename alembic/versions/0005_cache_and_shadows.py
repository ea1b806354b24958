"""Embeddings kept by the text they are of, and collections that stand in for another while its model is switched.

Revision ID: pgcorpus_0005
Revises: pgcorpus_0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "pgcorpus_0005"
down_revision = "pgcorpus_0004"
branch_labels = None
depends_on = None

SCHEMA = "pgcorpus"


def upgrade() -> None:
    op.create_table(
        "embedding_cache",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("model", "content_hash", name="pk_embedding_cache"),
        schema=SCHEMA,
    )
    op.add_column("collections", sa.Column("shadow_of", sa.BigInteger()), schema=SCHEMA)
    op.add_column("collections", sa.Column("retired_at", sa.DateTime(timezone=True)), schema=SCHEMA)
    op.add_column("collections", sa.Column("retired_at_id", sa.BigInteger()), schema=SCHEMA)
    op.create_foreign_key(
        "fk_collections_shadow_of_collections",
        "collections",
        "collections",
        ["shadow_of"],
        ["id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="CASCADE",
    )


def downgrade() -> None:
    op.drop_constraint("fk_collections_shadow_of_collections", "collections", schema=SCHEMA, type_="foreignkey")
    op.drop_column("collections", "retired_at_id", schema=SCHEMA)
    op.drop_column("collections", "retired_at", schema=SCHEMA)
    op.drop_column("collections", "shadow_of", schema=SCHEMA)
    op.drop_table("embedding_cache", schema=SCHEMA)
