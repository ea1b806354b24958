"""Which collections a switch is about: looked up, made, locked against a second switch, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Connection, Engine, Table

from pgcorpus.errors import CollectionNotFoundError, DatabaseError, SwitchError
from pgcorpus.locks import advisory_lock
from pgcorpus.repositories.switching import moving, standing
from pgcorpus.repositories.switching.moving import transaction
from pgcorpus.repositories.switching.standing import Standing, State, shadow_name
from pgcorpus.services.switching.reports import ShadowStatus, SwitchStatus

# Documents deleted by one transaction.
_DELETED = 500
# Seconds in which a switch that was killed gives its lock back.
_LOCK_WAIT = 1.0


def switch_lock(tenant: str, name: str) -> str:
    """Return the name of the lock that a collection's switch holds while it runs."""
    return f"switch of the collection {name!r} of the tenant {tenant!r}"


class Collections:
    """A collection and those that stand behind it.

    Args:
        engine: The database.
        tenant: Whose collections.
        name: The active collection's name.
        table: The documents'.
    """

    def __init__(self, engine: Engine, tenant: str, name: str, table: Table) -> None:
        self._engine = engine
        self._tenant = tenant
        self._name = name
        self._table = table

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of which a collection has one.

        Raises:
            SwitchError: Another switch holds it.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(advisory_lock(self._engine, switch_lock(self._tenant, self._name), _LOCK_WAIT))
            except DatabaseError as exc:
                raise SwitchError(f"another switch of {self._name!r} is running: {exc}") from exc
            yield

    def active(self) -> Standing:
        """Return the collection that has the name.

        Raises:
            CollectionNotFoundError: There is none.
            SwitchError: It stands behind another.
        """
        with transaction(self._engine) as connection:
            found = standing.standing_named(connection, self._tenant, self._name)
        if found is None:
            raise CollectionNotFoundError(
                f"there is no collection {self._name!r}: list what there is with `pgcorpus collections`"
            )
        if found.shadow_of is not None:
            raise SwitchError(f"{self._name!r} stands behind another collection: name that one")
        return found

    def behind(self, active: Standing) -> list[Standing]:
        """Return the collections that stand behind the active one."""
        with transaction(self._engine) as connection:
            return standing.standing_behind(connection, active.id)

    def shadow(self, active: Standing, model: str | None) -> Standing | None:
        """Return the collection of a model that stands behind the active one.

        Raises:
            SwitchError: It is being deleted.
        """
        found = next((each for each in self.behind(active) if each.embedding_model == model), None)
        if found is not None and found.state is State.DROPPED:
            raise SwitchError(f"{found.name!r} is being deleted: finish that first, with finish() or --finish")
        return found

    def check_whole(self, active: Standing) -> None:
        """Pass if all that a collection consists of can change places with it.

        Raises:
            SwitchError: It has documents in other tables, rows of other tables refer to its documents, its table has
                columns that its class does not know, or the role lacks a right.
        """
        with transaction(self._engine) as connection:
            lacking = standing.rights_lacking(connection, self._table)
            unknown = standing.unknown_columns(connection, self._table)
            others = standing.other_tables_in(connection, active.id, self._table)
            referring = standing.referring_tables(connection, self._table)
        if lacking:
            raise SwitchError(f"this role may not do all that a switch does: it lacks {', '.join(lacking)}")
        if unknown:
            raise SwitchError(
                f"the table {self._table.name} has columns that its class does not know, which would not be copied: "
                f"{', '.join(unknown)}. Declare a class with them, and give it as model"
            )
        if others:
            raise SwitchError(
                f"the collection {self._name!r} has rows in {', '.join(others)}, too: only documents of one model can "
                "be switched. Keep each model's documents in a collection of their own"
            )
        if referring:
            raise SwitchError(
                f"rows of {', '.join(referring)} refer to rows of {self._table.name} by foreign key: after a switch "
                "they would refer to the retired ones. Refer to a document's key instead"
            )

    def make_shadow(self, active: Standing, model: str) -> Standing:
        """Make a collection of a model behind the active one.

        Raises:
            SwitchError: Its name, or the one that the active collection is to have, is taken.
        """
        name = shadow_name(self._name, model)
        with transaction(self._engine) as connection:
            for taken in (name, shadow_name(self._name, active.embedding_model)):
                if standing.standing_named(connection, self._tenant, taken):
                    raise SwitchError(f"the collection {taken!r} is in the way: rename or delete it")
            standing.make_shadow(connection, self._tenant, active, name, model)
            made = standing.standing_named(connection, self._tenant, name)
        assert made is not None  # noqa: S101 -- made in this transaction
        return made

    def refill(self, retired: Standing) -> Standing:
        """Make a retired collection one that is to take the place."""
        with transaction(self._engine) as connection:
            standing.refill(connection, retired.id)
        return retired._replace(retired_at_id=None)

    def delete(self, shadow: Standing) -> int:
        """Delete a collection in short transactions, and return how many documents it had."""
        with transaction(self._engine) as connection:
            # Before the first: what is missing from it was not deleted by a late writer.
            standing.begin_drop(connection, shadow.id)
        deleted, some = 0, _DELETED
        while some == _DELETED:
            with transaction(self._engine) as connection:
                some = moving.delete_some(connection, self._table, shadow.id, _DELETED)
            deleted += some
        with transaction(self._engine) as connection:
            standing.drop(connection, shadow.id)
        return deleted

    def status(self) -> SwitchStatus:
        """Return the collection, and what stands behind it."""
        active = self.active()
        with transaction(self._engine) as connection:
            shadows = tuple(
                ShadowStatus(each.name, each.embedding_model, each.state, self._count(connection, each))
                for each in standing.standing_behind(connection, active.id)
            )
            return SwitchStatus(self._name, active.embedding_model, self._count(connection, active), shadows)

    def _count(self, connection: Connection, collection: Standing) -> int:
        return moving.count(connection, self._table, collection.id)
