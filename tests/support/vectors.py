"""Vectors for tests."""

from __future__ import annotations

import numpy as np

from pgcorpus.vectors import Array


def random_vectors(count: int, dimensions: int = 1536, seed: int = 0) -> Array:
    """Return independent normal vectors of shape (count, dimensions), the same on every run."""
    return np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)


def unit(position: int, dimensions: int = 1536) -> Array:
    """Return the unit vector along one axis."""
    vector = np.zeros(dimensions, dtype=np.float32)
    vector[position] = 1
    return vector
