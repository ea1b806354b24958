"""The schema does not stand in the way of the server's own upgrade."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import NullPool

from pgcorpus import schema
from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.embedded.settings import ROLE

pytestmark = pytest.mark.embedded


def test_pg_upgrade_accepts_the_schema(reachable_directory: Path) -> None:
    old, new = (EmbeddedServer(reachable_directory / name, {"fsync": "off"}) for name in ("old", "new"))
    with old:
        engine = create_engine(old.url, poolclass=NullPool)
        schema.upgrade(engine)
    with new:
        pass
    programs = old.binary("pg_upgrade").parent
    clusters = [str(reachable_directory / name / "pgdata") for name in ("old", "new")]
    owner = Path(clusters[0]).stat()
    work = reachable_directory / "upgrade"
    work.mkdir()
    os.chown(work, owner.st_uid, owner.st_gid)
    command = [
        str(programs / "pg_upgrade"), "--check", "-U", ROLE, "-s", str(work),
        "-b", str(programs), "-B", str(programs), "-d", clusters[0], "-D", clusters[1],
    ]  # fmt: skip
    identity = (
        {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": [owner.st_gid]} if os.geteuid() == 0 else {}
    )
    check = subprocess.run(
        command, cwd=work, env={"LC_ALL": "C"}, capture_output=True, text=True, check=False, **identity
    )  # type: ignore[call-overload]
    assert "Clusters are compatible" in check.stdout, check.stdout
