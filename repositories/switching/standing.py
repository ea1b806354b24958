"""Which collections stand behind another: found, made, brought into its place, dropped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, column, delete, exists, func, insert, literal, select, table, text, update

from pgcorpus.models import Calibration, Collection
from pgcorpus.models.document import content_hash
from pgcorpus.names import qualified, regclass_name
from pgcorpus.repositories.collections import close_gate
from pgcorpus.repositories.writing.drafts import MAX_NAME_BYTES

# In `retired_at_id` of one whose documents are being deleted: what it lacks was not deleted by a late writer.
_DROPPED = -1
_UNNAMED = "unnamed"
_TABLE: Any = Collection.__table__
_SETTING = text("SELECT set_config(:name, :value, true)")
# Documents have the time at which their transaction began. Those that go on are taken for such as began after the flip;
# one that has no number yet gets a higher one than the flip's, by which what it writes is known.
_RETIRED_AT = text("""
    least(clock_timestamp(), (
        SELECT min(xact_start) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
    ))
""")
_OTHER_HOLDERS = text("""
    SELECT n.nspname, c.relname, a.attname
    FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
    WHERE f.contype = 'f' AND f.conparentid = 0 AND f.confrelid = to_regclass(:collections)
      AND f.conrelid NOT IN (to_regclass(:collections), to_regclass(:documents))
      -- They are of the row that was measured, and stay with it.
      AND f.conrelid IS DISTINCT FROM to_regclass(:calibrations)
    ORDER BY 1, 2
""")
_REFERRERS = text("""
    SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
    WHERE contype = 'f' AND confrelid = to_regclass(:name) ORDER BY 1
""")
# LOCK TABLE asks for as much as a DELETE does.
_RIGHTS_LACKING = text("""
    SELECT a.privilege || ' on ' || t.name
    FROM unnest(CAST(:names AS text[])) AS t (name)
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS a (privilege)
    WHERE NOT has_table_privilege(t.name, a.privilege)
    ORDER BY 1
""")
_COLUMN_NAMES = text("""
    SELECT attname FROM pg_attribute
    WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
""")


class State(StrEnum):
    """What a collection that stands behind another is there for.

    Attributes:
        FILLING: To take the other's place, once it has all documents.
        RETIRED: It gave its place to the other, and can take it back.
        DROPPED: Its documents are being deleted.
    """

    FILLING = "filling"
    RETIRED = "retired"
    DROPPED = "dropped"


class Standing(NamedTuple):
    """A row of ``collections``, as far as a switch needs it."""

    id: int
    name: str
    embedding_model: str | None
    distance: str
    language: str
    shadow_of: int | None
    retired_at_id: int | None

    @property
    def state(self) -> State:
        """What it is there for, where it stands behind another."""
        if self.retired_at_id is None:
            return State.FILLING
        return State.DROPPED if self.retired_at_id == _DROPPED else State.RETIRED


_COLUMNS = [_TABLE.c[name] for name in Standing._fields]


def shadow_name(name: str, embedding_model: str | None) -> str:
    """Return what a collection is called while it stands behind another."""
    whole = f"{name}@{embedding_model or _UNNAMED}"
    return whole if len(whole.encode()) <= MAX_NAME_BYTES else content_hash(whole).hex()


def standing_named(connection: Connection, tenant: str, name: str) -> Standing | None:
    """Return the collection of that name."""
    statement = select(*_COLUMNS).where(_TABLE.c.tenant_id == tenant, _TABLE.c.name == name)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Standing(*row)


def standing_behind(connection: Connection, collection_id: int) -> list[Standing]:
    """Return the collections that stand behind one, the oldest first."""
    statement = select(*_COLUMNS).where(_TABLE.c.shadow_of == collection_id).order_by(_TABLE.c.id)
    return [Standing(*row) for row in connection.execute(statement)]


def make_shadow(connection: Connection, tenant: str, active: Standing, name: str, embedding_model: str) -> None:
    """Make a collection that is to take another's place."""
    values = {
        "tenant_id": tenant,
        "name": name,
        "embedding_model": embedding_model,
        "distance": active.distance,
        "language": active.language,
        "shadow_of": active.id,
    }
    connection.execute(insert(_TABLE).values(values))


def refill(connection: Connection, collection_id: int) -> None:
    """Make a retired collection one that is being filled."""
    _update(connection, collection_id, retired_at_id=None, retired_at=None)


def begin_drop(connection: Connection, collection_id: int) -> None:
    """Say that a collection's documents are being deleted."""
    _update(connection, collection_id, retired_at_id=_DROPPED, retired_at=None)


def drop(connection: Connection, collection_id: int) -> None:
    """Delete a collection, with what documents it has left."""
    connection.execute(delete(_TABLE).where(_TABLE.c.id == collection_id))


def change_places(connection: Connection, name: str, active: Standing, shadow: Standing, documents: Table) -> None:
    """Give a shadow the active collection's name, and let that one, and all behind it, stand behind the shadow."""
    of_active = documents.c.collection_id == active.id
    newest = select(func.coalesce(func.max(documents.c.id), literal(0))).where(of_active).scalar_subquery()
    behind = update(_TABLE).where(_TABLE.c.shadow_of == active.id)
    # Of those retired earlier too much has happened since to tell what was deleted late.
    connection.execute(behind.values(shadow_of=shadow.id, retired_at=None))
    retired = shadow_name(name, active.embedding_model)
    _update(connection, active.id, name=retired, shadow_of=shadow.id, retired_at_id=newest)
    # After the first write, which gives this transaction its number.
    _update(connection, active.id, retired_at=_RETIRED_AT)
    _update(connection, shadow.id, name=name, shadow_of=None, retired_at_id=None, retired_at=None)


def lock_writers_out(connection: Connection, tenant: str, name: str, documents: Table, seconds: float) -> None:
    """Wait for all who write documents, and let nobody begin to; readers go on.

    First the gate that writers of the collection share before they ask for its id (``Collections.held``), so that
    nobody writes by an id that was right a moment ago; then the table, for those who have an id from elsewhere. In
    this order, which is that of the writers: in the other each would wait for the other. Nobody overtakes in these
    queues, as whoever shares a row would overtake who wants it for himself.

    One who has written by an id from elsewhere and then asks for the gate does wait in a circle with us. We leave it
    after ``seconds``: with fewer than ``deadlock_timeout`` (one second) it is never the other who is ended.

    Args:
        connection: In a transaction.
        tenant: Whose collection.
        name: The collection's name.
        documents: The documents' table.
        seconds: How long others may wait behind us, for both together.
    """
    started = time.monotonic()
    limit_waits(connection, lock=seconds)
    connection.execute(close_gate(tenant, name))
    limit_waits(connection, lock=max(0.001, seconds - (time.monotonic() - started)))
    _lock(connection, documents, "SHARE ROW EXCLUSIVE")


def lock_vacuum_out(connection: Connection, documents: Table, seconds: float) -> None:
    """Wait for a running VACUUM, ANALYZE or index build, and let none begin; writers go on.

    Autovacuum gives way after ``deadlock_timeout``, a second: longer than writers are to wait behind us.
    """
    limit_waits(connection, lock=seconds)
    _lock(connection, documents, "SHARE UPDATE EXCLUSIVE")


def analyze(connection: Connection, documents: Table) -> None:
    """Let the planner know how many documents a new collection has, if this role may and no VACUUM is running.

    Of one it has not heard of, it takes few for granted, and reads all of it for every span of ids; and so for the
    app's first searches.
    """
    connection.execute(text(f"ANALYZE (SKIP_LOCKED) {_quoted(connection, documents)}"))


def limit_waits(connection: Connection, *, lock: float) -> None:
    """Limit how long each statement of this transaction waits for a lock, in seconds; 0 is for ever."""
    _set(connection, "lock_timeout", lock)


def limit_statements(connection: Connection, seconds: float) -> None:
    """Limit how long each statement of this transaction runs; 0 is for ever."""
    _set(connection, "statement_timeout", seconds)


def rights_lacking(connection: Connection, documents: Table) -> Sequence[str]:
    """Return the rights on the two tables that a switch needs and the role has not."""
    names = [_name_of(connection, each) for each in (_TABLE, documents)]
    return connection.scalars(_RIGHTS_LACKING, {"names": names}).all()


def unknown_columns(connection: Connection, documents: Table) -> list[str]:
    """Return the columns that the documents have in the database alone."""
    known = {column.name for column in documents.columns}
    names = connection.scalars(_COLUMN_NAMES, {"name": _name_of(connection, documents)})
    return [name for name in names if name not in known]


def referring_tables(connection: Connection, documents: Table) -> Sequence[str]:
    """Return the tables with a foreign key to the documents."""
    return connection.scalars(_REFERRERS, {"name": _name_of(connection, documents)}).all()


def other_tables_in(connection: Connection, collection_id: int, documents: Table) -> list[str]:
    """Return the other tables that have rows in a collection: documents of further models."""
    tables = {"collections": _TABLE, "documents": documents, "calibrations": Calibration.__table__}
    names = {name: _name_of(connection, each) for name, each in tables.items()}
    found = []
    for schema, name, referring in connection.execute(_OTHER_HOLDERS, names).all():
        holder = table(name, column(referring), schema=schema)
        if connection.scalar(select(exists().where(holder.c[referring] == collection_id))):
            found.append(f"{schema}.{name}")
    return found


def _update(connection: Connection, collection_id: int, **values: Any) -> None:
    connection.execute(update(_TABLE).where(_TABLE.c.id == collection_id).values(**values))


def _name_of(connection: Connection, named: Table) -> str:
    return regclass_name(connection.schema_for_object(named), named.name)


def _set(connection: Connection, name: str, seconds: float) -> None:
    connection.execute(_SETTING, {"name": name, "value": f"{round(seconds * 1000)}ms"})


def _lock(connection: Connection, table: Table, mode: str) -> None:
    connection.execute(text(f"LOCK TABLE {_quoted(connection, table)} IN {mode} MODE"))


def _quoted(connection: Connection, table: Table) -> str:
    return qualified(connection.schema_for_object(table), table.name).replace(":", "\\:")
