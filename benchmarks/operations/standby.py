"""A hot standby that searches, is tuned, and is in the way of the replay."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from benchmarks.operations.site import (
    ASKED,
    COLLECTION,
    HASTY,
    Site,
    answers,
    ask,
    codes,
    measured,
    require_index,
    same,
    say,
    wait_until,
)
from pgcorpus.database import create_engine
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.embedded.binaries import run_as
from pgcorpus.embedded.settings import ROLE
from pgcorpus.faults import sqlstate
from pgcorpus.services.calibrating import Wanted, calibrate
from pgcorpus.services.indexes import build_index, drop_index, wanted_index


def standby(site: Site) -> None:
    """A hot standby by pg_basebackup: searches, what the doctor says, lag of a build, conflicts."""
    require_index(site)
    exact = answers(site.engine, site.data.queries[:ASKED], exact=True)
    with replica(site, {"max_standby_streaming_delay": "500ms"}) as engine:
        wait_until(lambda: caught_up(site, engine))
        found = [answers(each, site.data.queries[:ASKED], **HASTY) for each in (site.engine, engine)]
        say("recall on the primary and on the standby", *[same(each, exact) for each in found])
        say("the doctor on the standby", codes(engine))
        calibrate(engine, COLLECTION, wanted=Wanted(sample=20, filters=[], rate=0), store_in=site.engine, fresh=True)
        wait_until(lambda: caught_up(site, engine))
        chosen = answers(engine, site.data.queries[:ASKED], recall=0.95)
        say("tuned there, stored on the primary: recall asked for .95", same(chosen, exact))
        with measured(site, "build halfvec on the primary"):
            kept = build_index(site.engine, wanted_index("halfvec"))
        name = f"pgcorpus.{kept.name}"
        seconds = wait_until(lambda: ask(engine, f"SELECT to_regclass('{name}') IS NOT NULL"))
        say("the standby has it", f"{seconds:.2f} s later")
        drop_index(site.engine, kept.name)
        say("a read of the standby while VACUUM removes what it may see", conflict(site, engine))
        ask(engine, "ALTER SYSTEM SET hot_standby_feedback = on")
        ask(engine, "SELECT pg_reload_conf()")
        held = "SELECT count(backend_xmin) FROM pg_stat_replication"
        with engine.connect() as connection:
            connection.execution_options(isolation_level="REPEATABLE READ").execute(text("SELECT 1")).all()
            wait_until(lambda: ask(site.engine, held))
        say("the same with hot_standby_feedback", conflict(site, engine))


@contextmanager
def replica(site: Site, settings: Mapping[str, str]) -> Iterator[Engine]:
    """Start a standby that streams from the server."""
    other = EmbeddedServer(site.folder / "standby", {**settings, "cluster_name": "standby"})
    with other:
        pass
    shutil.rmtree(other.data_dir / "pgdata")
    start, made = time.perf_counter(), site.own_folder("base") / "pgdata"
    program = [str(site.server.binary("pg_basebackup")), "-h", str(site.socket), "-U", ROLE, "-R", "-X", "stream",
               "-c", "fast", "-D", str(made)]  # fmt: skip
    run_as(site.account, program, made.parent)
    made.rename(other.data_dir / "pgdata")
    say("pg_basebackup", f"{time.perf_counter() - start:.1f} s")
    with other:
        engine = create_engine(other.url)
        yield engine
        engine.dispose()


def caught_up(site: Site, engine: Engine) -> bool:
    """Say whether a standby has all that the primary has written."""
    lsn = ask(site.engine, "SELECT pg_current_wal_lsn()")
    return bool(ask(engine, f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn"))


def conflict(site: Site, engine: Engine) -> str:
    """Read twice in one transaction of the standby, and have rows removed in between; return what comes of it."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        count = text("SELECT count(*) FROM pgcorpus.documents")
        connection.execute(count).all()
        for _ in range(3):  # an autovacuum of the primary may keep the rows of the first
            ask(site.engine, "UPDATE pgcorpus.documents SET position = position + 1 WHERE id % 40 = 0")
            ask(site.engine, "VACUUM pgcorpus.documents")
        wait_until(lambda: caught_up(site, engine))
        try:
            connection.execute(count).all()
        except DBAPIError as exc:
            return f"{sqlstate(exc)} {str(exc.orig).splitlines()[0]}"
    return "it reads on"
