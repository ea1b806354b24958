"""One run: the tables, their indexes in turn, and their searches in turn.

Each form has a table of its own with the same rows, so that all are there at once and take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks import machine
from benchmarks.curves import Point, point
from benchmarks.data import QUERIES, Vectors, draw, make_rows, truth
from benchmarks.forms.kinds import KINDS, Kind, lists_for
from benchmarks.noise import interval, shuffled
from benchmarks.own import Built, Own, Search, ask_in_rounds
from benchmarks.progress import Report
from benchmarks.server import Server, private_folder, private_server
from benchmarks.terms import K, default_ef_search

DATABASE = "forms"
HARD = "hard"
BUILDS, ROUNDS = 2, 5


def run(rows: int, dimensions: Sequence[int], report: Report, builds: int = BUILDS) -> dict[str, Any]:
    """Measure all forms on hard data of each dimension, on a private server.

    Args:
        rows: How many.
        dimensions: Of the vectors, one set each.
        report: Who is told of the progress.
        builds: How often each index is built, in turn.
    """
    with private_folder() as folder, private_server(folder, default_ef_search()) as server:
        server.add_database(DATABASE)
        sets = {str(each): _measure_set(server, rows, each, report, builds) for each in dimensions}
        with server.connection(DATABASE) as connection:
            described = machine.describe(connection)
    settings = {"rows": rows, "queries": QUERIES, "k": K, "builds": builds, "lists": lists_for(rows)}
    return {"machine": described, "settings": settings, "results": sets}


def _measure_set(server: Server, rows: int, dimensions: int, report: Report, builds: int) -> dict[str, Any]:
    report.say(f"{dimensions} dimensions: drawing {rows:,} vectors, loading {len(KINDS)} tables")
    vectors = draw(HARD, rows, dimensions)
    tables = {name: _table(server, name, dimensions) for name in KINDS}
    for table in tables.values():
        table.load(make_rows(vectors.rows), rows)
    built: dict[str, list[Built]] = {name: [] for name in KINDS}
    for number in report.track(range(builds), f"{dimensions} dimensions: building"):
        for name in shuffled(list(KINDS), number):
            built[name].append(_build(tables[name], KINDS[name], rows))
    report.say(f"{dimensions} dimensions: searching")
    points = _points(tables, vectors, rows)
    for table in tables.values():
        table.drop()
    return {name: _figures(KINDS[name], built[name], points[name]) for name in KINDS}


def _table(server: Server, name: str, dimensions: int) -> Own:
    return Own(server, DATABASE, f"{name.lower().replace(' ', '_')}_{dimensions}", dimensions)


def _build(table: Own, kind: Kind, rows: int) -> Built:
    return table.build(kind.method, kind.form, lists_for(rows) if kind.method == "ivfflat" else None)


def _points(tables: Mapping[str, Own], vectors: Vectors, rows: int) -> dict[str, list[Point]]:
    """Return the points of each form, all settings of all forms taking turns."""
    settings = {
        f"{name} {number}": (name, setting)
        for name, kind in KINDS.items()
        for number, setting in enumerate(kind.settings(lists_for(rows)))
    }
    with ExitStack() as stack:
        held = {name: stack.enter_context(table.searches()) for name, table in tables.items()}
        searches: dict[str, Search] = {
            key: held[name].make(form=KINDS[name].form, **setting) for key, (name, setting) in settings.items()
        }
        answers = ask_in_rounds(searches, vectors.queries, truth(vectors.rows, vectors.queries), ROUNDS)
        points: dict[str, list[Point]] = {name: [] for name in tables}
        for key, (name, setting) in settings.items():
            indexed = held[name].asks_index(searches[key], vectors.queries[:3])
            points[name].append(point(answers[key], **setting, indexed=indexed))
    return points


def _figures(kind: Kind, built: Sequence[Built], points: list[Point]) -> dict[str, Any]:
    return {
        "method": kind.method,
        "form": kind.form.value,
        "build_seconds": interval([each.seconds for each in built]),
        "bytes": built[-1].bytes,
        "notice": next((each.notice for each in built if each.notice), None),
        "points": points,
    }
