"""A calibration tells what searches of questions that it has not seen will find."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from pgcorpus.database import session_factory
from pgcorpus.errors import CollectionError, CollectionNotFoundError, SearchError, SearchTimeoutError
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.repositories.search.recall import EXACT, Setting
from pgcorpus.services.calibrating import ALL_MODES, CalibrationReport, Pace, Progress, Question, Wanted, calibrate
from pgcorpus.services.calibrating.asking import Asker
from pgcorpus.services.calibrating.filters import typical_filters
from tests.support.calibrating import DOCUMENTS, NAME, documents, engine_of, fill, held_out, recall
from tests.support.vectors import unit

QUICK = Wanted(rate=0, sample=10, filters=())


@pytest.fixture(scope="module")
def wiki_url(make_database: Callable[..., URL], template: str, drop_database: Callable[[URL], None]) -> Iterator[URL]:
    """A database with the collection; no test changes the documents."""
    url = make_database(template)
    fill(url)
    yield url
    drop_database(url)


@pytest.fixture
def wiki(wiki_url: URL) -> Iterator[Engine]:
    with engine_of(wiki_url) as engine:
        yield engine
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM pgcorpus.calibrations"))


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., CalibrationReport]:
    """Calibrate with a folder of the test's own."""

    def run(engine: Engine, wanted: Wanted = QUICK, **options: Any) -> CalibrationReport:
        return calibrate(engine, NAME, wanted=wanted, folder=tmp_path, **options)

    return run


Run = Callable[..., CalibrationReport]


def at(report: CalibrationReport, ef_search: int) -> float:
    measured = report.at(report.default._replace(ef_search=ef_search))
    assert measured is not None
    return measured.recall


def test_a_recall_of_98_is_97_at_least_on_questions_that_were_not_measured(wiki: Engine, run: Run) -> None:
    """And made queries do not flatter, as documents would: one stands in the graph among others like itself."""
    report = run(wiki, Wanted(rate=0, sample=200, filters=(), target=0.98))
    chosen = report.chosen()
    assert chosen is not None
    assert chosen.setting.ef_search
    new, stored = recall(wiki, held_out(), ef_search=20), recall(wiki, documents()[:50], ef_search=20)
    assert new < 0.85
    assert at(report, 20) - new < 0.15 < stored - new
    assert recall(wiki, held_out(), recall=0.98) >= 0.97
    with session_factory(wiki)() as session:
        hits = DocumentRepository(session, NAME).search(held_out()[0], recall=0.98)
    assert hits.ef_search == chosen.setting.ef_search
    assert hits.form is not None


def test_what_is_stored_tells_the_index_the_documents_and_every_setting(wiki: Engine, run: Run) -> None:
    report = run(wiki)
    with session_factory(wiki)() as session:
        stored = Calibrations(session).latest(report.collection_id)
        assert stored is not None
        assert (stored.id, stored.k, stored.documents) == (report.stored, 10, DOCUMENTS)
        assert "USING hnsw (embedding vector_cosine_ops)" in stored.index_definition
        assert stored.points == report.points
    exact, quickest = report.measured[0], report.measured[1]
    assert (exact.setting, exact.recall, exact.scanned) == (EXACT, 1, DOCUMENTS)
    assert (quickest.setting.ef_search, quickest.queries) == (20, 10)
    assert quickest.scanned < DOCUMENTS / 10
    assert [measured.recall for measured in report.measured[1:]] == sorted(each.recall for each in report.measured[1:])
    assert all(each.at_least <= each.recall and 0 < each.p50_ms <= each.p95_ms for each in report.measured)
    assert report.at(report.default) is not None


def test_the_same_seed_asks_the_same(wiki: Engine, run: Run) -> None:
    one, same, other = (
        run(wiki, Wanted(rate=0, sample=20, filters=(), seed=seed), store_in=False) for seed in (1, 1, 2)
    )
    recalls = [[measured.recall for measured in report.measured] for report in (one, same, other)]
    assert recalls[0] == recalls[1] != recalls[2]


def test_filters_are_measured_beside_none_and_a_search_with_one_counts_them_all(wiki: Engine, run: Run) -> None:
    where = {"meta.year": 3}
    report = run(wiki, Wanted(rate=0, sample=12, filters=[where]), store_in=False)
    assert report.filters == [where]
    settings = [[each.setting for each in report.measured if each.where == wanted] for wanted in (None, where)]
    assert settings[0] == settings[1]
    assert all(each.recall > 0.9 for each in report.measured if each.where == where)
    assert report.chosen(filtered=True) is not None


def test_filters_that_let_pass_a_hundredth_a_tenth_and_a_half_are_found(wiki: Engine) -> None:
    with session_factory(wiki)() as session:
        found = typical_filters(DocumentRepository(session, NAME), DOCUMENTS)
    assert [(list(one.where), one.share) for one in found] == [
        (["meta.kind"], 0.01), (["meta.year"], 0.1), (["source"], 0.5),
    ]  # fmt: skip


def test_a_filter_that_lets_fewer_pass_than_are_wanted_is_not_typical(wiki: Engine) -> None:
    with session_factory(wiki)() as session:
        found = typical_filters(DocumentRepository(session, NAME), DOCUMENTS, 21)
    assert [(list(one.where), one.share) for one in found] == [(["meta.year"], 0.1), (["source"], 0.5)]


def test_to_look_for_typical_filters_for_too_long_leaves_a_note(
    wiki: Engine, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(repository: DocumentRepository, *_: int) -> None:
        repository._session.execute(text("SELECT pg_sleep(60)"))

    monkeypatch.setattr("pgcorpus.services.calibrating.run.typical_filters", slow)
    report = run(wiki, Wanted(rate=0, sample=2, timeout=1), store_in=False)
    assert report.filters == []
    assert "no filter was measured: to look for typical ones took longer than 1 seconds" in report.notes[0]


def test_the_bound_counts_the_hits_that_there_are_to_find(wiki: Engine, run: Run) -> None:
    report = run(wiki, Wanted(rate=0, sample=5, filters=[{"meta.id": 7}]), store_in=False)
    one, ten = (report.at(report.measured[-1].setting, where) for where in ({"meta.id": 7}, None))
    assert one is not None
    assert ten is not None
    assert (one.recall, ten.recall) == (1, 1)
    assert one.at_least < 0.7 < ten.at_least


def test_questions_with_filters_of_their_own_are_asked_with_them(wiki: Engine, run: Run) -> None:
    questions = [Question(vector=vector, where={"meta.year": i % 3}) for i, vector in enumerate(held_out()[:12])]
    questions += [Question(vector=vector) for vector in held_out()[12:24]]
    report = run(wiki, questions=questions)
    assert report.filters == [{"$or": [{"meta.year": 0}, {"meta.year": 1}, {"meta.year": 2}]}]
    assert {each.queries for each in report.measured if each.where is None} == {24}
    assert {each.queries for each in report.measured if each.where is not None} == {12}
    assert report.stored


def test_all_ways_of_scanning_are_measured_when_they_are_asked_for(wiki: Engine, run: Run) -> None:
    report = run(wiki, Wanted(rate=0, sample=10, filters=(), modes=ALL_MODES))
    assert {each.setting.scan for each in report.measured} == {None, "strict_order", "off"}
    assert report.stored


def test_a_refreshed_calibration_stands_beside_the_one_before_with_the_same_k_and_filters(
    wiki: Engine, run: Run
) -> None:
    first = run(wiki, Wanted(rate=0, sample=10, k=5, filters=[{"source": "s1"}]))
    again = run(wiki, Wanted(rate=0, sample=10, refresh=True))
    assert (again.k, again.filters) == (5, [{"source": "s1"}])
    with session_factory(wiki)() as session:
        assert [each.id for each in Calibrations(session).all(first.collection_id)] == [again.stored, first.stored]


def test_what_was_never_measured_cannot_be_refreshed(wiki: Engine, run: Run) -> None:
    with pytest.raises(SearchError, match="no calibration of 'wiki' is stored"):
        run(wiki, Wanted(rate=0, refresh=True))


def test_on_a_database_that_can_only_be_read_it_measures_and_the_primary_takes_it_without_another_search(
    wiki: Engine, wiki_url: URL, run: Run
) -> None:
    with engine_of(wiki_url, "-c default_transaction_read_only=on") as standby:
        report = run(standby)
        assert (report.stored, report.not_stored) == (None, "this database can only be read")
        seen: list[Progress] = []
        stored = run(standby, store_in=wiki, progress=seen.append)
    assert stored.stored
    assert stored.points == report.points
    assert stored.resumed == 10 * len(report.measured)
    assert run(wiki).resumed == 0


def test_it_is_not_stored_in_a_database_of_something_else(wiki: Engine, engine: Engine, run: Run) -> None:
    with pytest.raises(CollectionError, match="name the primary"):
        run(wiki, store_in=engine)


def test_it_writes_nothing_while_it_measures(wiki: Engine, run: Run) -> None:
    with wiki.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS touched ()"))

    def write(session: Session) -> None:
        session.execute(text("INSERT INTO touched DEFAULT VALUES"))

    with Asker(wiki, lambda session: DocumentRepository(session, NAME), Pace(0), 5) as asker:
        with pytest.raises(Exception, match="read-only transaction"):
            asker.in_session(write)
        assert asker.in_session(lambda session: session.scalar(text("SHOW statement_timeout"))) == "5s"


def test_a_search_that_a_standby_gave_up_is_asked_again_after_a_rest(wiki: Engine) -> None:
    rests: list[float] = []
    calls: list[Session] = []

    def conflict(session: Session) -> str:
        calls.append(session)
        if len(calls) < 3:
            session.execute(text("DO $$ BEGIN RAISE 'conflict with recovery' USING ERRCODE = '40001'; END $$"))
        return "answered"

    pace = Pace(0, sleep=rests.append)
    with Asker(wiki, lambda session: DocumentRepository(session, NAME), pace, 5) as asker:
        assert asker.in_session(conflict) == "answered"
    assert rests == [0.5, 1.0]


def test_a_connection_that_is_cut_off_is_made_again(wiki: Engine) -> None:
    rests: list[float] = []

    def cut(session: Session) -> int:
        if not rests:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return session.execute(text("SELECT 1")).scalar_one()

    with Asker(wiki, lambda session: DocumentRepository(session, NAME), Pace(0, sleep=rests.append), 5) as asker:
        assert asker.in_session(cut) == 1


def test_an_exact_search_that_takes_too_long_says_what_to_give_it(wiki: Engine, run: Run) -> None:
    with wiki.connect() as other:
        other.execute(text("LOCK TABLE pgcorpus.documents IN ACCESS EXCLUSIVE MODE"))
        with (
            Asker(wiki, lambda session: DocumentRepository(session, NAME), Pace(0), 0.05) as asker,
            pytest.raises(SearchTimeoutError, match=r"longer than 0\.05 seconds"),
        ):
            asker.read(lambda repository: repository.count())


PROGRAM = """
    import sys
    from pathlib import Path
    from pgcorpus.database import create_engine
    from pgcorpus.services.calibrating import Wanted, calibrate

    url, folder = sys.argv[1:]

    def told(progress):
        if progress.done == 25:
            print("there", flush=True)
            sys.stdin.readline()

    calibrate(
        create_engine(url), "wiki", wanted=Wanted(rate=0, sample=10, filters=()), folder=Path(folder), progress=told
    )
"""


def test_a_run_that_is_killed_goes_on_and_says_the_same(wiki: Engine, wiki_url: URL, run: Run, tmp_path: Path) -> None:
    whole = run(wiki)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), wiki_url.render_as_string(hide_password=False), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        process.send_signal(signal.SIGKILL)
    again = run(wiki)
    assert again.resumed == 20  # the exact answers, and the setting that was done
    assert [each.recall for each in again.measured] == [each.recall for each in whole.measured]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_goes_on_unless_the_index_or_the_question_is_another(wiki: Engine, run: Run) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done > 25:
            raise KeyboardInterrupt

    def interrupted() -> None:
        with pytest.raises(KeyboardInterrupt):
            run(wiki, progress=interrupt)

    interrupted()
    other = run(wiki, Wanted(rate=0, sample=10, filters=(), k=11), store_in=False)
    assert other.resumed == 0
    assert other.notes[0].startswith("it was begun again")
    interrupted()
    assert run(wiki, fresh=True, store_in=False).resumed == 0
    interrupted()
    assert run(wiki, store_in=False).resumed == 20
    interrupted()
    with wiki.begin() as connection:
        connection.execute(text("ALTER INDEX pgcorpus.ix_documents_embedding RENAME TO other"))
    try:
        assert run(wiki, store_in=False).resumed == 0
    finally:
        with wiki.begin() as connection:
            connection.execute(text("ALTER INDEX pgcorpus.other RENAME TO ix_documents_embedding"))


def test_progress_counts_searches_up_to_the_last(wiki: Engine, run: Run) -> None:
    seen: list[Progress] = []
    report = run(wiki, progress=seen.append, store_in=False)
    searches = [each for each in seen if each.stage != "choosing queries"]
    assert [each.done for each in searches] == sorted(each.done for each in searches)
    assert searches[0].total > searches[-1].done
    assert searches[-1].done == searches[-1].total == 10 * len(report.measured)


def small(engine: Engine, count: int, *, embedded: bool = True) -> None:
    with session_factory(engine).begin() as session:
        drafts = [Document(content=str(i), embedding=documents()[i] if embedded else None) for i in range(count)]
        DocumentRepository(session, NAME).add_many(drafts)


def test_without_an_index_everything_is_found_and_it_says_so(engine: Engine, run: Run) -> None:
    small(engine, 8)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX pgcorpus.ix_documents_embedding"))
    report = run(engine)
    assert [(each.setting, each.recall, each.queries) for each in report.measured] == [(EXACT, 1, 8)]
    assert report.stored
    assert (report.index_name, report.index_definition) == (None, None)
    notes = "\n".join(report.notes)
    for words in (
        "no vector index serves",
        "queries: 8, which are few",
        "documents: 8, no more than k",
        "made of documents",
    ):
        assert words in notes


def test_what_the_server_answers_without_the_index_is_not_stored_as_the_indexs_recall(engine: Engine, run: Run) -> None:
    """A few documents more, or new statistics, and the planner takes the index at the same setting."""
    small(engine, 30)
    report = run(engine, QUICK)
    assert [each.indexed for each in report.measured] == [False] * len(report.measured)
    assert report.at(report.default) is not None
    assert [point.get("exact") for point in report.points] == [True]
    chosen = report.chosen()
    assert chosen is not None
    assert chosen.setting == EXACT
    assert "the server compared all documents rather than take the index" in "".join(report.notes)
    assert report.stored


def test_what_has_nothing_to_ask_is_refused_in_a_sentence(engine: Engine, run: Run) -> None:
    with pytest.raises(CollectionNotFoundError):
        run(engine)
    small(engine, 3, embedded=False)
    with pytest.raises(SearchError, match="no embeddings to make queries of"):
        run(engine)
    with pytest.raises(SearchError, match="no valid index of the form binary"):
        run(engine, Wanted(rate=0, form="binary"))
    with session_factory(engine).begin() as session:
        DocumentRepository(session, NAME).delete(everything=True)
    with pytest.raises(SearchError, match="no documents"):
        run(engine)


@pytest.mark.parametrize(
    ("field", "value"),
    [*((field, -1) for field in ("target", "k", "sample", "rate", "timeout", "seed")), ("rate", 1e-300)],
)
def test_a_number_that_cannot_be_is_refused_before_anything_is_asked(field: str, value: float) -> None:
    with pytest.raises(SearchError, match=field):
        Wanted(**{field: value})  # type: ignore[arg-type]


def test_ivfflat_is_measured_by_probes_and_signs_by_the_rows_compared(engine: Engine, run: Run) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX pgcorpus.ix_documents_embedding"))
    small(engine, 300)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {engine.url.database} SET enable_sort = off"))
        connection.execute(
            text(
                "CREATE INDEX lists ON pgcorpus.documents USING ivfflat (embedding vector_cosine_ops) WITH (lists = 16)"
            )
        )
    engine.dispose()
    report = run(engine)
    assert [each.setting.probes for each in report.measured] == [None, 1, 2, 4, 8, 16][: len(report.measured)]
    assert report.measured[1].recall < report.measured[-1].recall == 1
    assert report.default == Setting(probes=4, form=report.default.form)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX pgcorpus.lists"))
        connection.execute(
            text(
                "CREATE INDEX signs ON pgcorpus.documents USING hnsw "
                "((binary_quantize(embedding)::bit(1536)) bit_hamming_ops)"
            )
        )
    report = run(engine, Wanted(rate=0, sample=20, filters=(), form="binary"))
    assert report.default.form == "binary"
    assert {100, 200} <= {each.setting.rerank for each in report.measured}
    assert report.stored


def test_a_vector_of_another_length_is_refused(wiki: Engine, run: Run) -> None:
    with pytest.raises(Exception, match="2000 dimensions"):
        run(wiki, questions=[Question(vector=unit(0, 2_000))])
