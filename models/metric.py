"""The metrics: one name each for the operator, the comparator method and the index's operator class."""

from __future__ import annotations

from enum import StrEnum

from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import opclass_of


class Metric(StrEnum):
    """How two vectors are compared; of each, a smaller distance is nearer."""

    COSINE = "cosine"
    L2 = "l2"
    INNER_PRODUCT = "inner_product"
    L1 = "l1"

    @property
    def method(self) -> str:
        """The comparator method of a vector column, such as ``cosine_distance``."""
        return _METHODS[self]

    def opclass(self, column_type: str) -> str:
        """Return the operator class of an index on a ``vector`` or ``halfvec`` column (pgvector README, "HNSW")."""
        return opclass_of(column_type, self)

    def score(self, distance: float) -> float:
        """Turn a distance into a score, larger is better.

        Cosine and inner product give the similarity itself; L2 and L1 give 1 / (1 + distance).
        """
        match self:
            case Metric.COSINE:
                return 1.0 - distance
            case Metric.INNER_PRODUCT:
                return -distance
            case _:
                return 1.0 / (1.0 + distance)


_METHODS = {
    Metric.COSINE: "cosine_distance",
    Metric.L2: "l2_distance",
    Metric.INNER_PRODUCT: "max_inner_product",
    Metric.L1: "l1_distance",
}


def parse_metric(metric: Metric | str) -> Metric:
    """Return the metric of that name.

    Raises:
        DefinitionError: There is none.
    """
    try:
        return Metric(metric)
    except ValueError as exc:
        raise DefinitionError(f"unknown metric {metric!r}: choose one of {', '.join(Metric)}") from exc
