"""A build that is interrupted leaves nothing, and what one that is killed leaves the next one finishes."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus.services.indexes import Outcome, build_index, list_indexes, rebuild_index, wanted_index
from tests.support.indexed import fill, indexes, is_waiting, oid, writing
from tests.support.waiting import wait_until

MAIN = "ix_documents_embedding"
HALFVEC = f"{MAIN}_halfvec"

# A killed client's build goes on until the server looks whether it is there.
PROGRAM = """
    import signal, sys, time
    from pgcorpus.autogenerate import session, site
    from pgcorpus.cli.main import _terminate
    from pgcorpus.database import create_engine
    from pgcorpus.services.indexes import build_index, rebuild_index, wanted_index

    url, what, stop = sys.argv[1:]
    session.CLIENT_CHECK_INTERVAL = "50ms"
    signal.signal(signal.SIGTERM, _terminate)
    swap = site.Site.swap

    def stopped(self, *names):
        if stop == "after the swap":
            swap(self, *names)
        print("there", flush=True)
        time.sleep(60)

    if "swap" in stop:
        site.Site.swap = stopped
    engine = create_engine(url)
    if what == "build":
        build_index(engine, wanted_index("halfvec"))
    else:
        rebuild_index(engine, "ix_documents_embedding", options={"m": 8})
"""


@pytest.fixture
def filled(engine: Engine) -> Engine:
    fill(engine, big=64)
    return engine


@contextmanager
def started(url: URL, what: str, stop: str) -> Iterator[subprocess.Popen[str]]:
    arguments = [url.render_as_string(hide_password=False), what, stop]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("what", "number", "code"),
    [("build", signal.SIGTERM, 143), ("rebuild", signal.SIGINT, -signal.SIGINT)],
    ids=["build, SIGTERM", "rebuild, Ctrl-C"],
)
def test_an_interrupted_build_leaves_nothing(
    filled: Engine, url: URL, what: str, number: signal.Signals, code: int
) -> None:
    before = oid(filled, MAIN)
    with started(url, what, "") as process:
        with writing(filled):
            wait_until(lambda: is_waiting(filled))
            process.send_signal(number)
            # It cancels the build; to drop what is there of it takes the end of those that write.
            wait_until(lambda: not is_waiting(filled) or is_waiting(filled, "DROP INDEX CONCURRENTLY%"))
        assert process.wait(30) == code
    assert indexes(filled) == {MAIN: True}
    assert oid(filled, MAIN) == before


def test_what_a_killed_build_leaves_is_replaced(filled: Engine, url: URL) -> None:
    with writing(filled):
        with started(url, "build", "") as process:
            wait_until(lambda: is_waiting(filled))
            process.kill()
            process.wait()
        wait_until(lambda: not is_waiting(filled))
    assert indexes(filled) == {MAIN: True, HALFVEC: False}
    assert build_index(filled, wanted_index("halfvec")).outcome is Outcome.BUILT
    assert indexes(filled) == {MAIN: True, HALFVEC: True}


@pytest.mark.parametrize("stop", ["while building", "before the swap", "after the swap"])
def test_a_rebuild_killed_at_any_point_is_finished_by_the_next(filled: Engine, url: URL, stop: str) -> None:
    with started(url, "rebuild", stop) as process:
        if stop == "while building":
            with writing(filled):
                wait_until(lambda: is_waiting(filled))
                process.kill()
                wait_until(lambda: not is_waiting(filled))
        else:
            assert process.stdout is not None
            assert process.stdout.readline() == "there\n"
            process.kill()
    assert indexes(filled)[MAIN]  # whatever happened, searches have one
    left = len(indexes(filled)) - 1
    assert left == 1
    made = oid(filled, f"{MAIN}__new")
    rebuild_index(filled, MAIN, options={"m": 8})
    assert indexes(filled) == {MAIN: True}
    assert [each.options["m"] for each in list_indexes(filled)] == [8]
    if stop == "before the swap":
        assert oid(filled, MAIN) == made  # what was built is not built again
