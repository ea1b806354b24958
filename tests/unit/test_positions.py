"""Positions rise in the order wanted, and as few as possible change."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pgcorpus.repositories.writing.positions import GAP, assign_positions

present = st.lists(st.one_of(st.none(), st.integers(1, 2**31 - 1)), max_size=60)


@given(present)
def test_positions_rise_and_fit_an_int(current: list[int | None]) -> None:
    positions = assign_positions(current)
    assert len(positions) == len(current)
    assert all(left < right for left, right in pairwise(positions))
    assert all(0 < position < 2**31 for position in positions)


@given(st.integers(0, 50), st.integers(0, 50))
def test_one_insertion_moves_no_other(length: int, place: int) -> None:
    before: list[int | None] = list(assign_positions([None] * length))
    after = assign_positions([*before[:place], None, *before[place:]])
    assert [position for position in after if position in before] == before


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40, unique=True))
def test_what_stays_is_a_longest_rising_run(order: list[int]) -> None:
    first = assign_positions([None] * 41)
    current = [first[index] for index in order]
    kept = sum(now == then for now, then in zip(assign_positions(current), current, strict=True))
    longest = [1] * len(order)
    for i in range(len(order)):
        longest[i] = 1 + max((longest[j] for j in range(i) if order[j] < order[i]), default=0)
    assert kept >= max(longest)


def test_a_hole_that_is_full_renumbers_the_source() -> None:
    assert assign_positions([1, None, 2]) == [GAP, 2 * GAP, 3 * GAP]


def test_three_million_passages_still_fit() -> None:
    positions = assign_positions([None] * 3_000_000)
    assert positions[0] > 0
    assert positions[-1] < 2**31
