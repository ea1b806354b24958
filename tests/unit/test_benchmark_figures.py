"""The benchmarks' arithmetic is right: intervals, curves, growth, what is drawn, kept, and written into the docs."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """Load the benchmark's modules by name: they are no part of the installed package."""
    sys.path.append(str(CHECKOUT))
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    sys.path.remove(str(CHECKOUT))


def at(recall: float, qps: float, **more: Any) -> dict[str, Any]:
    """Make a point of a curve, whose time is what its rate says."""
    point = {"recall": recall, "qps": qps, "qps_low": qps, "qps_high": qps, "p50_ms": 1000 / qps, "rows": 10.0}
    return point | {"indexed": True} | more


# Noise


@pytest.mark.parametrize(
    ("rounds", "low", "high"),
    # The tables of Conover, section 3.2: of 24 rounds the 7th and the 18th, of 10 the 2nd and the 9th, of 6 all.
    [(24, 7, 18), (10, 2, 9), (6, 1, 6), (5, 1, 5), (1, 1, 1)],
)
def test_the_interval_of_a_median_is_that_of_the_sign_test(bench: Any, rounds: int, low: int, high: int) -> None:
    found = bench("noise").interval([float(number) for number in range(rounds, 0, -1)])
    assert found == ((rounds + 1) / 2, low, high)


def test_a_difference_that_the_interval_holds_is_noise(bench: Any) -> None:
    noise = bench("noise")
    assert not noise.interval([0.9, 1.0, 1.1, 1.2, 0.8, 1.0]).tells_from(1)
    assert noise.interval([1.2, 1.3, 1.1, 1.2, 1.4, 1.1]).tells_from(1)


def test_percentiles_are_values_that_were_measured(bench: Any) -> None:
    percentile = bench("noise").percentile
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.95), percentile(values, 1)) == (51, 96, 100)
    assert percentile([3.0], 0.95) == 3


def test_recall_counts_what_there_was_to_find(bench: Any) -> None:
    answers = bench("curves")
    found = answers.compare([[1, 2, 9], []], [[1, 2, 3, 4], [5]], [0.5, 0.25])
    point = answers.point([found, found], ef_search=40)
    assert (found.recalls, found.rows, found.rate) == ([0.5, 0.0], [3, 0], pytest.approx(2 / 0.75))
    assert (point["ef_search"], point["recall"], point["rows"], point["p95_ms"]) == (40, 0.25, 1.5, 500)


# Curves


def test_the_line_has_what_nothing_beats_in_both(bench: Any) -> None:
    best, beaten, slow = at(0.9, 500), at(0.8, 400), at(0.99, 100)
    assert bench("curves").pareto([slow, beaten, best, at(0.99, 90)]) == [best, slow]


def test_a_figure_at_a_recall_is_read_between_two_points(bench: Any) -> None:
    at_recall = bench("curves").at_recall
    points = [at(0.9, 400), at(0.98, 100), at(0.94, 50)]
    assert at_recall(points, 0.94, "qps") == pytest.approx(200)
    assert at_recall(points, 0.98) == pytest.approx(10)
    assert at_recall(points, 0.5, "qps") == 400
    assert at_recall(points, 0.99) is None
    assert at_recall([], 0.5) is None


def test_a_smaller_form_is_accepted_at_its_fastest_setting_within_the_margin(bench: Any) -> None:
    forms = bench("forms.acceptance")
    found = {
        forms.FULL: {"method": "hnsw", "points": [at(0.80, 900, ef_search=40), at(0.99, 100, ef_search=160)]},
        "HNSW binary": {
            "method": "hnsw",
            "points": [at(0.979, 300, rerank=100), at(0.981, 200, rerank=200), at(1.0, 90, rerank=400)],
        },
        "HNSW halfvec": {"method": "hnsw", "points": [at(0.97, 900, ef_search=160)]},
        "IVFFlat vector": {"method": "ivfflat", "points": [at(1.0, 999, probes=9)]},
    }
    accepted = forms.acceptance(found)
    assert accepted.keys() == {"HNSW binary", "HNSW halfvec"}
    assert (accepted["HNSW binary"]["rerank"], accepted["HNSW halfvec"]) == (200, None)


def test_what_an_exact_scan_answered_is_not_the_forms(bench: Any) -> None:
    forms = bench("forms.acceptance")
    scanned = at(1.0, 900, rerank=20, indexed=False)
    full = {"method": "hnsw", "points": [at(0.99, 100, ef_search=160)]}
    assert forms.acceptance({forms.FULL: full, "HNSW binary": {"method": "hnsw", "points": [scanned]}}) == {
        "HNSW binary": None
    }


# Growth


def test_a_power_law_is_found_with_its_error(bench: Any) -> None:
    fit = bench("scale.growth").fit
    rows = [10_000, 30_000, 100_000, 300_000]
    exact = fit(rows, [2e-5 * size**1.1 for size in rows])
    assert (exact.exponent, exact.factor, exact.error) == pytest.approx((1.1, 2e-5, 0.0), abs=1e-9)
    assert exact.at(1_000_000) == pytest.approx(2e-5 * 1_000_000**1.1)
    noisy = fit(rows, [1.1, 2.7, 11.0, 27.0])
    # By hand, of the regression of the logarithms.
    x, y = np.log(rows), np.log([1.1, 2.7, 11.0, 27.0])
    slope = np.sum((x - x.mean()) * (y - y.mean())) / np.sum((x - x.mean()) ** 2)
    rest = y - y.mean() - slope * (x - x.mean())
    error = math.sqrt(np.sum(rest**2) / 2 / np.sum((x - x.mean()) ** 2))
    assert (noisy.exponent, noisy.error) == pytest.approx((slope, error))


def test_two_sizes_have_no_error_and_one_no_law(bench: Any) -> None:
    fit = bench("scale.growth").fit
    assert fit([1_000, 10_000], [1.0, 10.0]).error is None
    assert fit([1_000], [1.0]) is None


def test_the_next_size_is_expected_in_proportion_at_least(bench: Any) -> None:
    expected = bench("scale.growth").expected
    assert expected([], [], 10_000) == 0
    assert expected([10_000], [5.0], 30_000) == pytest.approx(15)
    assert expected([1_000, 10_000], [9.0, 10.0], 100_000) == pytest.approx(100)
    assert expected([1_000, 10_000], [1.0, 100.0], 100_000) == pytest.approx(10_000)


def test_a_larger_stream_begins_like_a_smaller_one_and_knows_its_nearest(bench: Any, tmp_path: Path) -> None:
    stream = bench("scale.stream")
    small, large = (stream.Stream(rows, 16, tmp_path / str(rows)) for rows in (50, stream.BLOCK + 20))
    first, *rest = large.blocks()
    assert np.array_equal(next(iter(small.blocks())), first[:50])
    assert [len(block) for block in rest] == [20]
    every, queries = np.concatenate([first, *rest]), large.queries(3)
    nearest = np.argsort(-(queries @ every.T), axis=1)[:, :10]
    assert large.truth(queries) == nearest.tolist()
    assert [row.number for row in small.passages()] == list(range(50))


def test_sizes_are_kept_apart_by_their_settings(bench: Any, tmp_path: Path) -> None:
    results = bench("results")
    for rows, settings in ((300, {"dimensions": 4}), (100, {"dimensions": 4}), (200, {"dimensions": 8})):
        results.save_size(tmp_path, rows, {}, settings, {"rows": rows})
    assert [each["rows"] for each in results.sizes(tmp_path, {"dimensions": 4})] == [100, 300]
    assert [each["rows"] for each in results.load(tmp_path)["scale"]["results"]] == [100, 300]


# The report

MACHINE = {
    "CPU": "<a processor>",
    "cores": 2,
    "memory": "8 GB",
    "kernel": "Linux 6",
    "PostgreSQL": "18",
    "pgvector": "0.8",
    "Python": "3.11",
    "libraries": "pgcorpus 1",
    "settings": {"fsync": "on"},
}


def kept(name: str, measured: Any) -> dict[str, Any]:
    """Make a part's results as they are kept, which is as JSON."""
    part = {"measured": "today", "machine": MACHINE, "settings": {"rows": 10, "ef_search": 160}, "results": measured}
    found: dict[str, Any] = json.loads(json.dumps({name: part}))
    return found


def form(method: str, *points: dict[str, Any]) -> dict[str, Any]:
    return {"method": method, "form": "vector", "build_seconds": [2, 1, 3], "bytes": 2**20, "points": points}


def size(rows: int) -> dict[str, Any]:
    figures = dict.fromkeys(("load_seconds", "build_seconds"), rows / 1e4) | {"index_bytes": rows * 2_000}
    points = [at(0.9, 400, ef_search=80), at(0.97, 1e7 / rows, ef_search=160)]
    return {"rows": rows, **figures, "build_added": None, "exact_ms": [rows / 1e3, 0, 0], "points": points}


@pytest.fixture
def found(bench: Any) -> dict[str, Any]:
    """Results of all parts."""
    full, binary = bench("forms.kinds").FULL, "HNSW binary"
    figures = bench("comparison.figures").figures_of("pgcorpus", bench("comparison.measured").Results())
    filtered = at(0.5, 100, selectivity=0.01)
    comparison = {
        "figures": {"pgcorpus": figures, "other": figures | {"skipped": "not here"}},
        "ratios": {"p50_ratio": [1.2, 1.1, 1.3], "cpu_ratio": None},
        "control": [1.01, 0.9, 1.1],
        "curves": {"pgcorpus": [at(0.9, 500, ef_search=40), at(0.99, 100, ef_search=160)]},
        "filters": {"pgcorpus": {"hundredth": filtered}},
        "ingest": {"pgcorpus": [12_000, 11_000, 13_000], "pgcorpus, upsert": [1, 1, 1]},
        "cpu_ms": {"pgcorpus": [0.3, 0.2, 0.4]},
    }
    forms = {
        "384": {
            full: form("hnsw", at(0.9, 500, ef_search=40), at(0.99, 100, ef_search=160)),
            binary: form("hnsw", at(0.985, 200, rerank=200)),
        }
    }
    way = at(0.98, 100)
    tuning = {"hard": {"setting": {"ef_search": 120}, "default": way, "tuned": way, "ratio": [0.8, 0.7, 0.9]}}
    return {
        **kept("comparison", comparison),
        **kept("forms", forms),
        **kept("tuning", tuning),
        **kept("scale", [size(10_000), size(30_000), size(100_000)]),
    }


def test_the_report_is_one_file_with_its_plots_in_it(bench: Any, found: dict[str, Any], tmp_path: Path) -> None:
    page = bench("reporting.page").write(found, tmp_path).read_text()
    assert page.count("<svg") == len(bench("reporting.plots").PLOTS) == len(list((tmp_path / "plots").glob("*.png")))
    assert not any(outside in page for outside in ("<script", "<link", "<img", 'src="'))
    assert "&lt;a processor&gt;" in page
    for told in ("1.10 to 1.30", "no: noise", "rerank 200", "n^1.00 ± 0.00", "0.80 (0.70 to 0.90)"):
        assert told in page


def test_a_report_of_one_part_has_that_only(bench: Any, found: dict[str, Any], tmp_path: Path) -> None:
    page = bench("reporting.page").write({"scale": found["scale"]}, tmp_path).read_text()
    assert page.count("<svg") == 1
    assert "<h2>Scale</h2>" in page
    assert "<h2>Filters</h2>" not in page


def test_figures_go_into_the_places_of_the_docs(bench: Any, found: dict[str, Any]) -> None:
    markdown = bench("reporting.markdown")
    text = "Before\n<!-- figures: {} -->\nold\n<!-- end -->\nafter"
    made = markdown.rendered({"forms": found["forms"]})
    filled = markdown.filled(text.format("accepted"), made)
    assert "| 384 | HNSW binary | rerank 200 | 0.985 |" in filled
    assert "old" not in filled
    assert filled.startswith("Before\n<!-- figures: accepted -->\n")
    assert filled.endswith("<!-- end -->\nafter")
    assert markdown.filled(filled, made) == filled
    assert markdown.filled(text.format("scale"), made) == text.format("scale")
    with pytest.raises(click.ClickException, match="there is no table speed"):
        markdown.filled(text.format("speed"), made)


def test_every_place_of_the_docs_has_a_table(bench: Any, found: dict[str, Any]) -> None:
    made = bench("reporting.markdown").rendered(found)
    docs = (CHECKOUT / "docs" / "benchmarks.md").read_text()
    filled = bench("reporting.markdown").filled(docs, made)
    assert all(f"<!-- figures: {name} -->" in filled for name in bench("reporting.tables").TABLES)
