"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Rules for authors (the steps are in CONTRIBUTING.md, "A new migration"):
- A released revision never changes: `python -m tests.migration.freeze` lists its hash and stores a dump of it.
- Import SQLAlchemy, Alembic and pgvector only: a released revision must not change when a model does.
- Alembic's own operations only (op.create_table, op.create_index, op.execute, ...), never those of our plugin
  (op.create_vector_index, op.set_vector_storage, ...): what they do may change with a release.
- Everything works offline too (`pgcorpus migrate sql`), so nothing is read from the database in Python.
- No percent sign in SQL: online and offline disagree on whether it is doubled.
- One sub-command per ALTER, a name for every constraint, no backfill in the same revision as its column.
- No table is locked for long. ADD COLUMN without a volatile default; a constraint NOT VALID, validated in a
  revision of its own; a change of type that rewrites the table as a new column, a backfill and a swap.
- An index on a table with data: a revision of its own, an autocommit block, CONCURRENTLY, and an invalid
  leftover of the same name replaced.
- No data are lost on the way up: what is dropped or narrowed has been unused for a release.
- downgrade() takes back all that upgrade() did, and no more; tests walk every step up and down, over data.
- Names of the extension are found wherever it lives: see SEE_EXTENSION in 0002_tables.py.
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
