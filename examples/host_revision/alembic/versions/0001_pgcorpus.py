"""The schema of pgcorpus, in a revision of its own.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

from pgcorpus import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.apply(op, "pgcorpus_0006")


def downgrade() -> None:
    schema.revert(op, "base", since="pgcorpus_0006")
