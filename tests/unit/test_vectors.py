"""Vectors are checked before they are sent, and survive the wire."""

import math

import numpy as np
import pgvector
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pgcorpus import vectors
from pgcorpus.errors import DocumentError, PgCorpusError, VectorError

finite = npst.arrays(
    np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
)


@pytest.mark.parametrize("value", [[1, 2], (1.0, 2.0), np.array([1, 2]), pgvector.Vector([1, 2]), range(1, 3)])
def test_every_row_of_numbers_becomes_float32(value: object) -> None:
    array = vectors.as_array(value)  # type: ignore[arg-type]
    assert array.dtype == np.float32
    assert array.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "shape"),
        ([[1, 2]], "shape"),
        (3, "shape"),
        ("[1,2]", "not str"),
        ({"a": 1}, "not dict"),
        ([1, None, "x"], "not list"),
        ([1, math.nan], "position 1"),
        ([math.inf, 1], "position 0"),
        ([1, 1e39], "position 1"),
    ],
)
def test_what_pgvector_cannot_store_is_refused_by_name(value: object, words: str) -> None:
    with pytest.raises(VectorError, match=words):
        vectors.as_array(value)  # type: ignore[arg-type]


def test_a_wrong_length_names_both_lengths() -> None:
    with pytest.raises(VectorError, match="expected 3 dimensions, not 2"):
        vectors.as_array([1, 2], 3)


@pytest.mark.parametrize("value", [[0, 0], [1e-30, 0], [1e30, 0]])
def test_a_vector_without_a_cosine_distance_is_refused(value: list[float]) -> None:
    with pytest.raises(VectorError, match="no cosine distance"):
        vectors.as_searchable(value)


def test_a_vector_error_is_a_document_error_and_a_value_error() -> None:
    assert issubclass(VectorError, DocumentError)
    assert issubclass(VectorError, ValueError)
    assert issubclass(VectorError, PgCorpusError)


@given(finite)
def test_text_and_binary_bring_every_float32_back_exactly(array: vectors.Array) -> None:
    for copy in (vectors.from_text(vectors.to_text(array)), vectors.from_binary(vectors.to_binary(array))):
        assert copy.dtype == np.float32
        assert np.array_equal(copy, array)


@given(finite)
def test_binary_is_what_pgvector_python_writes(array: vectors.Array) -> None:
    assert vectors.to_binary(array) == pgvector.Vector(array).to_binary()


@pytest.mark.parametrize("value", ["[1,2]", pgvector.Vector([1, 2]), [1.0, 2.0], np.array([1, 2], np.float32)])
def test_whatever_a_driver_hands_over_becomes_an_array(value: object) -> None:
    array = vectors.from_database(value)
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [1, 2]


def test_null_stays_null() -> None:
    assert vectors.from_database(None) is None
