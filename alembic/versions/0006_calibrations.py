"""What was measured of a collection's recall.

Revision ID: pgcorpus_0006
Revises: pgcorpus_0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "pgcorpus_0006"
down_revision = "pgcorpus_0005"
branch_labels = None
depends_on = None

SCHEMA = "pgcorpus"


def upgrade() -> None:
    op.create_table(
        "calibrations",
        sa.Column("collection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("index_definition", sa.Text(), nullable=False),
        sa.Column("documents", sa.BigInteger(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("points", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "id", name="pk_calibrations"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            [f"{SCHEMA}.collections.id"],
            name="fk_calibrations_collection_id_collections",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )


def downgrade() -> None:
    op.drop_table("calibrations", schema=SCHEMA)
