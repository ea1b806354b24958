"""The statements, as pure functions of a model and parameters; executors run them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Delete,
    Float,
    Integer,
    Select,
    Text,
    Update,
    any_,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, Insert, insert

from pgcorpus.errors import SearchError
from pgcorpus.models import Collection, Metric
from pgcorpus.vectors import Array

# pgvector README, "HNSW": hnsw.ef_search is 1 to 1,000.
MAX_EF_SEARCH = 1_000
# Each takes a lock until the transaction ends, of the 6,400 that a server has by default.
MAX_SOURCES = 1_000
# At least .963 recall at every selectivity of a hard set (20,000 x 1536), where pgvector's 40 gave .79.
DEFAULT_EF_SEARCH = 160


@dataclass(frozen=True, slots=True)
class Nearest:
    """A nearest-neighbour search.

    Attributes:
        vector: Query vector of shape (dimensions,).
        k: Hits wanted.
        offset: Hits skipped.
        metric: How vectors are compared.
        condition: A filter.
        exact: Compare with every row rather than ask the index.
    """

    vector: Array
    k: int
    offset: int
    metric: Metric
    condition: ColumnElement[bool] | None
    exact: bool = False


def passage_columns(model: type[Any]) -> tuple[Any, ...]:
    """Return the columns of :class:`~pgcorpus.repositories.hits.DocumentView`, in its order."""
    return (model.collection_id, model.id, model.key, model.content, model.source, model.position, model.meta)


def in_collections(model: type[Any], ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the scope: ids, never a name to join, so that partitions and shards are pruned."""
    scope: ColumnElement[bool] = model.collection_id == any_(literal(list(ids), ARRAY(BigInteger)))
    return scope


def nearest(model: type[Any], ids: Sequence[int], search: Nearest) -> Select[Any]:
    """Return the search: nearest rows inside, in order outside.

    The inner query asks the index for twice what is wanted, since under a filter it goes on in a relaxed order. The
    outer one sorts by ``distance + 0``: without it the planner trusts the index's order and drops the sort.
    """
    inner = _candidates(model, ids, search).subquery("candidates")
    distance = inner.c.distance
    order = distance.op("+", return_type=Float())(_number(0))
    return _select(inner.c).order_by(order, inner.c.id).limit(_number(search.k)).offset(_number(search.offset))


def _candidates(model: type[Any], ids: Sequence[int], search: Nearest) -> Select[Any]:
    wanted = search.k + search.offset
    distance = getattr(model.embedding, search.metric.method)(search.vector).label("distance")
    columns = (*passage_columns(model), distance)
    statement = _select(columns).where(in_collections(model, ids), model.embedding.is_not(None))
    if search.condition is not None:
        statement = statement.where(search.condition)
    if search.exact:
        exact = getattr(model.embedding, search.metric.method)(search.vector).op("+", return_type=Float())(_number(0))
        return statement.order_by(exact).limit(_number(wanted))
    return statement.order_by(distance).limit(_number(2 * wanted))


def _select(columns: Iterable[Any]) -> Select[Any]:
    """Any: SQLAlchemy 2.0 and 2.1 disagree on the type of a row of unknown length."""
    statement: Any = select(*columns)
    return statement  # type: ignore[no-any-return]


def _number(value: int) -> Any:
    """A literal in the SQL text: with a bound LIMIT a generic plan is 60 times slower."""
    return bindparam(None, value, type_=Integer, unique=True, literal_execute=True)


def search_settings(ef_search: int | None, wanted: int) -> str:
    """Return the settings of a search for its transaction, as one batch.

    ``citus.propagate_set_commands`` sends them to the shards of a Citus cluster and means nothing elsewhere. The
    custom plan keeps a prepared filter from a generic plan that ignores the filter's selectivity.

    Args:
        ef_search: Candidates HNSW keeps, 1 to 1,000; by default 160 or twice the hits wanted.
        wanted: Hits wanted, skipped ones included.

    Raises:
        SearchError: ``ef_search`` is out of range.
    """
    if ef_search is not None and not 1 <= ef_search <= MAX_EF_SEARCH:
        raise SearchError(f"ef_search must be 1 to {MAX_EF_SEARCH:,}, not {ef_search:,}")
    chosen = ef_search or max(DEFAULT_EF_SEARCH, 2 * wanted)
    return "; ".join(
        (
            "SET LOCAL citus.propagate_set_commands = 'local'",
            f"SET LOCAL hnsw.ef_search = {min(int(chosen), MAX_EF_SEARCH)}",
            "SET LOCAL hnsw.iterative_scan = 'relaxed_order'",
            "SET LOCAL plan_cache_mode = 'force_custom_plan'",
        )
    )


def collection_named(tenant: str, name: str) -> Select[Any]:
    """Return the collection of that name."""
    return select(Collection).where(Collection.tenant_id == tenant, Collection.name == name)


def new_collection(tenant: str, name: str, embedding_model: str | None, metric: Metric, language: str) -> Insert:
    """Insert a collection unless another transaction just did."""
    values = {
        "tenant_id": tenant,
        "name": name,
        "embedding_model": embedding_model,
        "distance": metric.value,
        "language": language,
    }
    return insert(Collection).values(values).on_conflict_do_nothing(index_elements=["tenant_id", "name"])


def collections_of(tenant: str) -> Select[Any]:
    """Return a tenant's collections by name."""
    return select(Collection).where(Collection.tenant_id == tenant).order_by(Collection.name)


def claim_model(collection_id: int, embedding_model: str) -> Update:
    """Give a collection its embedding model if it has none."""
    return (
        update(Collection)
        .where(Collection.id == collection_id, Collection.embedding_model.is_(None))
        .values(embedding_model=embedding_model)
    )


def count(model: type[Any], ids: Sequence[int], condition: ColumnElement[bool] | None) -> Select[Any]:
    """Count the documents."""
    statement = select(func.count()).select_from(model).where(in_collections(model, ids))
    return statement if condition is None else statement.where(condition)


def by_id(model: type[Any], ids: Sequence[int], document_id: int) -> Select[Any]:
    """Return the document of that id."""
    return select(model).where(in_collections(model, ids), model.id == document_id)


def by_key(model: type[Any], ids: Sequence[int], key: str) -> Select[Any]:
    """Return the document of that key."""
    return select(model).where(in_collections(model, ids), model.key == key)


def source_names(model: type[Any], ids: Sequence[int]) -> Select[Any]:
    """Return the distinct sources."""
    return (
        select(model.source)
        .distinct()
        .where(in_collections(model, ids), model.source.is_not(None))
        .order_by(model.source)
    )


def stored_of_sources(model: type[Any], ids: Sequence[int], sources: Sequence[str]) -> Select[Any]:
    """Return what is stored of some sources, as :class:`~pgcorpus.repositories.sync.Stored` has it."""
    columns = (
        model.source,
        model.key,
        model.content_hash,
        model.position,
        model.meta,
        model.language,
        model.embedding.is_not(None).label("embedded"),
    )
    return _select(columns).where(in_collections(model, ids), model.source == any_(literal(list(sources), ARRAY(Text))))


def delete_keys(model: type[Any], ids: Sequence[int], keys: Sequence[str]) -> Delete:
    """Delete the documents of those keys."""
    return delete(model).where(in_collections(model, ids), model.key == any_(literal(list(keys), ARRAY(Text))))


def delete_sources(model: type[Any], ids: Sequence[int], sources: Sequence[str]) -> Delete:
    """Delete the documents of those sources."""
    return delete(model).where(in_collections(model, ids), model.source == any_(literal(list(sources), ARRAY(Text))))


def rewrite(model: type[Any], *, with_content: bool) -> Update:
    """Update a document by key from the parameters ``b_…``; one that is executed with many sets of them.

    Args:
        model: The mapped class.
        with_content: Whether content and embedding change too, or only metadata, position and language.
    """
    table = model.__table__
    values: dict[str, Any] = {
        "metadata": bindparam("b_metadata", type_=JSONB),
        "position": bindparam("b_position", type_=Integer),
        "language": bindparam("b_language", type_=Text),
        "version": table.c.version + 1,
        "updated_at": func.now(),
    }
    if with_content:
        values |= {name: bindparam(f"b_{name}", type_=table.c[name].type) for name in _CONTENT_COLUMNS}
    return (
        update(table)
        .where(table.c.collection_id == bindparam("b_collection_id"), table.c.key == bindparam("b_key"))
        .values(values)
    )


_CONTENT_COLUMNS = ("content", "content_hash", "embedding")


def lock_sources(collection_id: int, sources: Sequence[str]) -> Select[Any]:
    """Take turns with whoever writes the same sources, until the transaction ends; in one order, so no deadlock."""
    names = (
        func.unnest(literal([f"pgcorpus:{collection_id}:{source}" for source in sources], ARRAY(Text)))
        .table_valued("name")
        .alias("names")
    )
    keys = select(func.hashtextextended(names.c.name, 0).label("key")).order_by("key").offset(0).subquery()
    return select(func.count(func.pg_advisory_xact_lock(keys.c.key)))
