"""Searches of the hard set at several settings: by ``ef_search``, and under filters by selectivity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import mean

from benchmarks.comparison.client import WorkerError
from benchmarks.comparison.measure import units_of
from benchmarks.comparison.measured import Found
from benchmarks.comparison.rounds import Rounds, Unit, run_rounds
from benchmarks.comparison.state import Run
from benchmarks.curves import Answers, compare, point
from benchmarks.terms import SELECTIVITIES, K

# As ann-benchmarks draws it: from where recall is poor to where it cannot be told from 1.
EF_SEARCH = (10, 20, 40, 80, 120, 160, 240, 400, 800)
WARM_UP = 3
SWEEP_ROUNDS, SWEEP_QUERIES = 5, 40
FILTER_ROUNDS, FILTER_QUERIES = 5, 10


def curves(run: Run) -> None:
    """Measure recall against queries a second of one client, over ``ef_search``."""
    rounds = _in_rounds(run, list(_by_ef_search(run)), None, "recall by ef_search", SWEEP_ROUNDS, SWEEP_QUERIES)
    for key, answers in rounds.values.items():
        run.results.curves.setdefault(key.peer, []).append(point(answers, ef_search=int(key.mode)))


def filtered(run: Run) -> None:
    """Find what each peer finds under filters of each selectivity."""
    for field in SELECTIVITIES:
        rounds = _in_rounds(
            run, list(units_of(run, "hard", {})), field, f"filter {field}", FILTER_ROUNDS, FILTER_QUERIES
        )
        for key, answers in rounds.values.items():
            wanted = mean(map(len, run.truth["hard", field]))
            there = point(answers, selectivity=SELECTIVITIES[field], wanted=wanted)
            run.results.by_selectivity.setdefault(key.peer, {})[field] = there
            run.results.filtered[key.peer, field] = Found(there["recall"], K * there["rows"] / wanted, there["p50_ms"])


def _by_ef_search(run: Run) -> Iterator[Unit]:
    for unit in units_of(run, "hard", {}):
        for ef_search in EF_SEARCH:
            yield replace(unit, target={**unit.target, "ef_search": ef_search}, label=str(ef_search))


def _in_rounds(
    run: Run, units: Sequence[Unit], field: str | None, text: str, rounds: int, queries: int
) -> Rounds[Answers]:
    """Ask each unit other queries in each round, after a few that count for nothing."""

    def told(unit: Unit, exc: WorkerError) -> None:
        run.report.warn(f"{unit.client.name}, {text}: {exc}")

    warm = run_rounds(units, range(1), _asker(run, field, WARM_UP), told)
    usable = [unit for unit in units if unit.key in warm.values]
    tracked = run.report.track(range(min(rounds, run.options.rounds)), text)
    return run_rounds(usable, tracked, _asker(run, field, queries), told)


def _asker(run: Run, field: str | None, count: int) -> Callable[[Unit, int], Answers]:
    truth = run.truth["hard", field]

    def visit(unit: Unit, number: int) -> Answers:
        first = number * count
        asked = {"target": unit.target, "data": "hard", "mode": unit.mode, "field": field}
        answer = unit.client.ask("find", first=first, count=count, **asked)
        return compare(answer["numbers"], truth[first : first + count], answer["seconds"])

    return visit
