"""Alembic loads the plugin in every process of the host: it has to be light, and cannot fail for want of a driver."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
for name in ("psycopg", "psycopg2", "numpy", "pgvector"):
    sys.modules[name] = None
"""

# By hand where Alembic does not do it by itself.
LOADED = """
import sys, alembic
from pgcorpus import autogenerate
from alembic import op
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_alembic_is_imported_where_no_driver_can_be() -> None:
    assert python(f"{WITHOUT}{LOADED}print(op.create_vector_index.__name__)") == "create_vector_index"


@pytest.mark.parametrize("setup", ["", "autogenerate.setup()"])
def test_nothing_heavy_is_imported_with_alembic(setup: str) -> None:
    heavy = {"psycopg", "psycopg2", "numpy", "pgvector", "pgcorpus.models", "pgcorpus.autogenerate.building"}
    assert python(f"{LOADED}{setup}\nprint({heavy!r} & sys.modules.keys())") == "set()"


def test_an_operation_prints_where_no_driver_can_be_imported() -> None:
    code = """
import io
from alembic.migration import MigrationContext
from alembic.operations import Operations
output = io.StringIO()
context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": output})
with Operations.context(context):
    op.create_vector_index("ix", "items", "embedding", concurrently=False)
print(output.getvalue())
"""
    assert "CREATE INDEX ix ON items USING hnsw" in python(f"{WITHOUT}{LOADED}{code}")
