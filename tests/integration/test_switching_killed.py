"""A switch that is killed goes on where it was, and nothing is lost or paid for twice."""

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

from pgcorpus.database import session_factory
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.switching import ModelSwitch, Stage
from tests.support.switching import (
    KEPT,
    assert_embedded_by,
    contents,
    embedder_of,
    is_waiting,
    make_wiki,
)
from tests.support.waiting import wait_until


@pytest.fixture
def wiki(engine: Engine) -> Engine:
    """A database with a collection of the old model."""
    make_wiki(engine)
    return engine


PROGRAM = """
    import os, sys, time
    from pgcorpus.database import create_engine
    from pgcorpus.services.switching import LateWrites, ModelSwitch, Stage, filling
    from tests.support.embedder import CountingEmbedder

    url, log, stop = sys.argv[1:]
    filling.PAGE = 16
    calls = []

    def before(texts):
        calls.append(texts)
        with open(log, "a") as file:
            file.writelines(text + "\\n" for text in texts)
        if stop == "third page" and len(calls) == 3:
            print("there", flush=True)
            time.sleep(60)

    def told(progress):
        if stop == progress.stage.value:
            print("there", flush=True)

    ModelSwitch(create_engine(url), CountingEmbedder("new", 12, before=before), "wiki", progress=told).run(sample=0)
"""


@contextmanager
def killed_when_there(url: URL, log: Path, stop: str) -> Iterator[None]:
    arguments = [url.render_as_string(hide_password=False), str(log), stop]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    yield
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_a_switch_killed_while_it_embeds_goes_on_where_it_was(wiki: Engine, url: URL, tmp_path: Path) -> None:
    with killed_when_there(url, tmp_path / "texts", "third page"):
        pass
    paid = (tmp_path / "texts").read_text().splitlines()
    assert len(paid) == 48
    again = embedder_of("new")
    ModelSwitch(wiki, again, "wiki").run(sample=0)
    assert sorted(again.texts) == sorted(set(KEPT) - set(paid[:32]))  # the last page was under way
    assert_embedded_by(wiki, embedder_of("new"))
    assert contents(wiki) == {name: name for name in KEPT}


def test_a_switch_killed_while_it_waits_for_the_flip_goes_on(wiki: Engine, url: URL, tmp_path: Path) -> None:
    with session_factory(wiki)() as slow:
        DocumentRepository(slow, "wiki").update_meta({"key": KEPT[0]}, {"slow": True})
        with killed_when_there(url, tmp_path / "texts", Stage.FLIPPING.value):
            wait_until(lambda: is_waiting(wiki))
        slow.commit()
    assert_embedded_by(wiki, embedder_of("old"))
    again = embedder_of("new")
    ModelSwitch(wiki, again, "wiki").run(sample=0)
    assert again.texts == []
    assert_embedded_by(wiki, embedder_of("new"))
