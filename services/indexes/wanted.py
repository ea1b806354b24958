"""A vector index that is asked for: checked, named, and as the statement that builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table

from pgcorpus.autogenerate.site import aside
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import OPCLASSES, IndexForm, check_parameters, parse_form
from pgcorpus.models import Metric, parse_metric
from pgcorpus.models.index import INDEX_DIMENSIONS, form_opclass
from pgcorpus.names import quote

# pgvector README, "IVFFlat": lists are rows / 1,000 up to a million rows, then their square root.
_ROWS_PER_LIST, _MANY_ROWS = 1_000, 1_000_000
_MOST_LISTS = 32_768


@dataclass(frozen=True, slots=True)
class WantedIndex:
    """What an index of a model's vectors is to be like.

    Args:
        form: ``vector``, ``halfvec`` or ``binary``: what it keeps of an embedding.
        method: ``hnsw`` or ``ivfflat``.
        metric: What collections are searched by; ``binary`` serves cosine and inner product.
        options: ``m`` and ``ef_construction``, or ``lists``; the method's defaults, and lists by the number of rows.
        collection_id: Of a partial index, the collection that it is for.

    Raises:
        DefinitionError: pgvector could not build it.
    """

    form: IndexForm = IndexForm.VECTOR
    method: str = "hnsw"
    metric: Metric = Metric.COSINE
    options: Mapping[str, int] = field(default_factory=dict)
    collection_id: int | None = None

    def __post_init__(self) -> None:
        """Refuse what pgvector would refuse, before the server is asked."""
        check_parameters(self.method, self.options)
        if self.method == "ivfflat" and self.metric is Metric.L1:
            raise DefinitionError("IVFFlat has no operator class for l1: use hnsw, or another metric")
        form_opclass(self.form, self.metric)

    @property
    def where(self) -> str | None:
        """The predicate of a partial index, as SQL."""
        return None if self.collection_id is None else f"collection_id = {int(self.collection_id)}"


def wanted_index(
    form: IndexForm | str = IndexForm.VECTOR,
    method: str = "hnsw",
    metric: Metric | str = Metric.COSINE,
    *,
    collection_id: int | None = None,
    **options: int | None,
) -> WantedIndex:
    """Return what is asked for in words, checked; an option that is None is left to its default.

    Raises:
        DefinitionError: A word is unknown, or pgvector could not build it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return WantedIndex(parse_form(form), method, parse_metric(metric), given, collection_id)


def name_of(table: str, column: str, wanted: WantedIndex) -> str:
    """Return an index's name: the one that migrations give, and what makes it another, in at most 63 bytes."""
    parts = [
        "" if wanted.form is IndexForm.VECTOR else wanted.form.value,
        "" if wanted.metric is Metric.COSINE or wanted.form is IndexForm.BINARY else OPCLASSES[wanted.metric],
        "" if wanted.method == "hnsw" else wanted.method,
        "" if wanted.collection_id is None else f"c{wanted.collection_id}",
    ]
    return aside(f"ix_{table}_{column}", "".join(f"_{part}" for part in parts if part))


def definition_of(
    table: Table, schema: str | None, column: str, wanted: WantedIndex, extension: str | None = None
) -> VectorIndex:
    """Return the index as a statement can build it.

    Args:
        table: The model's table.
        schema: Where the database has it.
        column: The vector column.
        wanted: The index; IVFFlat with its lists.
        extension: The schema to qualify the extension's names with; None where the search_path finds them.

    Raises:
        DefinitionError: The column has more dimensions than an index of that form can hold.
    """
    dimensions = dimensions_of(table, column)
    check_dimensions(wanted.form, dimensions)
    prefix = "" if extension is None else f"{quote(extension)}."
    return VectorIndex(
        name=name_of(table.name, column, wanted),
        table=table.name,
        key=_key(quote(column), wanted.form, dimensions, prefix),
        opclass=prefix + form_opclass(wanted.form, wanted.metric),
        method=wanted.method,
        options=wanted.options,
        where=wanted.where,
        schema=schema,
    )


def _key(column: str, form: IndexForm, dimensions: int, prefix: str) -> str:
    match form:
        case IndexForm.VECTOR:
            return column
        case IndexForm.HALFVEC:
            return f"(({column})::{prefix}halfvec({dimensions}))"
        case _:
            return f"(({prefix}binary_quantize({column}))::bit({dimensions}))"


def dimensions_of(table: Table, column: str) -> int:
    """Return the dimensions of a model's vector column.

    Raises:
        DefinitionError: There is no such column, or it has none.
    """
    found: Any = table.columns.get(column)
    dimensions = getattr(getattr(found, "type", None), "dim", None)
    if not isinstance(dimensions, int):
        raise DefinitionError(f"{table.name}.{column} is no vector column with a number of dimensions")
    return dimensions


def check_dimensions(form: IndexForm, dimensions: int) -> None:
    """Pass if an index of a form can hold so many dimensions (pgvector README, "HNSW").

    Raises:
        DefinitionError: It cannot; the message names a form that can.
    """
    limit = INDEX_DIMENSIONS[form.type]
    if dimensions > limit:
        able = [each for each in IndexForm if dimensions <= INDEX_DIMENSIONS[each.type]]
        advice = f"take form {' or '.join(able)}" if able else "no form can"
        raise DefinitionError(f"a {form} index holds at most {limit:,} dimensions, not {dimensions:,}: {advice}")


def lists_for(rows: int) -> int:
    """Return how many lists an IVFFlat index of so many rows should have (pgvector README, "IVFFlat")."""
    lists = rows // _ROWS_PER_LIST if rows <= _MANY_ROWS else int(rows**0.5)
    return min(max(lists, 1), _MOST_LISTS)
