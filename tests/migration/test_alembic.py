"""The same history through the `alembic` command of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy.engine import URL

from pgcorpus import schema

CHECKOUT = Path(__file__).parents[2]


def alembic(url: URL, *arguments: str) -> str:
    environment = os.environ | {"PGCORPUS_DATABASE_URL": url.render_as_string(hide_password=False)}
    process = subprocess.run(
        [sys.executable, "-m", "alembic.config", *arguments],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_upgrade_check_downgrade_upgrade(empty_url: URL) -> None:
    for _ in range(2):
        alembic(empty_url, "upgrade", "head")
        assert f"{schema.head()} (head)" in alembic(empty_url, "current")
        assert "No new upgrade operations" in alembic(empty_url, "check")
        alembic(empty_url, "downgrade", "base")


def test_the_url_can_be_an_argument(empty_url: URL, url: URL) -> None:
    named = f"url={empty_url.render_as_string(hide_password=False)}"
    alembic(url, "-x", named, "upgrade", "head")
    assert schema.head() in alembic(empty_url, "current")


def test_offline_sql_asks_no_database(empty_url: URL) -> None:
    nowhere = empty_url.set(host="127.0.0.1", port=1, query={})
    assert "CREATE INDEX CONCURRENTLY" in alembic(nowhere, "upgrade", "head", "--sql")
