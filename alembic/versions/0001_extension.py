"""The schema and the pgvector extension.

The extension is created only where there is none, in whatever schema; a database administrator may have put it
into one of its own. A comment on it remembers that it was ours to create, and so ours to drop.

Revision ID: pgcorpus_0001
"""

from __future__ import annotations

from alembic import op

revision = "pgcorpus_0001"
down_revision = None
branch_labels = ("pgcorpus",)  # for a host with our folder in its version_locations: `alembic upgrade pgcorpus@head`
depends_on = None

# SQLSTATE PGC01 marks an error about the extension.
CREATE = """
DO $$
DECLARE
    installed text := (SELECT extversion FROM pg_extension WHERE extname = 'vector');
    -- Never into our own schema, which is first on the path of a role called pgcorpus.
    home text := (
        SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
        WHERE name <> 'pgcorpus' ORDER BY place LIMIT 1
    );
BEGIN
    IF installed IS NULL THEN
        EXECUTE 'CREATE EXTENSION IF NOT EXISTS vector SCHEMA ' || quote_ident(coalesce(home, 'public'));
        COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods (created by pgcorpus)';
    ELSIF (string_to_array(installed, '.')::int[] < ARRAY[0, 8, 0]) THEN
        RAISE EXCEPTION USING ERRCODE = 'PGC01',
            MESSAGE = 'the pgvector extension is ' || installed || '; 0.8.0 or later is needed (iterative scans)',
            HINT = 'Install a newer pgvector on the server, then run in this database: ALTER EXTENSION vector UPDATE;';
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION USING ERRCODE = 'PGC01',
            MESSAGE = 'the role ' || current_user || ' may not create the pgvector extension',
            HINT = 'Ask a superuser to run in the database ' || current_database() || ': CREATE EXTENSION vector;';
    WHEN feature_not_supported OR undefined_file THEN
        RAISE EXCEPTION USING ERRCODE = 'PGC01',
            MESSAGE = 'the server has no pgvector extension to create',
            HINT = 'Install pgvector on the server (Debian: postgresql-NN-pgvector; managed: enable "vector").';
END $$
"""

# Without CASCADE: what the host built on the extension keeps it.
DROP_IF_OURS = """
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_extension e
        WHERE e.extname = 'vector' AND strpos(obj_description(e.oid, 'pg_extension'), 'created by pgcorpus') > 0
    ) THEN
        DROP EXTENSION vector;
    END IF;
EXCEPTION
    WHEN dependent_objects_still_exist OR insufficient_privilege THEN
        RAISE NOTICE 'the extension vector is in use and stays';
END $$
"""


def upgrade() -> None:
    # Not CREATE SCHEMA IF NOT EXISTS: that asks for the privilege even where the schema is there.
    op.execute("DO $$ BEGIN IF to_regnamespace('pgcorpus') IS NULL THEN CREATE SCHEMA pgcorpus; END IF; END $$")
    op.execute(CREATE)


def downgrade() -> None:
    # The schema stays: it holds Alembic's version table.
    op.execute(DROP_IF_OURS)
