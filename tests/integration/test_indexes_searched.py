"""What the commands build is what searches go by, from the next search on."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Engine, text

from pgcorpus.database import session_factory
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.indexes import build_index, drop_index, wanted_index
from tests.support.indexed import fill, value, vectors

MAIN = "ix_documents_embedding"
ROWS = 500


def used(engine: Engine, collection: str) -> tuple[str | None, float]:
    """Return the index that searches of a collection go by, and their recall@10."""
    queries = vectors(12, seed=9)
    with session_factory(engine)() as session:
        session.execute(text("SET LOCAL enable_sort = off"))  # so few rows are compared exactly otherwise
        repository = DocumentRepository(session, collection)
        index = repository.explain(queries[0]).index
        found = [[hit.document.key for hit in repository.search(query)] for query in queries]
        truth = [[hit.document.key for hit in repository.search(query, exact=True)] for query in queries]
    return index, float(np.mean([len({*a} & {*b}) / 10 for a, b in zip(found, truth, strict=True)]))


def test_searches_go_by_whatever_index_is_built(engine: Engine) -> None:
    fill(engine, big=ROWS)
    index, recall = used(engine, "big")
    assert (index, recall >= 0.97) == (MAIN, True)
    for form in ("halfvec", "binary"):
        kept = build_index(engine, wanted_index(form))
        drop_index(engine, MAIN if form == "halfvec" else f"{MAIN}_halfvec")
        index, by_form = used(engine, "big")
        assert index == kept.name
        assert by_form >= recall - 0.02
    drop_index(engine, f"{MAIN}_binary", force=True)
    assert used(engine, "big") == (None, 1.0)


def test_small_collections_beside_one_with_an_index_of_its_own_are_searched_exactly(engine: Engine) -> None:
    fill(engine, big=ROWS, small=40)
    number = value(engine, "SELECT id FROM pgcorpus.collections WHERE name = 'big'")
    kept = build_index(engine, wanted_index("halfvec", collection_id=number))  # type: ignore[arg-type]
    drop_index(engine, MAIN, force=True)
    index, recall = used(engine, "big")
    assert (index, recall >= 0.95) == (kept.name, True)
    assert used(engine, "small") == (None, 1.0)
