"""The retrieval benchmark's measures are the textbook's, and its fusion and its reading of the manual are right."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = '<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{}</title></head><body>{}</body></html>'
LONG = "A sentence that says nothing. " * 8


@pytest.fixture(scope="module")
def retrieval() -> Iterator[Any]:
    """Load the benchmark's modules by name: they are no part of the installed package."""
    sys.path.append(str(CHECKOUT))
    yield lambda name: importlib.import_module(f"benchmarks.retrieval.{name}")
    sys.path.remove(str(CHECKOUT))


@pytest.mark.parametrize(
    ("found", "relevant", "ndcg", "recall", "mrr"),
    [
        ("abc", "a", 1.0, 1.0, 1.0),
        ("bac", "a", 1 / math.log2(3), 1.0, 0.5),
        ("bca", "a", 0.5, 1.0, 1 / 3),
        ("bcd", "a", 0.0, 0.0, 0.0),
        ("", "a", 0.0, 0.0, 0.0),
        ("ab", "ab", 1.0, 1.0, 1.0),
        ("xab", "ab", (1 / math.log2(3) + 0.5) / (1 + 1 / math.log2(3)), 1.0, 0.5),
        ("ax", "ab", 1 / (1 + 1 / math.log2(3)), 0.5, 1.0),
    ],
)
def test_measures_have_the_values_worked_out_by_hand(
    retrieval: Any, found: str, relevant: str, ndcg: float, recall: float, mrr: float
) -> None:
    measured = retrieval("metrics").judge(list(found), set(relevant))
    assert (measured.ndcg, measured.recall, measured.mrr) == pytest.approx((ndcg, recall, mrr))


def test_what_comes_after_k_does_not_count(retrieval: Any) -> None:
    metrics = retrieval("metrics")
    assert metrics.judge(list("bca"), {"a"}, k=2) == metrics.Quality(0, 0, 0)
    assert metrics.judge(list("ab"), set("abc"), k=2).ndcg == 1


def test_the_mean_is_of_each_measure(retrieval: Any) -> None:
    metrics = retrieval("metrics")
    assert metrics.mean([metrics.Quality(1, 0.5, 1), metrics.Quality(0, 0.25, 0)]) == metrics.Quality(0.5, 0.375, 0.5)


def test_a_difference_is_paired(retrieval: Any) -> None:
    metrics = retrieval("metrics")
    assert metrics.difference([1.0, 0.5, 0.5], [0.5, 0.0, 0.0]) == metrics.Difference(0.5, 0.0)
    assert metrics.difference([1.0, 0.0], [0.0, 0.0]).error == pytest.approx(0.5)


def test_fusion_adds_what_each_side_gives(retrieval: Any) -> None:
    fusion = retrieval("fusion")
    both = [fusion.Ranked(1, "a", 1, None), fusion.Ranked(2, "b", 2, 2), fusion.Ranked(3, "c", None, 1)]
    even = fusion.Setting((1.0, 1.0), 10.0)
    assert fusion.score(both[1], even) == pytest.approx(2 / 12)
    assert fusion.fuse(both, even) == ["b", "a", "c"]
    assert fusion.fuse(both, fusion.Setting((1.0, 1.0), 0.0), k=2) == ["a", "b"]
    assert fusion.fuse(both, fusion.Setting((1.0, 0.0), 10.0)) == ["a", "b"]


def test_the_grid_has_the_default(retrieval: Any) -> None:
    assert retrieval("systems").DEFAULT in retrieval("fusion").GRID


def test_sections_are_parsed_without_those_inside_them(retrieval: Any, tmp_path: Path) -> None:
    inner = f'<div class="sect2" id="IN"><div class="titlepage"><h3>1.1.2. In</h3></div><p>{LONG}in</p></div>'
    outer = f'<div class="sect1" id="OUT"><div class="titlepage"><h2>1.1. Out</h2></div><p>{LONG}<b>o</b>ut</p>{inner}'
    short = '<div class="sect1" id="S"><div class="titlepage"><h2>Short</h2></div><p id="P">Little.</p></div>'
    write(tmp_path, "a.html", f"{outer}<table><tr><td>x</td><td>y</td></tr></table></div>{short}")
    write(tmp_path, "bookindex.html", INDEX)
    manual = retrieval("parsing").read_manual(tmp_path)
    assert [(each.key, each.title) for each in manual.sections] == [
        ("a.html#OUT", "Out"),
        ("a.html#IN", "Out — In"),
    ]
    assert manual.sections[0].text == f"{LONG}out x y"
    assert manual.sections[1].content == f"Out — In\n\n{LONG}in"
    assert {each.text: each.relevant for each in manual.queries} == {
        "lock": {"a.html#OUT", "a.html#IN"},
        "lock, row-level": {"a.html#IN"},
    }
    assert (manual.pairs, manual.left_out) == (3, 1)


def test_a_passage_counts_as_its_section_where_the_first_is_found(retrieval: Any) -> None:
    parsing = retrieval("parsing")
    sections = [parsing.Section(f"a.html#{name}", name, LONG * 10) for name in ("A", "B")]
    first, other = ([each.key for each in section.passages()] for section in sections)
    assert len(first) > 1
    assert all(each.content.startswith("A\n\n") for each in sections[0].passages())
    assert parsing.sections_of([first[1], other[0], first[0]]) == ["a.html#A", "a.html#B"]
    assert parsing.sections_of(["a.html#B", "a.html#A"]) == ["a.html#B", "a.html#A"]


INDEX = """<div class="indexdiv"><h3>L</h3><dl>
    <dt>little, <a class="indexterm" href="a.html#P">Short</a></dt>
    <dt>lock, <a class="indexterm" href="a.html">Out</a>, <a class="indexterm" href="a.html#IN">In</a></dt>
    <dd><dl><dt>row-level, <a class="indexterm" href="a.html#IN">In</a></dt></dl>
    <dl><dt>(see also <a href="#lock">lock</a>)</dt></dl></dd>
</dl></div>"""


@pytest.mark.parametrize("index", ["<p>", INDEX])
def test_a_folder_without_a_manual_is_an_error(retrieval: Any, tmp_path: Path, index: str) -> None:
    write(tmp_path, "bookindex.html", index)
    with pytest.raises(retrieval("manual").ManualError, match=r"not XHTML|no index entries"):
        retrieval("parsing").read_manual(tmp_path)


def test_a_given_folder_must_hold_the_index(retrieval: Any, tmp_path: Path) -> None:
    manual = retrieval("manual")
    with pytest.raises(manual.ManualError, match=r"bookindex\.html"):
        manual.find_manual(tmp_path)
    pages = tmp_path / "usr" / "html"
    pages.mkdir(parents=True)
    write(pages, "bookindex.html", INDEX)
    assert manual.find_manual(tmp_path) == pages


def write(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(PAGE.format("Pages", body))
