"""What calibrating computes: recalls, bounds, paces, ladders, made queries, questions of a file, what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Metric
from pgcorpus.repositories.indexes import Serving
from pgcorpus.repositories.search.recall import EXACT, Setting
from pgcorpus.services.calibrating import CalibrationReport, Measured, Pace, Question, read_questions
from pgcorpus.services.calibrating.asking import Answer
from pgcorpus.services.calibrating.estimating import lower_bound, recall_of
from pgcorpus.services.calibrating.filters import Typical, nearest_shares
from pgcorpus.services.calibrating.keeping import Keeper
from pgcorpus.services.calibrating.ladder import ALL_MODES, default_setting, ladders
from pgcorpus.services.calibrating.page import page
from pgcorpus.services.calibrating.questions import as_queries
from pgcorpus.services.calibrating.sampling import turned_away
from tests.support.embedder import CountingEmbedder
from tests.support.vectors import random_vectors, unit

HNSW = Serving(IndexForm.VECTOR, None, "CREATE INDEX one")


def test_of_equally_distant_rows_any_one_is_found() -> None:
    assert recall_of([0.1, 0.2], [0.1, 0.2 - 1e-9]) == 1
    assert recall_of([0.1, 0.3], [0.1, 0.2]) == 0.5
    assert recall_of([], [0.1]) == 0
    assert recall_of([], []) == 1


def test_the_bound_holds_for_nineteen_of_twenty_samples() -> None:
    random = np.random.default_rng(0)
    recalls = np.minimum(1, random.binomial(10, 0.975, size=100_000) / 10 - 0.2 * (random.random(100_000) < 0.05))
    bounds = [lower_bound(random.choice(recalls, 200), 10) for _ in range(1_000)]
    assert 0.92 <= np.mean(np.array(bounds) <= recalls.mean()) <= 0.99


def test_the_bound_rises_with_the_recall_and_with_the_queries() -> None:
    assert (
        lower_bound([1.0] * 200, 10) > lower_bound([1.0] * 199 + [0.9], 10) > lower_bound([1.0] * 150 + [0.9] * 50, 10)
    )
    assert lower_bound([1.0, 0.9] * 10, 10) < lower_bound([1.0, 0.9] * 100, 10) < 0.95
    assert 0 <= lower_bound([0.0] * 5, 10) < lower_bound([1.0] * 5, 10) < 1


class Clock:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waited: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.now += seconds


def test_a_pace_lets_so_many_begin_and_makes_up_for_nothing() -> None:
    clock = Clock()
    pace = Pace(4, clock, clock.sleep)
    for _ in range(3):
        pace.wait()
    assert clock.waited == [0.25, 0.25]
    clock.now += 10  # a slow search
    pace.wait()
    pace.wait()
    assert clock.waited == [0.25, 0.25, 0.25]


def test_no_rate_waits_for_nothing() -> None:
    clock = Clock()
    pace = Pace(0, clock, clock.sleep)
    for _ in range(100):
        pace.wait()
    assert clock.waited == []


def test_a_ladder_rises_has_the_default_and_never_keeps_fewer_candidates_than_hits() -> None:
    (ladder,) = ladders(HNSW, 50)
    kept = [setting.ef_search for setting in ladder]
    assert kept == sorted(set(kept), key=lambda each: each or 0)
    assert (kept[0], kept[-1]) == (60, 1_000)
    assert default_setting(HNSW, 50) in ladder
    assert [[setting.ef_search for setting in ladder] for ladder in ladders(HNSW, 5_000)] == [[1_000]]


def test_all_modes_are_ladders_of_their_own_and_ivfflat_has_no_strict_order() -> None:
    assert [ladder[0].scan for ladder in ladders(HNSW, 10, ALL_MODES)] == [None, "strict_order", "off"]
    lists = Serving(IndexForm.VECTOR, 100, "CREATE INDEX lists")
    made = ladders(lists, 10, ALL_MODES)
    assert [ladder[0].scan for ladder in made] == [None, "off"]
    assert [setting.probes for setting in made[0]] == [1, 2, 4, 8, 10, 16, 32, 64, 100]
    assert default_setting(lists, 10).probes == 10


def test_signs_are_compared_exactly_in_rising_numbers() -> None:
    signs = Serving(IndexForm.BINARY, None, "CREATE INDEX signs")
    made = ladders(signs, 10)
    assert made[0] == [default_setting(signs, 10)]
    assert [setting.rerank for ladder in made[1:] for setting in ladder] == [100, 100, 200, 200, 400, 400, 800, 800]
    assert all(setting.ef_search and setting.ef_search <= 1_000 for ladder in made for setting in ladder)


def test_without_an_index_there_is_nothing_to_climb() -> None:
    assert ladders(Serving(), 10, ALL_MODES) == []


@pytest.mark.parametrize("metric", list(Metric))
def test_a_made_query_is_as_far_from_its_document_as_the_neighbour(metric: Metric) -> None:
    vector, near, other = 3 * random_vectors(3, 64)
    near = vector + 0.3 * near
    towards = other - vector * (other @ vector) / (vector @ vector)
    made = turned_away(vector, near, towards, metric)

    def far(a: Any, b: Any) -> float:
        if metric in (Metric.L2, Metric.L1):
            return float(np.linalg.norm(a - b))
        return 1 - float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    assert far(made, vector) == pytest.approx(far(near, vector), rel=1e-4)
    assert far(made, near) > 0.5 * far(near, vector)
    assert made.dtype == np.float32


def test_a_document_without_others_is_its_own_query() -> None:
    assert (turned_away(unit(3), unit(3), np.zeros(1536, np.float32), Metric.COSINE) == unit(3)).all()


def test_filters_nearest_to_a_hundredth_a_tenth_and_a_half_are_typical() -> None:
    offered = [Typical({"x": n}, share) for n, share in enumerate((0.0001, 0.008, 0.02, 0.11, 0.3, 0.45, 0.999))]
    assert [one.share for one in nearest_shares(offered)] == [0.008, 0.11, 0.45]
    assert nearest_shares([Typical({"x": 1}, 0.0001)]) == []
    assert nearest_shares([]) == []
    assert [one.share for one in nearest_shares([Typical({"x": 1}, 0.2)])] == [0.2]  # near two of them, and taken once


def test_questions_are_texts_vectors_and_objects_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    lines = [
        "How do I rebuild an index?", "", "  ", '"VACUUM" or not?', "[1, 0, 2.5]",
        '{"query": "what is new", "where": {"meta.year": {"$gte": 2024}}}', '{"query": [0, 1]}', '"quoted"',
    ]  # fmt: skip
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    read = read_questions(path)
    assert [each.text for each in read] == [lines[0], lines[3], "", "what is new", "", "quoted"]
    assert [None if each.vector is None else each.vector.tolist() for each in read] == [
        None, None, [1, 0, 2.5], None, [0, 1], None,
    ]  # fmt: skip
    assert [each.where for each in read if each.where] == [{"meta.year": {"$gte": 2024}}]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[1, 2", "not JSON"),
        ('{"query": ', "not JSON"),
        ("[]", "one row of numbers"),
        ('[1, "x"]', "a vector is a row of numbers"),
        ("[0, 0]", "length zero"),
        ("[1, NaN]", "not a finite float32"),
        ('{"question": "x"}', "unknown 'question': an object has query and where"),
        ('{"where": {}}', "an object needs a query"),
        ('{"query": "  "}', "a query is a text, or an array of numbers"),
        ('{"query": 3}', "a query is a text, or an array of numbers"),
        ('{"query": "x", "where": {"nothing": 1}}', "where.nothing"),
        ('{"query": "x", "where": 5}', "expected an object"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_is_wrong_with_a_question_is_said_with_its_line(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "questions.txt"
    path.write_text(f"fine\n\n{line}\n")
    with pytest.raises(SourceError, match=r"line 3: ") as caught:
        read_questions(path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "no question"), (b"\n \n", "no question"), (b"a\xff", "not UTF-8")]
)
def test_a_file_without_questions_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "questions.txt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=words):
        read_questions(path)


def test_a_text_that_comes_twice_is_embedded_once_and_all_are_padded() -> None:
    embedder = CountingEmbedder("some", 8)
    queries = as_queries(
        [Question("a"), Question(vector=unit(0, 4)), Question("a", where={"source": "x"})], 16, embedder
    )
    assert embedder.texts == ["a"]
    assert [query.vector.shape for query in queries] == [(16,)] * 3
    assert [query.where for query in queries] == [None, None, {"source": "x"}]
    with pytest.raises(ConfigError, match="--embedder"):
        as_queries([Question("a")], 16)


MEASURED = Measured(Setting(ef_search=40, form=IndexForm.VECTOR), {"meta.a": "</td>$x$"}, 0.9, 0.8, 1.5, 2.5, 80.0, 20)


def keeper(folder: Path, *, documents: int = 5_000, fresh: bool = False, **asked: Any) -> Keeper:
    return Keeper(folder, {"database": 1}, {"k": 10, **asked}, documents, fresh=fresh)


def test_what_is_kept_is_found_again_by_a_run_that_asks_for_the_same(tmp_path: Path) -> None:
    first = keeper(tmp_path)
    first.keep_exact("a", [Answer((0.1, 0.2), 3.0)])
    first.keep("a", MEASURED)
    again = keeper(tmp_path, documents=5_005)
    assert again.exact("a") == [Answer((0.1, 0.2), 3.0)]
    assert again.measured("a", MEASURED.setting) == MEASURED
    assert again.measured("b", MEASURED.setting) is None
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("other", [{"k": 20}, {"index": "another"}, {"documents": 5_010}, {"fresh": True}])
def test_what_was_measured_of_something_else_is_not_taken(tmp_path: Path, other: dict[str, Any]) -> None:
    keeper(tmp_path).keep("a", MEASURED)
    assert keeper(tmp_path, **other).measured("a", MEASURED.setting) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"exact": {}, "measured": {}}', "\x00"])
def test_a_file_of_something_else_is_as_none(tmp_path: Path, content: str) -> None:
    keeper(tmp_path).keep("a", MEASURED)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert keeper(tmp_path).measured("a", MEASURED.setting) is None


def test_a_folder_that_cannot_be_written_to_keeps_nothing_and_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = keeper(tmp_path / "file" / "folder")
    kept.keep("a", MEASURED)
    assert kept.measured("a", MEASURED.setting) == MEASURED
    kept.forget()


def test_a_point_has_one_setting_and_nothing_that_is_not_set() -> None:
    assert MEASURED.point == {
        "ef_search": 40, "form": "vector", "filter": {"meta.a": "</td>$x$"},
        "recall": 0.9, "p50_ms": 1.5, "p95_ms": 2.5, "scanned": 80.0,
    }  # fmt: skip
    exact = Measured(EXACT, None, 1.0, 1.0, 1.0, 1.0, 5.0, 20)
    assert exact.point == {"exact": True, "recall": 1.0, "p50_ms": 1.0, "p95_ms": 1.0, "scanned": 5.0}
    assert json.loads(json.dumps(exact.point)) == exact.point


def test_names_on_the_page_are_text_and_the_plot_takes_its_colour() -> None:
    report = CalibrationReport(
        collection="<script>alert(1)</script>\u202e", tenant="a&b", collection_id=1, documents=10, index_name=None,
        index_definition='CREATE INDEX "<b>"', k=10, target=0.98, queries=20, sampled=True,
        default=Setting(ef_search=160, form=IndexForm.VECTOR), measured=(MEASURED,), notes=("<i>note</i>",),
    )  # fmt: skip
    html = page(
        report, '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg viewBox="0 0 1 1"><text fill="#7a7a7b">x</text></svg>'
    )
    assert "<script>" not in html
    assert "<b>" not in html
    assert "<i>" not in html
    assert "\u202e" not in html
    assert "<!DOCTYPE svg>" not in html
    assert 'fill="currentColor"' in html
    assert "&lt;/td&gt;$x$" in html
