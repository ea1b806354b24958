"""A table whose vector indexes are changed: an ordinary one, or a partitioned one with all that is under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pgcorpus.autogenerate.blocks import digest, do_statements
from pgcorpus.autogenerate.catalog import canonical, differences, read_index, run
from pgcorpus.autogenerate.resources import CHOSEN, BuildSettings, lacks_shared_memory, provided
from pgcorpus.autogenerate.session import (
    DEADLOCK_DETECTED,
    Backend,
    backend_of,
    builder,
    living,
    log,
    run_patiently,
    turn_if_free,
    using,
    wait_for_builders,
)
from pgcorpus.autogenerate.spec import VectorIndex
from pgcorpus.errors import DatabaseError
from pgcorpus.faults import sqlstate
from pgcorpus.indexing import with_defaults
from pgcorpus.names import literal, qualified, quote, regclass_name

# Somebody else was faster: a relation of that name, or its row in the catalogue.
TAKEN = ("42P07", "42710", "23505")
BUILD_TRIES = 3
CLEAN_UP_TRIES = 3

MAX_NAME = 63  # bytes of UTF-8; the server cuts what is longer

RELATION = text("""
    SELECT pg_describe_object('pg_class'::regclass, c.oid, 0) AS description, a.amname AS method,
           coalesce(x.indrelid = :table, false) AS ours, x.indisvalid AS valid,
           obj_description(c.oid, 'pg_class') AS comment, s.spcname AS tablespace
    FROM pg_class c
    LEFT JOIN pg_index x ON x.indexrelid = c.oid
    LEFT JOIN pg_am a ON a.oid = c.relam
    LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
    WHERE c.oid = to_regclass(:name)
""")

# Partitions without a valid index of their own under the parent's.
_UNFINISHED = text("""
    SELECT c.oid::bigint AS oid, c.relname AS table, n.nspname AS schema, c.relkind = 'p' AS partitioned,
           c.relkind = 'f' AS foreign
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE i.inhparent = :table AND NOT EXISTS (
        SELECT FROM pg_inherits attached JOIN pg_index x ON x.indexrelid = attached.inhrelid
        WHERE attached.inhparent = to_regclass(:index) AND x.indrelid = c.oid AND x.indisvalid
    )
    ORDER BY c.relname
""")


@dataclass(frozen=True, slots=True)
class Found:
    """An index of the wanted name on the wanted table.

    Attributes:
        valid: Whether queries may use it.
        changes: In words, how its definition differs from the wanted one.
        tablespace: Where it is; None for the database's own.
    """

    valid: bool
    changes: list[str]
    tablespace: str | None


@dataclass(frozen=True, slots=True)
class Site:
    """A table, whose indexes are changed on a connection in autocommit.

    Attributes:
        base: The name that the caller gave the index.
    """

    connection: Connection
    oid: int
    table: str
    schema: str
    partitioned: bool
    base: str
    settings: BuildSettings = CHOSEN

    def named(self, name: str) -> str:
        """Return the name of an index of this table, as SQL."""
        return qualified(self.schema, name)

    def relation(self, name: str) -> Row[tuple[object, ...]] | None:
        """Return what the catalogue has under a name, or None.

        Raises:
            DatabaseError: It is no index of this table.
        """
        found = self.connection.execute(RELATION, {"name": regclass_name(self.schema, name), "table": self.oid}).first()
        if found is not None and not found.ours:
            raise DatabaseError(f"an index of {self.table} cannot be called {name}: that is {found.description}")
        return found

    def look(self, index: VectorIndex) -> Found | None:
        """Return the index of that name and how it differs, or None if there is none."""
        relation = self.relation(index.name)
        if relation is None:
            return None
        return Found(relation.valid, self._changes(index, relation.method), relation.tablespace)

    def _changes(self, index: VectorIndex, method: str) -> list[str]:
        found = read_index(self.connection, index.name, self.schema)
        if found is None:
            return [f"method {method!r} to {index.method!r}"]
        # Where it is makes no difference, and a temporary one may not be put there.
        wanted = canonical(self.connection, replace(index, tablespace=None))
        if wanted is None:
            return ["the wanted one cannot be built on the table as it is"]
        return differences(replace(found, valid=True), wanted)

    def ensure(self, index: VectorIndex, *, stale: bool = False) -> None:
        """Have a valid index, built if it is not there.

        Args:
            index: The index, with its schema.
            stale: Whether a valid one of another definition is ours to drop: left by a run that wanted another one.

        Raises:
            DatabaseError: A valid one of another definition is there, and not ours to drop.
            DBAPIError: It cannot be built.
        """
        if self.partitioned:
            return self._ensure_tree(index, stale=stale)
        for left in reversed(range(BUILD_TRIES)):
            if self.is_ready(index, stale=stale):
                return None
            try:
                return self._build(index)
            except DBAPIError as exc:
                if not left or sqlstate(exc) not in (*TAKEN, DEADLOCK_DETECTED):
                    raise
                log.info("somebody else is building on %s: looking again", self.table)
        return None

    def is_ready(self, index: VectorIndex, *, stale: bool) -> bool:
        """Return whether the index is there and valid; what is in its way is dropped."""
        wait_for_builders(self.connection, self.oid, self.table)
        found = self.look(index)
        if found is None:
            return False
        if found.valid and not found.changes:
            log.info("%s is there already", index.name)
            return True
        if found.valid and not stale:
            raise DatabaseError(
                f"an index {index.name} exists and differs: {'; '.join(found.changes)}. "
                "To change it while it serves use op.create_vector_index(..., replace=True)"
            )
        if found.valid or not self.partitioned or found.changes:
            log.info("dropping %s, which is %s", index.name, "another one" if found.valid else "invalid")
            self.drop(index.name)
        return False

    def _build(self, index: VectorIndex) -> None:
        create = index.create_sql(concurrently=True)
        with self._nothing_left(index.name), provided(self.connection, index, self.settings):
            try:
                run(self.connection, create)
            except DBAPIError as exc:
                if not lacks_shared_memory(exc):
                    raise
                log.warning(
                    "the server has too little shared memory (/dev/shm, docker run --shm-size) for a parallel build "
                    "of %s: building with no parallel workers, which takes longer",
                    index.name,
                )
                self.drop(index.name)
                with using(self.connection, {"max_parallel_maintenance_workers": "0"}):
                    run(self.connection, create)

    def _ensure_tree(self, index: VectorIndex, *, stale: bool) -> None:
        """CREATE INDEX CONCURRENTLY is refused on a partitioned table: build on each partition, and attach.

        Cut off, the parts that are built stay: the next run builds the others.
        """
        if self.is_ready(index, stale=stale):
            return
        parts = self._unfinished(index)
        if self.relation(index.name) is None:
            run_patiently(self.connection, index.create_sql(concurrently=False, only=True))
        for part in parts:
            below = replace(self, oid=part.oid, table=part.table, schema=part.schema, partitioned=part.partitioned)
            below._ensure_part(index, self.named(index.name))

    def _ensure_part(self, whole: VectorIndex, name: str) -> None:
        own = partition_name(whole, self.base, self.table)
        self.ensure(replace(whole, name=own, table=self.table, schema=self.schema), stale=True)
        run_patiently(self.connection, f"ALTER INDEX {name} ATTACH PARTITION {self.named(own)}")

    def _unfinished(self, index: VectorIndex) -> list[Row[tuple[object, ...]]]:
        parameters = {"table": self.oid, "index": regclass_name(self.schema, index.name)}
        parts = list(self.connection.execute(_UNFINISHED, parameters))
        foreign = [part.table for part in parts if part.foreign]
        if foreign:
            raise DatabaseError(
                f"{index.name} cannot become valid: {', '.join(foreign)} has its rows on another server"
            )
        return parts

    def drop(self, name: str) -> None:
        """Drop an index if it is there, without keeping anybody out for long."""
        if self.partitioned:
            # Not to be had concurrently.
            return run_patiently(self.connection, f"DROP INDEX IF EXISTS {self.named(name)}")
        wait_for_builders(self.connection, self.oid, self.table)
        with self._nothing_left(name):
            run(self.connection, self._drop_sql(name))
        return None

    def _drop_sql(self, name: str) -> str:
        return f"DROP INDEX CONCURRENTLY IF EXISTS {self.named(name)}"

    @contextmanager
    def _nothing_left(self, name: str) -> Iterator[None]:
        """Drop what a statement that fails, is cancelled or loses its connection leaves invalid."""
        backend = backend_of(self.connection)
        try:
            yield
        except BaseException as exc:
            if not (isinstance(exc, DBAPIError) and sqlstate(exc) in TAKEN):
                self._clean_up(name, backend)
            raise

    def _clean_up(self, name: str, backend: Backend) -> None:
        try:
            with living(self.connection, backend) as connection:
                replace(self, connection=connection)._drop_invalid(name)
        except (SQLAlchemyError, DatabaseError) as exc:
            # The error to raise is the one that brought us here.
            log.warning(
                "%s may be left half-built (%s): the next run replaces it, or run %s;",
                name,
                str(getattr(exc, "orig", exc)).partition("\n")[0],
                self._drop_sql(name),
            )

    def _drop_invalid(self, name: str) -> None:
        """Whoever has the turn instead of us drops it as well, before building."""
        with turn_if_free(self.connection, self.oid) as mine:
            relation = self.relation(name) if mine else None
            if relation is None or relation.valid:
                return
            if (pid := builder(self.connection, self.oid)) is not None:
                # To wait for the table now could end that build by a deadlock.
                raise DatabaseError(f"the server process {pid} builds an index on {self.table}")
            run_patiently(self.connection, self._drop_sql(name), CLEAN_UP_TRIES)

    def swap(self, name: str, old: str, new: str) -> None:
        """Give the new index the name of the old one, in one transaction; searches go on meanwhile.

        ALTER INDEX RENAME takes SHARE UPDATE EXCLUSIVE on the index since PostgreSQL 12.
        """
        there = self.relation(name)
        if there is not None and not there.valid:
            self.drop(name)
        renamed = [(name, old)] if there is not None and there.valid else []
        statements = [
            f"ALTER INDEX {self.named(before)} RENAME TO {quote(after)}" for before, after in [*renamed, (new, name)]
        ]
        if there is not None and there.comment is not None:
            statements.append(f"COMMENT ON INDEX {self.named(name)} IS {literal(there.comment)}")
        run_patiently(self.connection, do_statements(statements))


def aside(name: str, suffix: str) -> str:
    """Return a name with a suffix, cut to what PostgreSQL keeps; a digest keeps cut names apart."""
    if len((name + suffix).encode()) <= MAX_NAME:
        return name + suffix
    suffix = f"_{digest(name)}{suffix}"
    return name.encode()[: MAX_NAME - len(suffix)].decode(errors="ignore") + suffix


def partition_name(index: VectorIndex, base: str, table: str) -> str:
    """Return what a partition's part of an index is called: by its definition, so that a new one is another one."""
    options = sorted(with_defaults(index.method, index.options).items())
    definition = repr((index.key, index.opclass, index.method, options, index.where))
    return aside(f"{table}_{base}", f"_{digest(definition)}")
