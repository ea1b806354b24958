"""The benchmarks run: a few hundred rows through the forms of an index and the ladder of sizes."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

CHECKOUT = Path(__file__).parents[2]

# Each part starts a server of its own.
pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """Load the benchmark's modules by name: they are no part of the installed package."""
    sys.path.append(str(CHECKOUT))
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    sys.path.remove(str(CHECKOUT))


@pytest.fixture
def said() -> io.StringIO:
    """What a run says."""
    return io.StringIO()


@pytest.fixture
def report(bench: Any, said: io.StringIO) -> Any:
    return bench("progress").Report(Console(file=said, width=200))


def test_every_form_is_built_and_searched(bench: Any, report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forms, kinds = bench("forms.run"), bench("forms.kinds")
    for name, settings in {"EF_SEARCH": (10, 160), "RERANK": (20, 200), "PROBES": (1,)}.items():
        monkeypatch.setattr(kinds, name, settings)
    found = forms.run(400, (16,), report, builds=2)["results"]["16"]
    assert found.keys() == kinds.KINDS.keys()
    for form in found.values():
        assert all(0.2 < point["recall"] <= 1 and point["rows"] == 10 for point in form["points"])
    assert found["HNSW binary"]["bytes"] < found["HNSW halfvec"]["bytes"] < found[kinds.FULL]["bytes"]
    assert bench("forms.acceptance").reference(found)["recall"] > 0.95


def test_a_size_is_measured_once_and_only_within_the_budget(
    bench: Any, report: Any, said: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale, size, results = bench("scale.run"), bench("scale.size"), bench("results")
    for name, few in {"EF_SEARCH": (160,), "QUERIES": 10, "EXACT_QUERIES": 2}.items():
        monkeypatch.setattr(size, name, few)
    scale.run(scale.Ladder((500,), dimensions=16), tmp_path, report)
    scale.run(scale.Ladder((500, 1_000_000), dimensions=16, budget=60.0), tmp_path, report)
    (measured,) = results.load(tmp_path)["scale"]["results"]
    assert (measured["rows"], measured["notice"], measured["points"][0]["recall"]) == (500, None, 1.0)
    assert measured["build_memory"] > measured["index_bytes"] > 0
    assert "500 x 16: measured before" in said.getvalue()
    assert "1,000,000 x 16 and more left out" in said.getvalue()
