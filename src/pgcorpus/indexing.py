"""What pgvector can index: the methods, their parameters, and the names of its operator classes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pgcorpus.errors import DefinitionError

METHODS = ("hnsw", "ivfflat")

# pgvector README, "HNSW" and "IVFFlat": parameter, lowest, highest, default.
PARAMETERS = {"hnsw": {"m": (2, 100, 16), "ef_construction": (4, 1000, 64)}, "ivfflat": {"lists": (1, 32_768, 100)}}

# pgvector README, "HNSW" and "IVFFlat": what each metric is called in the name of an operator class.
OPCLASSES = {
    "cosine": "cosine",
    "l2": "l2",
    "inner_product": "ip",
    "l1": "l1",
    "hamming": "hamming",
    "jaccard": "jaccard",
}
TYPES = ("vector", "halfvec", "bit", "sparsevec")


class IndexForm(StrEnum):
    """What a vector index keeps of an embedding: all of it, half of each number, or their signs.

    From the smaller two a search takes more rows than it wants, and compares those exactly (pgvector README,
    "Half-Precision Indexing" and "Binary Quantization").
    """

    VECTOR = "vector"
    HALFVEC = "halfvec"
    BINARY = "binary"

    @property
    def type(self) -> str:
        """The type of what is kept."""
        return "bit" if self is IndexForm.BINARY else self.value


def parse_form(form: IndexForm | str) -> IndexForm:
    """Return the form of that name.

    Raises:
        DefinitionError: There is none.
    """
    try:
        return IndexForm(form)
    except ValueError:
        raise DefinitionError(f"form is one of {', '.join(IndexForm)}, not {form!r}") from None


def check_parameters(method: str, options: Mapping[str, Any]) -> None:
    """Pass if pgvector can build an index so.

    Raises:
        DefinitionError: The method is unknown, or a parameter is not its own or out of range.
    """
    if method not in METHODS:
        raise DefinitionError(f"method is one of {', '.join(METHODS)}, not {method!r}")
    known = PARAMETERS[method]
    for name, value in options.items():
        if name not in known:
            raise DefinitionError(f"{method} has no parameter {name!r}: it has {', '.join(known)}")
        low, high, _ = known[name]
        if not low <= value <= high:
            raise DefinitionError(f"{name} must be {low:,} to {high:,}, not {value:,}")
    full = with_defaults(method, options)
    if method == "hnsw" and full["ef_construction"] < 2 * full["m"]:
        raise DefinitionError(
            f"ef_construction must be at least 2 * m = {2 * full['m']}, not {full['ef_construction']}"
        )


def with_defaults(method: str, options: Mapping[str, int]) -> dict[str, int]:
    """Return all of a method's parameters: an index without one is an index with its default."""
    return {name: options.get(name, default) for name, (_, _, default) in PARAMETERS[method].items()}


def opclass_of(type_: str, metric: str) -> str:
    """Return the operator class of an element type and a metric.

    Raises:
        DefinitionError: pgvector has none.
    """
    if type_ not in TYPES or metric not in OPCLASSES or (type_ == "bit") != (metric in ("hamming", "jaccard")):
        raise DefinitionError(
            f"pgvector has no operator class for {metric!r} on {type_!r}: vector, halfvec and sparsevec take cosine, "
            "l2, inner_product and l1, bit takes hamming and jaccard"
        )
    return f"{type_}_{OPCLASSES[metric]}_ops"


def metric_of(opclass: str) -> tuple[str, str] | None:
    """Return the element type and the metric of an operator class, or None for one that is not pgvector's."""
    for type_ in TYPES:
        for metric in OPCLASSES:
            if opclass == f"{type_}_{OPCLASSES[metric]}_ops":
                return type_, metric
    return None
