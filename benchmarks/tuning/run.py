"""What a calibration gains: searches for a recall of .98, at the calibrated setting and at the default one, in turn.

A collection is calibrated with queries that are made of its own documents, and then asked others, of the same
distribution, that the calibration never saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from benchmarks import machine
from benchmarks.curves import Answers, point
from benchmarks.data import KINDS, QUERIES, Array, draw, make_rows, truth
from benchmarks.noise import interval
from benchmarks.own import ask_in_rounds
from benchmarks.progress import Report
from benchmarks.server import OWN_TABLE, Server, private_folder, private_server
from benchmarks.terms import COLLECTION, K, default_ef_search
from pgcorpus.database import autocommit, create_engine, session_factory
from pgcorpus.repositories import DocumentRepository, Draft
from pgcorpus.services.calibrating import Wanted, calibrate

TARGET = 0.98
ROUNDS = 10
DEFAULT, TUNED = "default", "tuned"


def run(rows: int, report: Report) -> dict[str, Any]:
    """Measure both sets on a private server.

    Args:
        rows: In each set.
        report: Who is told of the progress.
    """
    with private_folder() as folder, private_server(folder, default_ef_search()) as server:
        sets = {name: _measure_set(server, name, rows, folder, report) for name in KINDS}
        with server.connection("hard") as connection:
            described = machine.describe(connection)
    settings = {"rows": rows, "queries": QUERIES, "k": K, "target": TARGET, "ef_search": default_ef_search()}
    return {"machine": described, "settings": settings, "results": sets}


def _measure_set(server: Server, name: str, rows: int, folder: Path, report: Report) -> dict[str, Any]:
    report.say(f"{name} set: drawing {rows:,} vectors, filling and indexing")
    vectors = draw(name, rows)
    server.add_database(name)
    engine = create_engine(server.target(name).url("psycopg"))
    _fill(engine, vectors.rows)
    server.build_index(name, OWN_TABLE)
    report.say(f"{name} set: calibrating")
    start = time.perf_counter()
    wanted = Wanted(target=TARGET, k=K, rate=0, filters=())
    chosen = calibrate(engine, COLLECTION, wanted=wanted, folder=folder / "calibrating" / name, fresh=True).chosen()
    seconds = time.perf_counter() - start
    report.say(f"{name} set: searching for a recall of {TARGET} and at the default")
    answers = _ask(engine, vectors.queries, truth(vectors.rows, vectors.queries))
    engine.dispose()
    return {
        "calibrating_seconds": seconds,
        "setting": {key: value for key, value in chosen.setting._asdict().items() if value} if chosen else None,
        DEFAULT: point(answers[DEFAULT]),
        TUNED: point(answers[TUNED]),
        "ratio": interval([one.rate / other.rate for one, other in _pairs(answers)]),
    }


def _fill(engine: Engine, vectors: Array) -> None:
    with session_factory(engine).begin() as session:
        drafts = (Draft(str(row.number), row.content, row.metadata, row.vector) for row in make_rows(vectors))
        DocumentRepository(session, COLLECTION).bulk_load(drafts, index="keep")


def _ask(engine: Engine, queries: Array, wanted: list[list[int]]) -> dict[str, list[Answers]]:
    with session_factory(autocommit(engine))() as session:
        repository = DocumentRepository(session, COLLECTION)

        def search(**options: Any) -> Callable[[Array], list[int]]:
            return lambda query: [int(hit.document.key) for hit in repository.search(query, K, **options)]

        return ask_in_rounds({DEFAULT: search(), TUNED: search(recall=TARGET)}, queries, wanted, ROUNDS)


def _pairs(answers: dict[str, list[Answers]]) -> list[tuple[Answers, Answers]]:
    """The times of the default and of the tuned search in the same round: rates the other way round."""
    return list(zip(answers[DEFAULT], answers[TUNED], strict=True))
