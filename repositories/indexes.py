"""The vector indexes of a table as the database has them, and which of them a search goes by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool, Table, text

from pgcorpus.indexing import IndexForm, metric_of, with_defaults
from pgcorpus.models import Metric
from pgcorpus.models.index import METRICS_BY_SIGNS
from pgcorpus.names import regclass_name

# Seconds for which a search goes by what this process saw last: a look takes as long as a search, and an index that
# came or went meanwhile changes how fast an answer is, and never makes it wrong.
REMEMBERED = 30.0

# Nothing here waits for a lock: sizes are those of the last build, VACUUM or ANALYZE.
INDEXES = """
    SELECT x.relname AS name, n.nspname AS schema, m.amname AS method, o.opcname AS opclass,
           pg_get_indexdef(x.oid, 1, true) AS element, pg_get_indexdef(x.oid) AS definition,
           pg_get_expr(i.indpred, i.indrelid) AS predicate, x.reloptions AS options,
           i.indisvalid AND i.indisready AND i.indislive AS valid,
           CASE WHEN a.atttypmod > 0 THEN a.atttypmod END AS dimensions,
           x.relpages * CAST(current_setting('block_size') AS bigint) AS bytes, greatest(x.reltuples, 0) AS rows
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_namespace n ON n.oid = x.relnamespace
    JOIN pg_am m ON m.oid = x.relam AND m.amname IN ('hnsw', 'ivfflat')
    JOIN pg_opclass o ON o.oid = i.indclass[0]
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attnum > 0
    WHERE i.indrelid = to_regclass(:table)
    ORDER BY x.relname
"""

# As PostgreSQL prints the expressions of the forms, with the extension's schema where the search_path lacks it.
_NAME = r'(?P<column>"(?:[^"]|"")+"|\w+)'
_SCHEMA = r'(?:(?:"(?:[^"]|"")+"|\w+)\.)?'
_HALVED = re.compile(rf"\(?{_NAME}::{_SCHEMA}halfvec\((?P<dimensions>\d+)\)\)?")
_SIGNS = re.compile(rf"\(?{_SCHEMA}binary_quantize\({_NAME}\)::bit\((?P<dimensions>\d+)\)\)?")
_PLAIN = re.compile(_NAME)
_EXPRESSIONS = {IndexForm.VECTOR: _PLAIN, IndexForm.HALFVEC: _HALVED, IndexForm.BINARY: _SIGNS}

# Searches want no others.
_EMBEDDED = re.compile(rf"\({_NAME} IS NOT NULL\)")
_OF_COLLECTION = re.compile(r"\(*collection_id = '?(?P<id>\d+)'?(?:::bigint)?\)*")


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """A vector index as the database has it.

    Attributes:
        name: Without its schema.
        schema: Its schema.
        method: ``hnsw`` or ``ivfflat``.
        form: What it keeps of an embedding.
        metric: What it compares by; None where that is no metric of a search, as of signs.
        column: The name of the vector column.
        options: ``m`` and ``ef_construction``, or ``lists``; with the defaults.
        predicate: Of a partial index, as PostgreSQL prints it.
        collection_id: Of an index of one collection.
        valid: Whether searches may use it.
        dimensions: Of the column; None where it has none.
        bytes: Its size when it was last built, vacuumed or analysed.
        rows: How many it had then.
        definition: As ``pg_get_indexdef`` tells it.
    """

    name: str
    schema: str
    method: str
    form: IndexForm
    metric: Metric | None
    column: str
    options: Mapping[str, int]
    predicate: str | None
    collection_id: int | None
    valid: bool
    dimensions: int | None
    bytes: int
    rows: float
    definition: str

    def serves(self, column: str, metric: Metric, collection_id: int | None) -> bool:
        """Say whether a search may go by it: of signs one by direction, and a partial one in its collection.

        Args:
            column: The name of the column searched.
            metric: Of the search.
            collection_id: The collection searched; None for a whole table.
        """
        if self._is_partial and (self.collection_id is None or self.collection_id != collection_id):
            return False
        return self.compares(column, metric)

    def can_be_asked(self, form: IndexForm | None, dimensions: int | None) -> bool:
        """Say whether it is of a form, if one is asked for; a statement asks a smaller one by the mapped dimensions."""
        if form not in (None, self.form):
            return False
        return self.form is IndexForm.VECTOR or self.dimensions == dimensions

    @property
    def _is_partial(self) -> bool:
        """Whether it lacks rows with an embedding."""
        embedded = _EMBEDDED.fullmatch(self.predicate or "")
        return self.predicate is not None and not (embedded and _unquoted(embedded["column"]) == self.column)

    def compares(self, column: str, metric: Metric) -> bool:
        """Say whether it is valid, and compares as a search does."""
        if not self.valid or self.column != column:
            return False
        return self.metric is metric or (self.form is IndexForm.BINARY and metric in METRICS_BY_SIGNS)


class Serving(NamedTuple):
    """What a search goes by.

    Attributes:
        form: Of the index; None where there is none, and all rows are compared.
        lists: Of an IVFFlat index, which the planner may prefer to one of HNSW beside it; None where there is none.
        definition: As ``pg_get_indexdef`` tells it.
        elsewhere: Whether there are only partial ones: of other collections, which are large enough for it, or of rows
            that a filter may ask for.
    """

    form: IndexForm | None = None
    lists: int | None = None
    definition: str | None = None
    elsewhere: bool = False


UNSERVED = Serving()


def read_indexes(connection: Connection, table: Any) -> tuple[VectorIndex, ...]:
    """Return the vector indexes of a table, valid or not, by name.

    Args:
        connection: On psycopg or psycopg2; in the schema that its translate map puts the table in.
        table: A table; anything else, such as a joined class's, has none.
    """
    if not isinstance(table, Table):
        return ()
    return read_indexes_of(connection, connection.schema_for_object(table), table.name)


def read_indexes_of(connection: Connection, schema: str | None, table: str) -> tuple[VectorIndex, ...]:
    """Return the vector indexes of a table by its name, as :func:`read_indexes` does."""
    rows = connection.execute(text(INDEXES), {"table": regclass_name(schema, table)})
    return tuple(index for row in rows if (index := index_of(row)) is not None)


def index_of(row: Any) -> VectorIndex | None:
    """Return a row of ``INDEXES`` as an index, or None for one of a kind that no search of ours goes by."""
    kind = metric_of(row.opclass)
    form = next((form for form in IndexForm if kind is not None and form.type == kind[0]), None)
    # Of one that was dropped since the transaction's snapshot was taken the server tells no element any more.
    element = _EXPRESSIONS[form].fullmatch(row.element or "") if form else None
    if kind is None or form is None or element is None:
        return None
    parts = element.groupdict()
    predicate = _OF_COLLECTION.fullmatch(row.predicate or "")
    return VectorIndex(
        name=row.name,
        schema=row.schema,
        method=row.method,
        form=form,
        metric=next((metric for metric in Metric if metric.value == kind[1]), None),
        column=_unquoted(parts["column"]),
        options=with_defaults(row.method, _options(row.options)),
        predicate=row.predicate,
        collection_id=int(predicate["id"]) if predicate else None,
        valid=row.valid,
        dimensions=int(parts["dimensions"]) if "dimensions" in parts else row.dimensions,
        bytes=int(row.bytes),
        rows=float(row.rows),
        definition=row.definition,
    )


def _options(options: Sequence[str] | None) -> dict[str, int]:
    pairs = (option.partition("=") for option in options or ())
    return {name: int(value) for name, _, value in pairs if value.isdigit()}


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


# As this process saw them, by pool and table


class _Seen(NamedTuple):
    until: float
    indexes: tuple[VectorIndex, ...]
    serving: dict[tuple[str, int | None, Metric, int | None, IndexForm | None], Serving]


_seen: WeakKeyDictionary[Pool, dict[str, _Seen]] = WeakKeyDictionary()


def serving(
    connection: Connection,
    table: Any,
    column: str,
    dimensions: int | None,
    metric: Metric,
    collection_id: int | None,
    form: IndexForm | None,
) -> Serving:
    """Return what a search goes by: an index of whole vectors, else one of halved numbers, else one of signs.

    Args:
        connection: The search's.
        table: Of the column searched.
        column: The name of the column searched.
        dimensions: Of the column, as it is mapped.
        metric: Of the search.
        collection_id: The collection searched.
        form: The one that is asked for.
    """
    if not isinstance(table, Table):
        return UNSERVED
    seen = _look(connection, table)
    key = (column, dimensions, metric, collection_id, form)
    found = seen.serving.get(key)
    if found is None:
        found = seen.serving[key] = _best(seen.indexes, *key)
    return found


def forget_indexes(connection: Connection) -> None:
    """Have this process's searches look again which indexes there are."""
    _seen.pop(connection.engine.pool, None)


def _look(connection: Connection, table: Table) -> _Seen:
    of_pool = _seen.setdefault(connection.engine.pool, {})
    name = f"{connection.schema_for_object(table)}.{table.name}"
    seen = of_pool.get(name)
    if seen is None or seen.until < monotonic():
        seen = of_pool[name] = _Seen(monotonic() + REMEMBERED, read_indexes(connection, table), {})
    return seen


def _best(
    indexes: Sequence[VectorIndex],
    column: str,
    dimensions: int | None,
    metric: Metric,
    collection_id: int | None,
    form: IndexForm | None,
) -> Serving:
    order = tuple(IndexForm)
    search = (column, metric, collection_id)
    usable = [index for index in indexes if index.can_be_asked(form, dimensions) and index.serves(*search)]
    if not usable:
        return Serving(elsewhere=any(index._is_partial and index.compares(column, metric) for index in indexes))
    # Among those of a form the planner chooses; a collection's own is the smaller one.
    best = min(usable, key=lambda index: (order.index(index.form), index.collection_id is None, index.method))
    lists = (index.options["lists"] for index in usable if index.form is best.form and "lists" in index.options)
    return Serving(best.form, max(lists, default=None), best.definition)
