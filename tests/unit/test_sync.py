"""A source's new version changes only what differs."""

import pytest

from pgcorpus.errors import DocumentError
from pgcorpus.models import content_hash
from pgcorpus.repositories.writing.positions import GAP
from pgcorpus.repositories.writing.sync import Draft, Stored, compare


def stored(key: str, content: str, position: int, embedded: bool = True, **meta: object) -> Stored:
    return Stored("s", key, content_hash(content), position, meta, "english", embedded)


def test_a_new_source_is_inserted_in_order() -> None:
    changes = compare([Draft("a", "A"), Draft("b", "B")], [])
    assert (changes.inserts, changes.keys, changes.positions) == ([0, 1], ["a", "b"], [GAP, 2 * GAP])
    assert (changes.unchanged, changes.rewrites, changes.deletes) == (0, [], [])


def test_the_same_source_changes_nothing() -> None:
    changes = compare([Draft("a", "A", {"n": 1})], [stored("a", "A", 7, n=1)])
    assert (changes.unchanged, changes.inserts, changes.rewrites, changes.touches, changes.deletes) == (
        1,
        [],
        [],
        [],
        [],
    )


def test_changed_metadata_needs_no_embedding() -> None:
    changes = compare([Draft("a", "A", {"n": 2})], [stored("a", "A", 7, n=1)])
    assert len(changes.touches) == 1
    assert changes.needing_embedding() == []


def test_changed_content_and_a_missing_embedding_need_one() -> None:
    changes = compare([Draft("a", "A2"), Draft("b", "B")], [stored("a", "A", 1), stored("b", "B", 2, embedded=False)])
    assert changes.needing_embedding() == [0, 1]


def test_what_vanished_is_deleted() -> None:
    assert compare([], [stored("b", "B", 2), stored("a", "A", 1)]).deletes == ["a", "b"]


def test_an_insertion_touches_no_neighbour() -> None:
    changes = compare(
        [Draft("a", "A"), Draft("x", "X"), Draft("b", "B")], [stored("a", "A", GAP), stored("b", "B", 2 * GAP)]
    )
    assert changes.unchanged == 2
    assert changes.inserts == [1]


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (Draft("k", ""), "content is empty"),
        (Draft("k", "a\0b"), "null character"),
        (Draft("k", "\ud800"), "lone surrogate"),
        (Draft("", "x"), "key is empty"),
        (Draft("k" * 2001, "x"), "longer than 2,000 bytes"),
        (Draft("k", "x", {"a": float("nan")}), "metadata.a: nan"),
        (Draft("k", "x", {"a": ["\0"]}), "metadata.a\\[0\\]"),
        (Draft("k", "x", {"a": object()}), "metadata.a: object"),
        (Draft("k", "x", {1: 2}), "key 1 is not text"),  # type: ignore[dict-item]
        (Draft("first", "x"), "the key 'first' is that of document 0 too"),
    ],
)
def test_a_draft_that_cannot_be_stored_is_named_by_position(draft: Draft, words: str) -> None:
    with pytest.raises(DocumentError, match=f"document 1: .*{words}|document 1: {words}"):
        compare([Draft("first", "fine"), draft], [])


def test_further_columns_are_for_the_server_to_compare() -> None:
    changes = compare(
        [Draft("a", "A", fields={"author": "me"}), Draft("b", "B")], [stored("a", "A", 1), stored("b", "B", 2)]
    )
    assert changes.touches == [0]
    assert changes.unchanged == 1
