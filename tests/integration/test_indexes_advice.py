"""What an index will take is told before anything is done, and whether there should be one."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from pgcorpus.autogenerate.resources import MB, Server
from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import IndexForm
from pgcorpus.services.indexes import advice_for, advise, crossover, estimate_index

# benchmarks/indexes.py: form, method, rows, dimensions, options, seconds of a core, bytes. These were not fitted.
MEASURED = [
    ("vector", "hnsw", 12_000, 768, {}, 6.88, 49_160_192),
    ("halfvec", "hnsw", 12_000, 768, {}, 5.48, 24_584_192),
    ("binary", "hnsw", 12_000, 768, {}, 2.17, 4_792_320),
    ("vector", "ivfflat", 12_000, 768, {"lists": 12}, 0.95, 49_233_920),
    ("halfvec", "ivfflat", 12_000, 768, {"lists": 12}, 0.64, 19_726_336),
    ("vector", "hnsw", 100_000, 384, {}, 71.03, 204_808_192),
    ("binary", "hnsw", 100_000, 384, {}, 31.61, 34_865_152),
    ("vector", "ivfflat", 100_000, 384, {"lists": 100}, 1.94, 164_339_712),
]


def server(**sizes: int) -> Server:
    given = {"memory": 64, "shared_buffers": 128, "cache": 4096} | sizes
    megabytes = {name: size * MB for name, size in given.items()}
    return Server(**megabytes, cache_was_set="cache" in sizes, workers=2, parallel_workers=8, processes=8)


@pytest.mark.parametrize("case", MEASURED, ids=str)
def test_an_estimate_is_near_what_was_measured(case: tuple[str, str, int, int, dict[str, int], float, int]) -> None:
    form, method, rows, dimensions, options, seconds, size = case
    estimate = estimate_index(IndexForm(form), method, rows, dimensions, options)
    assert estimate.bytes == pytest.approx(size, rel=0.03)
    assert estimate.seconds == pytest.approx(seconds, rel=0.3 if method == "hnsw" else 0.8)


def test_few_rows_need_no_index_and_more_of_them_the_most_exact_that_fits() -> None:
    assert advice_for(0, 1536, server()).form is None
    assert advice_for(crossover(1536) - 1, 1536, server()).form is None
    assert advice_for(crossover(1536), 1536, server()).form is IndexForm.VECTOR
    # 8 KB, 4 KB and 0.5 KB a row.
    assert advice_for(20_000, 1536, server(cache=100)).form is IndexForm.HALFVEC
    assert advice_for(20_000, 1536, server(cache=200)).form is IndexForm.VECTOR
    assert advice_for(100_000, 1536, server(cache=200)).form is IndexForm.BINARY
    assert "none fits" in advice_for(10_000_000, 1536, server(cache=200)).because


def test_what_pgvector_cannot_index_is_not_advised() -> None:
    limits = {2000: "vector", 2001: "halfvec", 4000: "halfvec", 4001: "binary", 16_000: "binary"}
    large = server(cache=1_000_000)
    assert {number: advice_for(100_000, number, large).form for number in limits} == limits
    assert [choice.possible for choice in advice_for(1, 2001, large).choices] == [False, False, True, True, True, True]
    with pytest.raises(DefinitionError, match="1 to 16,000 dimensions"):
        advice_for(1, 16_001, large)


def test_a_graph_larger_than_a_build_is_given_is_told() -> None:
    choices = advice_for(1_000_000, 1536, server(shared_buffers=2048, cache=4096)).choices
    fits = {(choice.form, choice.method): choice.fits_build for choice in choices}
    assert not fits[IndexForm.VECTOR, "hnsw"]
    assert fits[IndexForm.BINARY, "hnsw"]


def test_the_advice_of_a_database_without_rows_is_to_wait(engine: Engine) -> None:
    advice = advise(engine)
    assert (advice.rows, advice.dimensions, advice.form) == (0, 1536, None)
    assert advise(engine, rows=50_000, dimensions=384).form is IndexForm.VECTOR
