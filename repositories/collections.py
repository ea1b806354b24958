"""The collection a repository works in: found, made on first write, checked against the embedding model."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Pool, Select, TextClause, Update, select, text, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from pgcorpus.models import Collection, Metric
from pgcorpus.names import regclass_name
from pgcorpus.repositories.scope import Reference, Scope
from pgcorpus.repositories.transactions import connection_of, require_transaction

_MOST_REMEMBERED = 10_000

# Advisory locks of two numbers: ours, and one of so many that a transaction may write to any number of collections.
_GATES = 0x7067636F
_NUMBER_OF_GATES = 256
_SHARE_GATE = text("""
    SELECT pg_advisory_xact_lock_shared(:gates, :gate), current_setting('transaction_isolation')
    IN ('repeatable read', 'serializable') AND has_any_column_privilege(:collections, 'UPDATE') AS lockable
""")
_CLOSE_GATE = text("SELECT pg_advisory_xact_lock(:gates, :gate)")

# Of each pool, the collections seen, by tenant and name. A search asks the server in its own statement whether what
# is remembered still holds, so this saves a round trip and can never be wrong.
_seen: WeakKeyDictionary[Pool, dict[tuple[str, str], Reference]] = WeakKeyDictionary()


class Collections:
    """A tenant's collections, and the one of the scope.

    Args:
        session: The repository's session.
        scope: Names the tenant and the collection.
    """

    def __init__(self, session: Session, scope: Scope) -> None:
        self._session = session
        self._scope = scope
        self._seen: dict[tuple[str, str], Reference] | None = None

    def find(self) -> Collection | None:
        """Return the scope's collection, unchecked, or None."""
        return self._find(collection_named(self._scope.tenant, self._scope.collection))

    def _find(self, statement: Select[Any]) -> Collection | None:
        return self._session.scalars(statement).one_or_none()

    def get(self) -> Collection:
        """Return the scope's collection.

        Raises:
            CollectionNotFoundError: Nothing was written to it yet.
            EmbeddingModelMismatchError: It was embedded with another model.
        """
        return self._scope.checked(self.find())

    def held(self) -> Collection:
        """Return the scope's collection for a write: until the transaction ends its place is not taken by another.

        Raises:
            CollectionNotFoundError: Nothing was written to it yet.
            EmbeddingModelMismatchError: It was embedded with another model.
        """
        return self._scope.checked(self._hold())

    def _hold(self) -> Collection | None:
        """Share the gate, and look in a statement of its own: it sees what was committed while we waited there.

        A snapshot of the whole transaction does not, so there the row is locked, which fails if it has lost its name
        (SQLSTATE 40001). FOR KEY SHARE asks for UPDATE on the table: without, that is left out.
        """
        tenant, name = self._scope.tenant, self._scope.collection
        connection = connection_of(self._session, self._scope.model)
        collections = regclass_name(connection.schema_for_object(_TABLE), _TABLE.name)
        gate = share_gate(tenant, name).bindparams(collections=collections)
        found = collection_named(tenant, name)
        if connection.execute(gate).one().lockable:
            found = found.with_for_update(read=True, key_share=True)
        return self._find(found)

    def reference(self, *, fresh: bool = False) -> Reference:
        """Return the collection as it was last seen; the statement that uses it confirms it.

        Args:
            fresh: Look again.

        Raises:
            CollectionNotFoundError: Nothing was written to it yet.
            EmbeddingModelMismatchError: It was embedded with another model.
        """
        seen = self._seen if self._seen is not None else self._seen_in_pool()
        name = (self._scope.tenant, self._scope.collection)
        found = None if fresh else seen.get(name)
        if found is None or not self._scope.accepts(found):
            found = self._look()
            if len(seen) >= _MOST_REMEMBERED:
                seen.clear()
            seen[name] = found
        return self._scope.checked(found)

    def _seen_in_pool(self) -> dict[tuple[str, str], Reference]:
        self._seen = _seen.setdefault(connection_of(self._session, self._scope.model).engine.pool, {})
        return self._seen

    def _look(self) -> Reference:
        statement = _REFERENCE.where(
            Collection.tenant_id == self._scope.tenant, Collection.name == self._scope.collection
        )
        row = self._session.execute(statement).one_or_none()
        return self._scope.checked(None if row is None else Reference(*row))

    def ensure(self) -> Collection:
        """Return the scope's collection for a write, made if there is none, with its embedding model set.

        Raises:
            EmbeddingModelMismatchError: It was embedded with another model.
            DatabaseError: The session is in AUTOCOMMIT.
        """
        require_transaction(connection_of(self._session, self._scope.model))
        scope = self._scope
        if (found := self._hold()) is None:
            self._session.execute(
                new_collection(scope.tenant, scope.collection, scope.embedding_model, scope.metric, scope.language)
            )
            found = self._hold()
        collection = scope.checked(found)
        if scope.embedding_model and collection.embedding_model is None:
            self._session.execute(claim_model(collection.id, scope.embedding_model))
            self._session.refresh(collection)
        return scope.checked(collection)

    def all(self) -> Sequence[Collection]:
        """Return the tenant's collections by name."""
        return self._session.scalars(collections_of(self._scope.tenant)).all()


_TABLE: Any = Collection.__table__
_REFERENCE = select(Collection.id, Collection.embedding_model, Collection.distance, Collection.language)


def collection_named(tenant: str, name: str) -> Select[Any]:
    """Return the collection of that name."""
    return select(Collection).where(Collection.tenant_id == tenant, Collection.name == name)


def share_gate(tenant: str, name: str) -> TextClause:
    """Share the gate of a collection's writers until the transaction ends; ``collections`` is the table's name.

    A writer waits here while the collection changes places with another (:mod:`pgcorpus.repositories.switching`), and
    that waits for the writers who came before. Writers do not wait for each other.
    """
    return _SHARE_GATE.bindparams(gates=_GATES, gate=_gate(tenant, name))


def close_gate(tenant: str, name: str) -> TextClause:
    """Wait for the writers of a collection, and let none begin until the transaction ends."""
    return _CLOSE_GATE.bindparams(gates=_GATES, gate=_gate(tenant, name))


def _gate(tenant: str, name: str) -> int:
    return int.from_bytes(blake2b(f"{tenant}/{name}".encode(), digest_size=8).digest(), "big") % _NUMBER_OF_GATES


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
    """Return a tenant's collections by name, without those that stand behind another."""
    own = select(Collection).where(Collection.tenant_id == tenant, Collection.shadow_of.is_(None))
    return own.order_by(Collection.name)


def claim_model(collection_id: int, embedding_model: str) -> Update:
    """Give a collection its embedding model if it has none."""
    return (
        update(Collection)
        .where(Collection.id == collection_id, Collection.embedding_model.is_(None))
        .values(embedding_model=embedding_model)
    )
