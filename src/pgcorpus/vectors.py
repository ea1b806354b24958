"""What a vector is here: one float32 array, checked before it is sent, in pgvector's binary or text form."""

from __future__ import annotations

from math import inf
from typing import Any, TypeGuard

import numpy as np
import pgvector
from numpy.typing import ArrayLike, NDArray

from pgcorpus.errors import VectorError

Array = NDArray[np.float32]
VectorLike = ArrayLike | pgvector.Vector

_HEADER_BYTES = 4  # uint16 dimensions, uint16 unused (pgvector, vector_send)
_WIRE_FLOAT = np.dtype(">f4")


def as_array(value: VectorLike, dimensions: int | None = None) -> Array:
    """Return a vector as a float32 array that pgvector can store.

    Args:
        value: A list, tuple, numpy array or ``pgvector.Vector`` of shape (dimensions,).
        dimensions: The length wanted; without it any.

    Raises:
        VectorError: It is not one row of numbers, or its length differs, or a value is not finite in float32.
    """
    if _is_plain(value, dimensions) and float(value.dot(value)) < inf:
        return value  # a sum of squares that is a number tells in a fifth of the time that every value is one
    array = _float32(value)
    if array.ndim != 1 or array.size == 0:
        raise VectorError(f"a vector is one row of numbers; this has the shape {array.shape}")
    if dimensions is not None and array.size != dimensions:
        raise VectorError(f"expected {dimensions} dimensions, not {array.size}")
    if not np.isfinite(array).all():
        raise VectorError(f"the value at position {int(np.argmin(np.isfinite(array)))} is not a finite float32")
    return array


def as_searchable(value: VectorLike, dimensions: int | None = None) -> Array:
    """Return a vector as :func:`as_array` does, if it has a direction.

    The cosine distance of a zero vector is NaN, and HNSW leaves it out (pgvector README, "HNSW"). The same holds
    for one whose squared length leaves float32, in which pgvector sums.

    Raises:
        VectorError: As :func:`as_array`, or the vector has no length that can be computed.
    """
    if _is_plain(value, dimensions) and 0 < float(value.dot(value)) < inf:
        return value
    array = as_array(value, dimensions)
    with np.errstate(over="ignore", under="ignore"):
        squared = float(array @ array)
    if squared == 0 or not np.isfinite(squared):
        raise VectorError(f"a vector of length {'zero' if squared == 0 else 'infinity'} has no cosine distance")
    return array


def _is_plain(value: VectorLike, dimensions: int | None) -> TypeGuard[Array]:
    if not (isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim == 1):
        return False
    return value.size > 0 if dimensions is None else value.size == dimensions


def _float32(value: VectorLike) -> Array:
    if isinstance(value, pgvector.Vector):
        return np.asarray(value.to_numpy(), dtype=np.float32)  # big-endian from pgvector-python 0.4
    try:
        with np.errstate(over="ignore"):  # too large a value becomes infinite, which is refused by name
            return np.asarray(value, dtype=np.float32)
    except (TypeError, ValueError) as exc:
        raise VectorError(f"a vector is a row of numbers, not {type(value).__name__}") from exc


def to_binary(array: Array) -> bytes:
    """Return pgvector's binary form: two big-endian uint16 (dimensions, 0), then big-endian float32."""
    return array.size.to_bytes(2, "big") + b"\0\0" + array.astype(_WIRE_FLOAT).tobytes()


def to_text(array: Array) -> str:
    """Return pgvector's text form; nine digits bring every float32 back exactly (IEEE 754)."""
    return "[" + ",".join(["%.9g"] * array.size) % tuple(array.tolist()) + "]"


def from_binary(data: bytes | bytearray | memoryview) -> Array:
    """Return the array in pgvector's binary form."""
    return np.frombuffer(data, dtype=_WIRE_FLOAT, offset=_HEADER_BYTES).astype(np.float32)


def from_text(text: str) -> Array:
    """Return the array in pgvector's text form."""
    return np.fromstring(text[1:-1], dtype=np.float32, sep=",")


def from_database(value: Any) -> Array | None:
    """Return what any driver hands over for a vector column as a float32 array.

    Args:
        value: Text, bytes, an array, ``pgvector.Vector``, a list (pgvector-python before 0.5), or None.
    """
    match value:
        case None | np.ndarray():
            return value
        case str():
            return from_text(value)
        case bytes() | bytearray() | memoryview():
            return from_binary(value)
        case pgvector.Vector():
            return np.asarray(value.to_numpy(), dtype=np.float32)  # big-endian from pgvector-python 0.4
        case _:
            return np.asarray(value, dtype=np.float32)
