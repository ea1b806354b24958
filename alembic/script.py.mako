"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Rules for authors:
- Import SQLAlchemy, Alembic and pgvector only: a released revision must not change when a model does.
- Use op.create_table, op.create_index and op.execute; everything also works offline (`alembic upgrade --sql`).
- No percent sign in SQL: online and offline disagree on whether it is doubled.
- One sub-command per ALTER, a name for every constraint, no backfill in the same revision as its column.
- An index on a table with data: a revision of its own, an autocommit block, CONCURRENTLY, and an invalid
  leftover of the same name replaced.
- Revision ids are short (alembic_version.version_num is VARCHAR(32)) and begin with pgcorpus_, since a host may
  have our history beside its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
