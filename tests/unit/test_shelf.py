"""The passages of a source read the same from memory and from disk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from pgcorpus.repositories import Draft
from pgcorpus.services.ingesting import shelf as shelf_module
from pgcorpus.services.ingesting.shelf import Shelf


@pytest.fixture(params=[10, 10_000], ids=["on disk", "in memory"])
def shelf(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(shelf_module, "IN_MEMORY_CHARS", request.param)
    shelf = Shelf()
    yield shelf
    shelf.close()


def drafts(count: int) -> list[Draft]:
    return [Draft(f"k{place}", f"täxt {place}", {"n": place}) for place in range(count)]


def test_drafts_come_back_as_they_were(shelf: Shelf) -> None:
    shelf.fill(iter(drafts(20)))
    assert len(shelf) == 20
    assert list(shelf) == drafts(20)
    assert shelf[3:6] == drafts(20)[3:6]
    assert shelf.text(7) == "täxt 7"
    with pytest.raises(IndexError):
        shelf[20]


def test_a_draft_has_its_vector_once_it_was_put(shelf: Shelf) -> None:
    shelf.fill(drafts(20))
    vectors = np.arange(60, dtype=np.float32).reshape(20, 3)
    for place in (5, 1, 19):
        shelf.put(place, vectors[place])
    assert shelf.bare(range(4)) == [0, 2, 3]
    assert shelf[0].embedding is None
    for place in (1, 5, 19):
        assert np.array_equal(shelf[place].embedding, vectors[place])  # type: ignore[arg-type]


def test_an_empty_source_has_nothing(shelf: Shelf) -> None:
    shelf.fill([])
    assert (len(shelf), list(shelf), shelf.bare([])) == (0, [], [])
