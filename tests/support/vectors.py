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


def hard_vectors(count: int, seed: int = 0, dimensions: int = 1536, intrinsic: int = 40) -> Array:
    """Return unit vectors of shape (count, dimensions) that HNSW finds hard, as it does real embeddings.

    They lie near a subspace of ``intrinsic`` dimensions, the same for every seed: of independent vectors all are
    equally far from each other, of few clusters all neighbours are obvious.
    """
    subspace = np.random.default_rng(1_000).normal(size=(intrinsic, dimensions))
    random = np.random.default_rng(seed)
    rows = random.normal(size=(count, intrinsic)) @ subspace + 0.3 * random.normal(size=(count, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
