"""The repository of any mapped class with a vector column, for a :class:`sqlalchemy.orm.Session`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, Unpack

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from pgcorpus import vectors
from pgcorpus.errors import DefinitionError, SearchError
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Metric, parse_metric
from pgcorpus.models.collection import DEFAULT_LANGUAGE
from pgcorpus.repositories.filters import Where, compile_filter
from pgcorpus.repositories.hits import Facet, Hits, Page, row_maker
from pgcorpus.repositories.search import listing, nearest
from pgcorpus.repositories.search.explanation import Explanation, explain
from pgcorpus.repositories.search.nearest import QUERY
from pgcorpus.repositories.search.planning import plan_search, planned_anew
from pgcorpus.repositories.search.requests import (
    Request,
    SearchOptions,
    check_queries,
    check_range,
    make_request,
    request_of,
)
from pgcorpus.repositories.search.searcher import Scoped, Searcher, only_plain
from pgcorpus.repositories.search.settings import search_settings
from pgcorpus.repositories.search.telling import Kind, Names, told_search
from pgcorpus.repositories.target import SCOPE, Target, make_target
from pgcorpus.repositories.transactions import connection_of, require_transaction
from pgcorpus.repositories.writing.index_policy import IndexPolicy
from pgcorpus.repositories.writing.loading import Progress, load
from pgcorpus.repositories.writing.selection import limiting_condition

M = TypeVar("M")
T = TypeVar("T", bound=Iterable[Any])
S = TypeVar("S", bound=Sequence[Any])

MAX_PAGE = 10_000


class VectorRepository(Generic[M]):
    """Rows of a mapped class, searched by one of its vector columns.

    It works inside the session's transaction, flushes and never commits.

    Args:
        session: Any session on PostgreSQL, the host's own included.
        model: The mapped class.
        column: The attribute of the vector column; not needed where there is one only.
        metric: The metric of searches that name none; by default that of the column's declared index, else cosine.

    Raises:
        DefinitionError: The class has no such vector column, or several to choose from.
    """

    def __init__(
        self, session: Session, model: type[M], column: str | None = None, *, metric: Metric | str | None = None
    ) -> None:
        self._bind(session, make_target(model, column))
        self._metric = parse_metric(metric) if metric is not None else _metric_of(self._target)

    def _bind(self, session: Session, target: Target) -> None:
        self._session = session
        self._target = target
        self._searcher = Searcher(session, target)

    # What a scoped repository overrides

    _names: Names = (None, None)

    def _scoped(self, *, fresh: bool = False) -> Scoped:  # noqa: ARG002 -- nothing is remembered here
        """Return the scope of a search: what was remembered of it, or what the server says now."""
        return Scoped({}, self._metric, DEFAULT_LANGUAGE)

    def _scope_parameters(self) -> Mapping[str, Any]:
        """Return the scope of any other statement."""
        return {}

    # Searching

    def search(
        self,
        vector: vectors.VectorLike,
        k: int = 10,
        *,
        where: Where | None = None,
        metric: Metric | str | None = None,
        min_score: float | None = None,
        ef_search: int | None = None,
        probes: int | None = None,
        exact: bool = False,
        offset: int = 0,
        include_embedding: bool = False,
        columns: Sequence[str] | None = None,
        context: int = 0,
        timeout: float | None = None,
        group_by: str | None = None,
        diversify: float | None = None,
        entities: bool = False,
        recall: float | None = None,
        form: IndexForm | str | None = None,
        rerank: int | None = None,
        scan: str | None = None,
    ) -> Hits[Any]:
        """Return the ``k`` nearest rows, nearest first.

        A filtered search returns ``min(k, matches)`` hits: where the index scan gave up early, an exact one
        completes the answer. Rows without an embedding are no matches.

        Args:
            vector: Query vector of shape (dimensions,).
            k: Hits wanted, 1 to 1,000,000.
            where: A filter; see :mod:`pgcorpus.repositories.filters`.
            metric: One that no index serves is answered exactly, by a full scan, and said so in the log.
            min_score: Leave out hits below this score.
            ef_search: Candidates HNSW keeps, 1 to 1,000 (pgvector README, "HNSW"); by default 160, or 2 (k + offset).
            probes: Lists that IVFFlat looks into; by default the root of the declared number of lists.
            exact: Compare with every row rather than ask the index.
            offset: Hits to skip.
            include_embedding: Fetch the embeddings too.
            columns: The attributes to fetch, for a named tuple in place of the document.
            context: Passages to bring along on each side of a hit in its source, at most 100.
            timeout: Seconds after which the search is given up; the transaction stays usable.
            group_by: A column or metadata path (``source``): only the nearest hit of each of its values.
            diversify: 0 to 1: choose hits unlike each other (maximal marginal relevance), in the order of choice.
            entities: Return mapped objects of the session as documents.
            recall: 0 to 1: the share of the nearest to be found, by the cheapest setting that reached it when the
                collection was measured (``pgcorpus tune``); without a calibration by a safe one, or exactly.
            form: Go by an index of this form (``vector``, ``halfvec``, ``binary``); by default by the first of them
                that there is.
            rerank: Rows taken from the index and compared exactly; by default 2 (k + offset), of an index of signs
                twenty times as many, at least 400.
            scan: How an index scan goes on where it has found too few: ``relaxed_order``, the default,
                ``strict_order`` or ``off`` (pgvector README, "Iterative Index Scans").

        Raises:
            CollectionNotFoundError: There is no such collection.
            EmbeddingModelMismatchError: It was embedded with another model.
            FilterError: The filter cannot be understood.
            SearchError: A number is out of range, a column is unknown, or two options exclude each other.
            SearchTimeoutError: The timeout is over.
            VectorError: The vector has another length, or is zero or not finite.
        """
        request = request_of(
            k,
            metric,
            min_score,
            ef_search,
            probes,
            exact,
            offset,
            include_embedding,
            columns,
            context,
            timeout,
            group_by,
            diversify,
            entities,
            recall,
            form,
            rerank,
            scan,
        )
        return self._search(vectors.as_searchable(vector, self._target.dimensions), where, request)

    def search_many(
        self, queries: Sequence[vectors.VectorLike], k: int = 10, **options: Unpack[SearchOptions]
    ) -> Sequence[Hits[Any]]:
        """Return the nearest rows to each vector, in one round trip.

        Args:
            queries: Query vectors of shape (n, dimensions), at most 500.
            k: Hits wanted for each.
            **options: As in :meth:`search`, but for ``context``, ``group_by`` and ``entities``.

        Raises:
            VectorError: A vector cannot be compared; the message names its position.
            SearchError: As in :meth:`search`.
        """
        request = make_request(k, options)
        only_plain(request, "search_many", "context", "group_by", "entities")
        check_range("the number of queries", len(queries), 0, MAX_QUERIES)
        arrays = check_queries(queries, self._target.dimensions)
        if not arrays:
            return []
        where = options.get("where")
        return self._told(
            "many",
            request,
            where,
            lambda: self._answered(lambda scoped: self._searcher.search_each(arrays, where, request, scoped)),
        )

    def search_like(self, key: Any, k: int = 10, **options: Unpack[SearchOptions]) -> Hits[Any]:
        """Return the rows nearest to a stored one, without itself.

        Args:
            key: The stored row's id; its primary key as a tuple if that has several columns.
            k: Hits wanted.
            **options: As in :meth:`search`.

        Raises:
            SearchError: There is no such row, or it has no embedding; and as in :meth:`search`.
        """
        request = make_request(k, options)
        parameters = self._scope_parameters()
        keys = self._key_conditions(key, parameters)
        vector = self._session.scalars(listing.vector_of(self._target, keys), dict(parameters)).one_or_none()
        if vector is None:
            raise SearchError(f"there is no row {key!r} with an embedding to search by")
        return self._search(vectors.as_searchable(vector), options.get("where"), request, listing.not_this(keys))

    def explain(self, vector: vectors.VectorLike, k: int = 10, **options: Unpack[SearchOptions]) -> Explanation:
        """Run a search and tell how the server answered it.

        Args:
            vector: Query vector of shape (dimensions,).
            k: Hits wanted.
            **options: As in :meth:`search`.

        Raises:
            SearchError: As in :meth:`search`.
        """
        request = make_request(k, options)
        array = vectors.as_searchable(vector, self._target.dimensions)
        scoped = self._scoped(fresh=True)
        condition = self._filter(options.get("where"))
        connection = connection_of(self._session, self._target.model)
        collection_id = scoped.parameters.get(SCOPE)
        plan = plan_search(
            connection, self._target, request, scoped.metric, collection_id, filtered=condition is not None
        )
        settings = planned_anew(plan.settings)
        with search_settings(connection, settings):
            parameters = {**scoped.parameters, QUERY: array}
            statement = nearest.nearest(plan.shape, condition)
            return explain(connection, statement, parameters, plan, settings.values())

    def _search(
        self, vector: vectors.Array, where: Where | None, request: Request, *extra: ColumnElement[bool]
    ) -> Hits[Any]:
        run = self._searcher.entities if request.entities else self._searcher.search
        return self._told(
            "vector",
            request,
            where,
            lambda: self._answered(lambda scoped: run(vector, where, request, scoped, *extra)),
        )

    def _told(self, kind: Kind, request: Request, where: Where | None, run: Callable[[], S]) -> S:
        return told_search(kind, self._names, request, where is not None, run)

    def _answered(self, run: Callable[[Scoped], T]) -> T:
        """Return an answer of the scope as remembered; if nothing was found, of the scope as it is."""
        scoped = self._scoped()
        answer = run(scoped)
        if not any(answer):
            now = self._scoped(fresh=True)
            if now != scoped:
                return run(now)
        return answer

    # Reading

    def count(self, where: Where | None = None) -> int:
        """Return how many rows there are, or match a filter."""
        number: int = self._session.execute(
            listing.count_rows(self._target, self._filter(where)), self._scope_parameters()
        ).scalar_one()
        return number

    def list(
        self,
        where: Where | None = None,
        *,
        limit: int = 100,
        after: Any | None = None,
        columns: Sequence[str] | None = None,
        include_embedding: bool = False,
        entities: bool = False,
    ) -> Page[Any]:
        """Return a page of rows in the order of their primary key; each page costs the same, however far in.

        Args:
            where: A filter.
            limit: Rows of a page, at most 10,000.
            after: The ``next`` of the page before.
            columns: The attributes to fetch, for named tuples.
            include_embedding: Fetch the embeddings too.
            entities: Return mapped objects of the session.

        Raises:
            FilterError: The filter cannot be understood.
            SearchError: A number is out of range, or a column is unknown.
        """
        check_range("limit", limit, 1, MAX_PAGE)
        if entities:
            return self._page_of_entities(where, limit, after, include_embedding)
        names = self._target.light_columns if columns is None else self._target.checked_columns(tuple(columns))
        vectors = (self._target.column,) if include_embedding else ()
        rows, following = self._rows(where, limit, after, names, vectors, self._scope_parameters())
        make = row_maker((*names, *vectors))
        return Page(tuple(make(*row) for row in rows), following)

    def _page_of_entities(self, where: Where | None, limit: int, after: Any, embedding: bool) -> Page[Any]:
        target, parameters = self._target, self._scope_parameters()
        start = None if after is None else self._as_key(after, parameters)
        statement = listing.page_of_entities(target, start, limit, self._filter(where), embedding=embedding)
        found = tuple(self._session.scalars(statement, parameters))
        last = tuple(getattr(found[-1], key) for key in target.keys) if len(found) == limit else None
        return Page(found, None if last is None else self._as_next(last))

    def _rows(
        self,
        where: Where | None,
        limit: int,
        after: Any,
        names: tuple[str, ...],
        vectors: tuple[str, ...],
        parameters: Mapping[str, Any],
    ) -> tuple[Sequence[Any], Any]:
        """Return a page's rows without their keys, and what the next page is to begin behind."""
        start = None if after is None else self._as_key(after, parameters)
        statement = listing.page_of_rows(self._target, names, vectors, start, limit, self._filter(where))
        rows = self._session.execute(statement, parameters).all()
        width = len(names) + len(vectors)
        following = self._as_next(tuple(rows[-1][width:])) if len(rows) == limit else None
        return [row[:width] for row in rows], following

    def export(
        self, where: Where | None = None, *, batch_size: int = 500, after: Any | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Yield every row as a mapping with its vectors, in the order of the primary key and bounded memory.

        What comes out goes into ``bulk_load`` and ``upsert`` as it is.

        Args:
            where: A filter.
            batch_size: Rows fetched at a time.
            after: The primary key to go on behind, as in :meth:`list`.

        Raises:
            FilterError: The filter cannot be understood.
        """
        check_range("batch_size", batch_size, 1, MAX_PAGE)
        parameters = self._scope_parameters()
        vectors = tuple(name for name in self._target.written_columns if self._target.is_vector(name))
        names = tuple(name for name in self._target.written_columns if name not in vectors)
        while True:
            rows, after = self._rows(where, batch_size, after, names, vectors, parameters)
            for row in rows:
                yield dict(zip((*names, *vectors), row, strict=True))
            if after is None:
                return

    def facets(self, field: str, where: Where | None = None, *, limit: int = 50) -> Sequence[Facet]:
        """Return the values of a field and how many rows have each, the commonest first.

        Args:
            field: A column or a metadata path, as in a filter; of a list in the metadata each element counts.
            where: A filter.
            limit: Values wanted, at most 10,000.

        Raises:
            FilterError: The field is unknown, or the filter cannot be understood.
            SearchError: ``limit`` is out of range.
        """
        check_range("limit", limit, 1, MAX_PAGE)
        statement = listing.facet_counts(self._target, field, limit, self._filter(where))
        rows: Any = self._session.execute(statement, self._scope_parameters())
        return [Facet(value, number) for value, number in rows]

    def _filter(self, where: Where | None) -> ColumnElement[bool] | None:
        return compile_filter(where, self._target.model)

    # Writing

    def add(self, item: Any, /) -> Any:
        """Add one new mapped object and flush, so that it has its key."""
        return self.add_many([item])[0]

    def add_many(self, items: Iterable[Any], /) -> Sequence[Any]:
        """Add new mapped objects and flush, so that they have their keys; all or none.

        Args:
            items: Unsaved instances of the class.

        Raises:
            DatabaseError: The session is in AUTOCOMMIT.
            VectorError: A vector cannot be stored.
        """
        added = list(items)
        require_transaction(connection_of(self._session, self._target.model))
        with self._session.begin_nested():
            self._session.add_all(added)
            self._session.flush()
        return added

    def bulk_load(
        self,
        items: Iterable[Any],
        /,
        *,
        index: IndexPolicy | str = IndexPolicy.AUTO,
        progress: Progress | None = None,
        expected: int | None = None,
    ) -> int:
        """Load new rows in bounded memory, by binary COPY on psycopg 3, and return how many there were; all or none.

        Args:
            items: Mappings of attribute names, or unsaved instances; taken one by one.
            index: ``auto`` drops the vector indexes, loads and rebuilds them once, where that pays; ``keep`` never
                drops; ``defer`` drops and does not rebuild. All of it is part of the transaction.
            progress: Called with the number of rows so far, after every 1,000 and at the end.
            expected: How many rows there will be, where ``items`` has no length.

        Raises:
            DatabaseError: The session is in AUTOCOMMIT.
            DefinitionError: There is no such policy.
            DocumentError: A row cannot be stored, or is stored already; the message names its position.
            VectorError: A vector cannot be stored.
        """
        return load(self._session, self._target.model, items, index=index, progress=progress, expected=expected)

    def delete(self, where: Where | None = None, *, everything: bool = False) -> int:
        """Delete the rows that a filter finds, and return how many there were.

        Args:
            where: A filter. One that says nothing about a row is refused.
            everything: Instead of a filter: delete all rows.

        Raises:
            FilterError: The filter cannot be understood, or would delete everything.
        """
        condition = limiting_condition(where, self._target.model, everything=everything)
        statement = listing.deletion(self._target, condition)
        result = self._session.execute(statement, dict(self._scope_parameters()))
        return int(result.rowcount)  # type: ignore[attr-defined]

    # Keys

    def _as_key(self, key: Any, parameters: Mapping[str, Any]) -> tuple[Any, ...]:  # noqa: ARG002 -- of a scope
        """Return a primary key as a tuple."""
        return tuple(key) if isinstance(key, tuple | list) else (key,)

    def _as_next(self, key: tuple[Any, ...]) -> Any:
        """Return a primary key as :meth:`list` takes it."""
        return key[0] if len(key) == 1 else key

    def _key_conditions(self, key: Any, parameters: Mapping[str, Any]) -> Sequence[ColumnElement[bool]]:
        values = self._as_key(key, parameters)
        if len(values) != len(self._target.keys):
            raise SearchError(f"a key of {self._target.model.__name__} is {', '.join(self._target.keys)}")
        return listing.key_conditions(self._target, values)


MAX_QUERIES = 500


def _metric_of(target: Target) -> Metric:
    """The metric of the declared index: what the operator must match for the index to be used."""
    metrics = target.indexed_metrics()
    if len(metrics) > 1 and Metric.COSINE not in metrics:
        raise DefinitionError(f"name a metric: the indexes of {target.column} serve {', '.join(sorted(metrics))}")
    return next(iter(metrics)) if len(metrics) == 1 else Metric.COSINE
