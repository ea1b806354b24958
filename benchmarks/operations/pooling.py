"""Searches through PgBouncer."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import URL, make_url

from benchmarks.operations.site import (
    ASKED,
    Site,
    answers,
    codes,
    require_index,
    same,
    say,
    wait_until,
)
from pgcorpus.database import create_engine
from pgcorpus.embedded.settings import ROLE

BOUNCER = """
[databases]
pgcorpus = host={socket} port=5432 dbname=pgcorpus user={role}
[pgbouncer]
unix_socket_dir = {folder}
listen_addr =
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = {ignored}
logfile = {folder}/pgbouncer.log
pidfile = {folder}/pgbouncer.pid
"""


def pooler(site: Site) -> None:
    """The same work through PgBouncer in transaction mode, with the engine's switch for it and without."""
    require_index(site)
    for ignored in ("extra_float_digits", "extra_float_digits, options"):
        with bouncer(site, ignored) as url:
            for switch in (True, False):
                what = f"ignore_startup_parameters = {ignored}; pgbouncer={switch}"
                engine = create_engine(url, pgbouncer=switch, pool_size=4)
                say(what, _through(site, engine))
                engine.dispose()


@contextmanager
def bouncer(site: Site, ignored: str) -> Iterator[URL]:
    """Run PgBouncer before the server, and yield where it is."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise FileNotFoundError("there is no pgbouncer: apt-get install pgbouncer")
    with tempfile.TemporaryDirectory(dir=site.folder) as name:
        folder = Path(name)
        config = folder / "pgbouncer.ini"
        config.write_text(BOUNCER.format(socket=site.socket, folder=folder, role=ROLE, ignored=ignored))
        for path in (folder, config):
            site.account.give(path)
        process = subprocess.Popen([program, "-q", str(config)], stderr=subprocess.DEVNULL, **site.account.identity())
        try:
            wait_until((folder / ".s.PGSQL.6432").exists)
            yield make_url(site.server.url).set(query={"host": str(folder), "port": "6432"})
        finally:
            process.terminate()
            process.wait()


def _through(site: Site, engine: Engine) -> object:
    """Search in four threads, so that server processes are handed around; return recall, and what the doctor says."""
    queries = site.data.queries[:ASKED]
    exact = answers(site.engine, queries, exact=True)
    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda _: answers(engine, queries), range(4)))
        return [same(each, exact) for each in found], codes(engine)
    except Exception as exc:  # noqa: BLE001 -- what is measured is how it fails
        return f"{type(exc).__name__}: {str(exc).splitlines()[0]}"
