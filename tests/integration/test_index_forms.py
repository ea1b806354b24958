"""A search goes by whatever index there is, of whole vectors, of halved numbers or of signs, and is right by each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from pgcorpus.database import async_session_factory, create_async_engine, create_engine, session_factory
from pgcorpus.errors import DefinitionError, SearchError
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Document, Metric
from pgcorpus.repositories import AsyncDocumentRepository, Calibrations, DocumentRepository, Draft
from pgcorpus.repositories.indexes import forget_indexes, read_indexes
from pgcorpus.repositories.search import recall
from pgcorpus.repositories.writing.indexes import drop_for_first_load
from tests.support.vectors import hard_vectors

ROWS = 1_200
FEW = 60
VECTORS = hard_vectors(ROWS)
QUERIES = hard_vectors(20, seed=1)
TRUTH = [set(np.argsort(-(VECTORS @ query))[:10].tolist()) for query in QUERIES]

ELEMENTS = {
    "whole": "(embedding vector_cosine_ops)",
    "halved": "((embedding::halfvec(1536)) halfvec_cosine_ops)",
    "signs": "((binary_quantize(embedding)::bit(1536)) bit_hamming_ops)",
}
SMALL = "m = 4, ef_construction = 16"  # soon built
FORMS = {"whole": IndexForm.VECTOR, "halved": IndexForm.HALFVEC, "signs": IndexForm.BINARY}


@pytest.fixture(scope="module")
def engine(make_database: Callable[..., URL], template: str) -> Iterator[Engine]:
    """Collections of the same rows, each with an index of its own and another form, and a small one without."""
    engine = create_engine(make_database(template))
    drop_for_first_load(engine, Document)
    drafts = [
        Draft(str(i), f"text {i}", {"tenth": i % 10 == 0, "last": i == ROWS - 1}, vector)
        for i, vector in enumerate(VECTORS)
    ]
    with session_factory(engine).begin() as session:
        for name, element in ELEMENTS.items():
            repository = DocumentRepository(session, name)
            repository.bulk_load(drafts, index="keep")
            number = repository.collection().id
            build(session, f"ix_{name}", element, number)
        DocumentRepository(session, "few").bulk_load(drafts[:FEW], index="keep")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("ANALYZE pgcorpus.documents"))
    yield engine
    engine.dispose()


def build(session: Session, name: str, element: str, collection: int, options: str = "m = 16") -> None:
    session.connection().exec_driver_sql(
        f"CREATE INDEX {name} ON pgcorpus.documents USING hnsw {element} WITH ({options})"
        f" WHERE collection_id = {collection}"
    )


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with session_factory(engine)() as session:
        # What a larger table looks like to the planner.
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_bitmapscan = off"))
        session.execute(text("SET LOCAL enable_sort = off"))
        yield session
        forget_indexes(session.connection())
        recall.forget_calibrations(session.connection())


def found(hits: Any) -> set[int]:
    return {int(hit.document.key) for hit in hits}


def recall_of(repository: DocumentRepository, **options: Any) -> float:
    answers = (repository.search(query, 10, **options) for query in QUERIES)
    return sum(len(found(hits) & true) for hits, true in zip(answers, TRUTH, strict=True)) / (10 * len(QUERIES))


@pytest.mark.parametrize("name", FORMS)
def test_a_search_goes_by_the_form_there_is_and_finds_what_whole_vectors_find(session: Session, name: str) -> None:
    repository = DocumentRepository(session, name)
    explained = repository.explain(QUERIES[0], 10)
    assert (explained.index, explained.form) == (f"ix_{name}", FORMS[name])
    hits = repository.search(QUERIES[0], 10)
    assert (hits.form, hits.indexed, hits.exact, hits.complete) == (FORMS[name], True, False, True)
    assert recall_of(repository) >= recall_of(DocumentRepository(session, "whole")) - 0.01


@pytest.mark.parametrize("name", FORMS)
def test_distances_are_those_of_the_whole_vectors_and_in_order(session: Session, name: str) -> None:
    hits = DocumentRepository(session, name).search(QUERIES[0], 10)
    distances = [hit.distance for hit in hits]
    assert distances == sorted(distances)
    for hit in hits:
        assert hit.distance == pytest.approx(1 - float(VECTORS[int(hit.document.key)] @ QUERIES[0]), abs=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_a_filter_finds_min_k_and_the_matches_by_every_form(session: Session, name: str) -> None:
    repository = DocumentRepository(session, name)
    assert len(repository.search(QUERIES[0], 10, where={"meta.tenth": True})) == 10
    (last,) = repository.search(QUERIES[0], 10, where={"meta.last": True})
    assert last.document.key == str(ROWS - 1)


@pytest.mark.parametrize("name", FORMS)
def test_every_kind_of_search_goes_by_every_form(session: Session, name: str) -> None:
    repository = DocumentRepository(session, name)
    plain = found(repository.search(QUERIES[0], 5))
    assert {int(hit.document.key) for hit in repository.search(QUERIES[0], 5, entities=True)} == plain
    first, second = repository.search_many([QUERIES[0], QUERIES[1]], 5)
    assert (found(first), len(second)) == (plain, 5)
    assert len(repository.search(QUERIES[0], 5, group_by="meta.tenth")) == 2
    assert len(repository.search(QUERIES[0], 5, diversify=0.5)) == 5
    near = [hit for hit in repository.search_hybrid("text", QUERIES[0], 10) if hit.vector_rank is not None]
    assert {int(hit.document.key) for hit in near if hit.vector_rank and hit.vector_rank <= 5} <= plain


def test_the_fewer_rows_are_re_ranked_the_more_signs_miss(session: Session) -> None:
    repository = DocumentRepository(session, "signs")
    assert recall_of(repository, rerank=10) < recall_of(repository, rerank=100) <= recall_of(repository, rerank=1_000)
    assert recall_of(repository, rerank=1_000) >= 0.99


def test_a_small_collection_beside_large_ones_is_searched_exactly_and_nobody_warned(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    repository = DocumentRepository(session, "few")
    with caplog.at_level(logging.WARNING):
        hits = repository.search(QUERIES[0], FEW)
    assert (len(hits), hits.form, hits.indexed) == (FEW, None, False)
    assert repository.explain(QUERIES[0], 10).exact
    assert not caplog.records


def test_a_form_that_is_not_there_is_refused_with_what_builds_it(session: Session) -> None:
    with pytest.raises(SearchError, match="pgcorpus index build --form halfvec"):
        DocumentRepository(session, "signs").search(QUERIES[0], form="halfvec")
    with pytest.raises(DefinitionError, match="form is one of vector, halfvec, binary"):
        DocumentRepository(session, "signs").search(QUERIES[0], form="int4")
    with pytest.raises(SearchError, match="form or exact"):
        DocumentRepository(session, "signs").search(QUERIES[0], form="binary", exact=True)
    with pytest.raises(SearchError, match="scan is one of"):
        DocumentRepository(session, "signs").search(QUERIES[0], scan="fast")


def test_whole_vectors_come_first_and_another_form_may_be_asked_for(session: Session) -> None:
    repository = DocumentRepository(session, "signs")
    build(session, "ix_second", ELEMENTS["whole"], repository.collection().id, SMALL)
    forget_indexes(session.connection())
    assert repository.search(QUERIES[0]).form is IndexForm.VECTOR
    assert repository.search(QUERIES[0], form="binary").form is IndexForm.BINARY


def test_signs_serve_directions_not_lengths(session: Session) -> None:
    repository = DocumentRepository(session, "signs")
    assert repository.search(QUERIES[0], metric="inner_product").form is IndexForm.BINARY
    hits = repository.search(QUERIES[0], metric="l2")
    assert (hits.form, hits.indexed) == (None, False)


def test_an_index_that_goes_is_noticed_and_an_invalid_one_is_not_used(session: Session) -> None:
    repository = DocumentRepository(session, "halved")
    assert repository.search(QUERIES[0]).indexed
    session.execute(text("DROP INDEX pgcorpus.ix_halved"))
    assert repository.search(QUERIES[0]).form is IndexForm.HALFVEC  # as remembered; right, and slower
    assert recall_of(repository) >= 0.95
    forget_indexes(session.connection())
    assert not repository.search(QUERIES[0]).indexed


def test_indexes_are_read_as_they_are(session: Session) -> None:
    indexes = {index.name: index for index in read_indexes(session.connection(), Document.__table__)}
    assert set(indexes) == {f"ix_{name}" for name in ELEMENTS}
    for name, form in FORMS.items():
        index = indexes[f"ix_{name}"]
        assert (index.form, index.column, index.dimensions, index.method) == (form, "embedding", 1536, "hnsw")
        assert index.metric is (None if form is IndexForm.BINARY else Metric.COSINE)
        assert index.collection_id == DocumentRepository(session, name).collection().id
        assert index.options == {"m": 16, "ef_construction": 64}
        assert index.valid
        assert index.bytes > 0


def test_async_searches_go_by_them_too(engine: Engine) -> None:
    async def search() -> Any:
        async_engine = create_async_engine(engine.url.set(drivername="postgresql+psycopg"))
        async with async_session_factory(async_engine)() as session:
            hits = await AsyncDocumentRepository(session, "halved").search(QUERIES[0], 10)
        await async_engine.dispose()
        return hits

    assert asyncio.run(search()).form is IndexForm.HALFVEC


# Recall as a parameter


def calibrate(session: Session, name: str, *points: dict[str, Any], documents: int = ROWS) -> None:
    repository = DocumentRepository(session, name)
    index = next(each for each in read_indexes(session.connection(), Document.__table__) if each.name == f"ix_{name}")
    figures: Any = [{"p95_ms": 1.0, "scanned": 1.0, **point} for point in points]
    Calibrations(session).save(
        repository.collection().id, figures, index_definition=index.definition, documents=documents, k=10
    )


POINTS = (
    {"ef_search": 20, "recall": 0.80, "p50_ms": 1.0},
    {"ef_search": 80, "recall": 0.97, "p50_ms": 2.0},
    {"ef_search": 300, "recall": 0.99, "p50_ms": 4.0},
    {"exact": True, "recall": 1.0, "p50_ms": 9.0},
)


def test_a_recall_takes_the_cheapest_setting_that_reached_it(session: Session) -> None:
    calibrate(session, "whole", *POINTS)
    repository = DocumentRepository(session, "whole")
    assert repository.search(QUERIES[0], recall=0.8).ef_search == 20
    assert repository.search(QUERIES[0], recall=0.95).ef_search == 80
    assert repository.search(QUERIES[0], recall=0.98).ef_search == 300
    assert repository.search(QUERIES[0], recall=0.995).exact
    assert repository.search(QUERIES[0], recall=1.0).exact
    assert repository.explain(QUERIES[0], recall=0.95).settings["hnsw.ef_search"] == "80"


def test_of_settings_as_quick_as_each_other_the_plainest_is_chosen() -> None:
    points: Any = [
        {"ef_search": 60, "mode": "off", "recall": 0.99, "p50_ms": 1.00},
        {"exact": True, "recall": 1.0, "p50_ms": 1.01},
        {"ef_search": 80, "recall": 0.99, "p50_ms": 1.03},
        {"ef_search": 60, "recall": 0.99, "p50_ms": 1.04},
        {"ef_search": 20, "recall": 0.99, "p50_ms": 1.10},
    ]
    assert recall.choose(points, 0.98, filtered=False) == points[3]


def test_more_hits_than_were_measured_take_a_larger_setting(session: Session) -> None:
    calibrate(session, "whole", *POINTS)
    repository = DocumentRepository(session, "whole")
    assert repository.search(QUERIES[0], 30, recall=0.8).ef_search == 60
    assert repository.search(QUERIES[0], 5, recall=0.8).ef_search == 20


def test_an_exact_scan_is_chosen_where_it_was_the_cheapest(session: Session) -> None:
    calibrate(session, "whole", POINTS[0], {"exact": True, "recall": 1.0, "p50_ms": 0.5})
    assert DocumentRepository(session, "whole").search(QUERIES[0], recall=0.5).exact


def test_under_a_filter_what_was_measured_under_filters_counts(session: Session) -> None:
    under = {"filter": {"meta.tenth": True}}
    calibrate(session, "whole", *POINTS, *({**point, **under, "recall": point["recall"] - 0.1} for point in POINTS[:3]))
    repository = DocumentRepository(session, "whole")
    assert repository.search(QUERIES[0], recall=0.8).ef_search == 20
    assert repository.search(QUERIES[0], where={"meta.tenth": True}, recall=0.8).ef_search in (80, None)
    assert repository.explain(QUERIES[0], where={"meta.tenth": True}, recall=0.8).settings["hnsw.ef_search"] == "80"


def test_without_a_calibration_the_setting_is_a_safe_one(session: Session) -> None:
    repository = DocumentRepository(session, "whole")
    assert repository.search(QUERIES[0], recall=0.9).ef_search == 160
    assert repository.search(QUERIES[0], recall=0.98).ef_search == 320
    assert repository.search(QUERIES[0], recall=0.99).ef_search == 640
    assert repository.search(QUERIES[0], recall=0.999).exact
    assert DocumentRepository(session, "signs").search(QUERIES[0], recall=0.9).exact
    assert DocumentRepository(session, "few").search(QUERIES[0], recall=0.5).exact


def test_a_calibration_that_was_outgrown_is_used_and_said_to_be_stale(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    calibrate(session, "whole", *POINTS, documents=ROWS // 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert DocumentRepository(session, "whole").search(QUERIES[0], recall=0.8).ef_search == 20
    (told,) = caplog.records
    assert "measured with 400 documents, and there are 1,200 now" in told.getMessage()
    assert "pgcorpus tune" in told.getMessage()


def test_of_another_index_a_calibration_tells_nothing(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    calibrate(session, "whole", *POINTS)
    session.execute(text("DROP INDEX pgcorpus.ix_whole"))
    build(session, "ix_other", ELEMENTS["whole"], DocumentRepository(session, "whole").collection().id, SMALL)
    forget_indexes(session.connection())
    with caplog.at_level(logging.WARNING):
        assert DocumentRepository(session, "whole").search(QUERIES[0], recall=0.8).ef_search == 160
    assert "another index was there" in caplog.text


def test_a_calibration_holds_whatever_the_search_path_is(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    calibrate(session, "halved", *({**point, "form": "halfvec"} for point in POINTS))
    session.execute(text("SET LOCAL search_path = pg_catalog"))
    (index,) = (each for each in read_indexes(session.connection(), Document.__table__) if each.name == "ix_halved")
    assert "public.halfvec_cosine_ops" in index.definition
    known = Calibrations(session).latest(DocumentRepository(session, "halved").collection().id)
    assert known is not None
    assert recall.staleness(known, [index.definition], ROWS) is None


def test_a_point_without_a_form_was_measured_with_whole_vectors(session: Session) -> None:
    calibrate(session, "whole", {**POINTS[1], "form": None})
    assert DocumentRepository(session, "whole").search(QUERIES[0], recall=0.9).ef_search == 80


def test_without_a_calibration_many_hits_take_no_smaller_setting_than_without_a_recall(session: Session) -> None:
    repository = DocumentRepository(session, "whole")
    assert repository.search(QUERIES[0], 150, recall=0.9).ef_search == repository.search(QUERIES[0], 150).ef_search


def test_schemas_of_one_database_have_calibrations_of_their_own(url: URL) -> None:
    engine = create_engine(url)
    other = engine.execution_options(schema_translate_map={"pgcorpus": "other"})
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA other"))
        for name in ("collections", "documents", "calibrations"):
            connection.execute(text(f"CREATE TABLE other.{name} (LIKE pgcorpus.{name} INCLUDING ALL)"))
    found = []
    for bind, ef_search in ((engine, 41), (other, 42)):
        with session_factory(bind).begin() as session:
            repository = DocumentRepository(session, "few")
            repository.add_many([Draft("0", "text", {}, VECTORS[0])])
            number = repository.collection().id
            (index,) = read_indexes(session.connection(), Document.__table__)
            figures: Any = [{"ef_search": ef_search, "recall": 1.0, "p50_ms": 1.0, "p95_ms": 1.0, "scanned": 1.0}]
            Calibrations(session).save(number, figures, index_definition=index.definition, documents=1, k=10)
    for bind in (engine, other):
        with session_factory(bind)() as session:
            found.append(DocumentRepository(session, "few").search(QUERIES[0], recall=0.9).ef_search)
    engine.dispose()
    assert found == [41, 42]


@pytest.mark.parametrize("options", [{"ef_search": 40}, {"exact": True}, {"probes": 3}, {"rerank": 50}])
def test_a_recall_and_a_setting_exclude_each_other(session: Session, options: Any) -> None:
    with pytest.raises(SearchError, match="not both"):
        DocumentRepository(session, "whole").search(QUERIES[0], recall=0.9, **options)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), "high"])
def test_a_recall_is_a_share(session: Session, wrong: Any) -> None:
    with pytest.raises(SearchError, match="recall must be a number from 0 to 1"):
        DocumentRepository(session, "whole").search(QUERIES[0], recall=wrong)


def test_a_calibration_is_read_once_in_a_while(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate(session, "whole", *POINTS)
    repository = DocumentRepository(session, "whole")
    assert repository.search(QUERIES[0], recall=0.8).ef_search == 20
    calibrate(session, "whole", {"ef_search": 33, "recall": 0.9, "p50_ms": 1.0})
    assert repository.search(QUERIES[0], recall=0.8).ef_search == 33  # this process stored it itself
    monkeypatch.setattr(recall, "REMEMBERED", -1.0)
    recall.forget_calibrations(session.connection())
    assert repository.search(QUERIES[0], recall=0.8).ef_search == 33
