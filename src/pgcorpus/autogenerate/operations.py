"""The operations, as ``op`` has them: what they take, how they are undone, how autogenerate prints them."""

from __future__ import annotations

from typing import Any

from alembic.operations import MigrateOperation, Operations

from pgcorpus.autogenerate.spec import VectorIndex, from_arguments, is_whole, to_arguments
from pgcorpus.errors import DefinitionError
from pgcorpus.indexing import TYPES

# What can be done with the vectors of a column whose dimension changes.
TRUNCATE, PAD = "truncate", "pad"
# Whose vectors can be cut or padded: pgvector has subvector and || for these.
RESIZABLE = ("vector", "halfvec")
DEFAULT = "default"
STORAGES = ("plain", "main", "external", "extended")


class PluginOperation(MigrateOperation):
    """An operation that knows its own call."""

    def call(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the function of ``op`` that does this, its positional and its keyword arguments."""
        raise NotImplementedError

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what ``alembic check`` prints."""
        name, positional, keywords = self.call()
        return name, *positional, keywords


@Operations.implementation_for(PluginOperation)
def _run(operations: Operations, op: PluginOperation) -> Any:
    """Load what does the operations, which then stands in the place of this, and begin again."""
    from pgcorpus.autogenerate import running  # noqa: F401 -- has an implementation for each of them

    return operations.invoke(op)


@Operations.register_operation("enable_extension")
class EnableExtensionOp(PluginOperation):
    """Create an extension where there is none."""

    def __init__(self, name: str, schema: str | None = None) -> None:
        self.name = name
        self.schema = schema

    @classmethod
    def enable_extension(cls, operations: Operations, name: str = "vector", *, schema: str | None = None) -> None:
        """Create an extension unless the database has it, and find its types for the rest of the transaction.

        Args:
            name: The extension.
            schema: Where to create it, made if need be; an extension that is elsewhere stays there. By default the
                first schema of the search_path.

        Raises:
            ExtensionError: The server does not have it, or the role may not create it; the message has the
                statement for an administrator.
        """
        operations.invoke(cls(name, schema))

    def reverse(self) -> DisableExtensionOp:
        """Drop it, if nothing else has come to use it."""
        return DisableExtensionOp(self.name)

    def call(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return ``op.enable_extension(...)``."""
        return "enable_extension", [self.name], {} if self.schema is None else {"schema": self.schema}


@Operations.register_operation("disable_extension")
class DisableExtensionOp(PluginOperation):
    """Drop an extension that nothing uses."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def disable_extension(cls, operations: Operations, name: str = "vector") -> None:
        """Drop an extension; where a column, an index or a function still uses it, it stays.

        Args:
            name: The extension.
        """
        operations.invoke(cls(name))

    def reverse(self) -> EnableExtensionOp:
        """Create it again."""
        return EnableExtensionOp(self.name)

    def call(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return ``op.disable_extension(...)``."""
        return "disable_extension", [self.name], {}


@Operations.register_operation("see_extension")
class SeeExtensionOp(PluginOperation):
    """Find an extension's types for the rest of the transaction."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def see_extension(cls, operations: Operations, name: str = "vector") -> None:
        """Append the schema of an extension to the transaction's search_path, so that its types need no schema.

        Where every statement is a transaction of its own (AUTOCOMMIT), to the session's.

        Args:
            name: The extension; one that the database does not have is passed over.
        """
        operations.invoke(cls(name))

    def reverse(self) -> SeeExtensionOp:
        """Do the same: a downgrade names the types as well."""
        return self

    def call(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return ``op.see_extension(...)``."""
        return "see_extension", [self.name], {}


@Operations.register_operation("create_vector_index")
class CreateVectorIndexOp(PluginOperation):
    """Build a vector index, perhaps in the place of another one of its name."""

    def __init__(
        self,
        index: VectorIndex,
        *,
        replace: bool = False,
        existing: VectorIndex | None = None,
        concurrently: bool = True,
        maintenance_work_mem: str | None = None,
        parallel_workers: int | None = None,
    ) -> None:
        check_build(index.name, maintenance_work_mem, parallel_workers)
        self.index = index
        self.replace = replace
        self.existing = existing
        self.concurrently = concurrently
        self.maintenance_work_mem = maintenance_work_mem
        self.parallel_workers = parallel_workers

    @classmethod
    def create_vector_index(
        cls,
        operations: Operations,
        index_name: str,
        table_name: str,
        column: str | None = None,
        *,
        method: str = "hnsw",
        metric: str | None = "cosine",
        type_: str = "vector",
        halfvec: int | None = None,
        expression: str | None = None,
        opclass: str | None = None,
        m: int | None = None,
        ef_construction: int | None = None,
        lists: int | None = None,
        where: str | None = None,
        schema: str | None = None,
        tablespace: str | None = None,
        replace: bool = False,
        concurrently: bool = True,
        maintenance_work_mem: str | None = None,
        parallel_workers: int | None = None,
    ) -> None:
        """Build an HNSW or IVFFlat index, by default without blocking writers.

        A concurrent build runs outside the transaction, with timeouts lifted, and replaces what a failed build left;
        an index of that name that already is as wanted is taken. See ``docs/autogenerate.md``.

        Args:
            index_name: Its name, without a schema.
            table_name: The table.
            column: The column to index, else give ``expression``.
            method: ``hnsw`` or ``ivfflat``.
            metric: ``cosine``, ``l2``, ``inner_product``, ``l1``; for bit ``hamming`` or ``jaccard``.
            type_: The indexed type: ``vector``, ``halfvec``, ``bit`` or ``sparsevec``.
            halfvec: Index a vector column as halfvec of so many dimensions: half the size, up to 4,000 dimensions.
            expression: SQL of an immutable expression to index instead of a column.
            opclass: An operator class, where metric and type do not name it.
            m: Connections per element and layer of HNSW, 2 to 100 (pgvector README, "HNSW"; default 16).
            ef_construction: Candidates kept while building, 4 to 1,000 and at least 2 m (default 64).
            lists: Clusters of IVFFlat, 1 to 32,768 (pgvector README, "IVFFlat"; default 100).
            where: SQL predicate of a partial index.
            schema: The table's schema.
            tablespace: Where to build it; by default where the one is that it replaces, else the database's own. An
                index that already is as wanted stays where it is.
            replace: Change the index of that name while it serves: the new one is built beside it, the names are
                swapped, the old one is dropped. Killed at any moment, the next call finishes the job.
            concurrently: Whether to build outside the transaction, without blocking writers.
            maintenance_work_mem: Memory for the build, such as ``"2GB"``; by default chosen from the size of the
                graph and the server's limits.
            parallel_workers: Workers for the build; by default chosen from the server's limits.

        Raises:
            DefinitionError: pgvector could not build it, or an argument is of the wrong type.
            DatabaseError: Another index or relation of that name exists, or there is no such table or column.
        """
        index = from_arguments(
            index_name,
            table_name,
            column,
            method=method,
            metric=metric,
            type_=type_,
            halfvec=halfvec,
            expression=expression,
            opclass=opclass,
            options={"m": m, "ef_construction": ef_construction, "lists": lists},
            where=where,
            schema=schema,
            tablespace=tablespace,
        )
        operations.invoke(
            cls(
                index,
                replace=replace,
                concurrently=concurrently,
                maintenance_work_mem=maintenance_work_mem,
                parallel_workers=parallel_workers,
            )
        )

    def reverse(self) -> CreateVectorIndexOp | DropVectorIndexOp:
        """Drop it, or change it back."""
        if self.existing is not None:
            return CreateVectorIndexOp(self.existing, replace=True, existing=self.index, concurrently=self.concurrently)
        return DropVectorIndexOp(
            self.index.name, self.index.table, self.index.schema, concurrently=self.concurrently, index=self.index
        )

    def call(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return ``op.create_vector_index(...)``."""
        positional, keywords = to_arguments(self.index)
        if self.replace:
            keywords["replace"] = True
        if not self.concurrently:
            keywords["concurrently"] = False
        for name in ("maintenance_work_mem", "parallel_workers"):
            if getattr(self, name) is not None:
                keywords[name] = getattr(self, name)
        return "create_vector_index", positional, keywords


def check_build(name: str, maintenance_work_mem: object, parallel_workers: object) -> None:
    """Pass if a build can be given so much.

    Raises:
        DefinitionError: The memory is not a string or the workers are not a number.
    """
    if maintenance_work_mem is not None and not isinstance(maintenance_work_mem, str):
        raise DefinitionError(
            f"{name}: maintenance_work_mem is a string with its unit, such as '2GB', not {maintenance_work_mem!r}"
        )
    if parallel_workers is not None and not (is_whole(parallel_workers) and parallel_workers >= 0):
        raise DefinitionError(f"{name}: parallel_workers is a whole number, 0 for none, not {parallel_workers!r}")


@Operations.register_operation("drop_vector_index")
class DropVectorIndexOp(PluginOperation):
    """Drop a vector index."""

    def __init__(
        self,
        name: str,
        table: str,
        schema: str | None = None,
        *,
        concurrently: bool = True,
        index: VectorIndex | None = None,
    ) -> None:
        self.name = name
        self.table = table
        self.schema = schema
        self.concurrently = concurrently
        self.index = index

    @classmethod
    def drop_vector_index(
        cls,
        operations: Operations,
        index_name: str,
        table_name: str,
        *,
        schema: str | None = None,
        concurrently: bool = True,
    ) -> None:
        """Drop an index if it is there, by default without blocking anybody.

        Args:
            index_name: Its name, without a schema.
            table_name: Its table.
            schema: The table's schema.
            concurrently: Whether to drop it outside the transaction.

        Raises:
            DatabaseError: What is called so is no vector index of that table.
        """
        operations.invoke(cls(index_name, table_name, schema, concurrently=concurrently))

    def reverse(self) -> CreateVectorIndexOp:
        """Build it again."""
        if self.index is None:
            raise NotImplementedError(f"what {self.name} was is not known here")
        return CreateVectorIndexOp(self.index, concurrently=self.concurrently)

    def call(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return ``op.drop_vector_index(...)``."""
        keywords: dict[str, Any] = {} if self.schema is None else {"schema": self.schema}
        return (
            "drop_vector_index",
            [self.name, self.table],
            keywords if self.concurrently else keywords | {"concurrently": False},
        )


@Operations.register_operation("alter_vector_dimensions")
class AlterVectorDimensionsOp(PluginOperation):
    """Change the dimension of a vector column."""

    def __init__(
        self,
        table: str,
        column: str,
        dimensions: int | None,
        *,
        existing_dimensions: int | None = None,
        type_: str = "vector",
        how: str | None = None,
        schema: str | None = None,
    ) -> None:
        check_dimension_change(dimensions, existing_dimensions, type_, how)
        self.table = table
        self.column = column
        self.dimensions = dimensions
        self.existing_dimensions = existing_dimensions
        self.type_ = type_
        self.how = how
        self.schema = schema

    @property
    def possible(self) -> str | None:
        """Return the ``how`` that leads from the old dimensions to the new ones, or None where there is none."""
        if self.type_ not in RESIZABLE or self.dimensions is None or self.existing_dimensions is None:
            return None
        if self.dimensions == self.existing_dimensions:
            return None
        return TRUNCATE if self.dimensions < self.existing_dimensions else PAD

    @classmethod
    def alter_vector_dimensions(
        cls,
        operations: Operations,
        table_name: str,
        column: str,
        dimensions: int | None,
        *,
        existing_dimensions: int | None = None,
        type_: str = "vector",
        how: str | None = None,
        schema: str | None = None,
    ) -> None:
        """Change the number of dimensions of a column, which loses no vector unless told how.

        Args:
            table_name: The table.
            column: The column.
            dimensions: The new number of dimensions; None for any.
            existing_dimensions: The old number; None for any.
            type_: ``vector``, ``halfvec``, ``bit`` or ``sparsevec``.
            how: What becomes of vectors that are there: None refuses, ``truncate`` keeps the first dimensions and
                renormalises, ``pad`` appends zeros; the two are for vector and halfvec.
            schema: The table's schema.

        Raises:
            DefinitionError: ``how`` is unknown or does not fit the numbers, or one of them is no number.
            DatabaseError: There are vectors and ``how`` is None, or vectors of which ``truncate`` would leave only
                zeros; the table is as it was.
        """
        operations.invoke(
            cls(
                table_name,
                column,
                dimensions,
                existing_dimensions=existing_dimensions,
                type_=type_,
                how=how,
                schema=schema,
            )
        )

    def reverse(self) -> AlterVectorDimensionsOp:
        """Change them back; what becomes of the vectors has to be said again."""
        return AlterVectorDimensionsOp(
            self.table,
            self.column,
            self.existing_dimensions,
            existing_dimensions=self.dimensions,
            type_=self.type_,
            schema=self.schema,
        )

    def call(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return ``op.alter_vector_dimensions(...)``."""
        keywords: dict[str, Any] = {"existing_dimensions": self.existing_dimensions}
        if self.type_ != "vector":
            keywords["type_"] = self.type_
        keywords |= {name: value for name in ("how", "schema") if (value := getattr(self, name)) is not None}
        return "alter_vector_dimensions", [self.table, self.column, self.dimensions], keywords


def check_dimension_change(dimensions: int | None, existing: int | None, type_: str, how: str | None) -> None:
    """Pass if vectors can be changed so.

    Raises:
        DefinitionError: ``how`` is unknown or does not fit the numbers, or one of them is no number.
    """
    for number in (dimensions, existing):
        if number is not None and not (is_whole(number) and number > 0):
            raise DefinitionError(f"dimensions are a whole number above 0, or None for any, not {number!r}")
    if type_ not in TYPES:
        raise DefinitionError(f"type_ is one of {', '.join(TYPES)}, not {type_!r}")
    if how is None:
        return
    if how not in (TRUNCATE, PAD):
        raise DefinitionError(f"how is {TRUNCATE!r}, {PAD!r} or None, not {how!r}")
    if type_ not in RESIZABLE:
        raise DefinitionError(f"only vector and halfvec columns can be changed by {how!r}, not {type_}")
    if dimensions is None or existing is None or dimensions == existing or (dimensions < existing) != (how == TRUNCATE):
        raise DefinitionError(f"{how!r} does not lead from {existing} to {dimensions} dimensions")


@Operations.register_operation("set_vector_storage")
class SetVectorStorageOp(PluginOperation):
    """Say where a column's vectors are stored."""

    def __init__(
        self,
        table: str,
        column: str,
        *,
        storage: str = "main",
        toast_tuple_target: int | str | None = 8160,
        existing_storage: str = "external",
        existing_toast_tuple_target: int | str | None = DEFAULT,
        schema: str | None = None,
    ) -> None:
        if isinstance(toast_tuple_target, str) and toast_tuple_target != DEFAULT:
            raise DefinitionError(f"toast_tuple_target is a number, {DEFAULT!r} or None, not {toast_tuple_target!r}")
        if storage not in STORAGES:
            raise DefinitionError(f"storage is one of {', '.join(STORAGES)}, not {storage!r}")
        self.table = table
        self.column = column
        self.storage = storage
        self.toast_tuple_target = toast_tuple_target
        self.existing_storage = existing_storage
        self.existing_toast_tuple_target = existing_toast_tuple_target
        self.schema = schema

    @classmethod
    def set_vector_storage(
        cls,
        operations: Operations,
        table_name: str,
        column: str,
        *,
        storage: str = "main",
        toast_tuple_target: int | str | None = 8160,
        schema: str | None = None,
    ) -> None:
        """Store a column's vectors in the table's own rows, where the planner sees what they cost.

        Rows that are there already stay as they are until they are written again. See ``docs/storage.md``.

        Args:
            table_name: The table.
            column: The column.
            storage: ``main`` keeps vectors in the row as long as a page holds it, ``external`` is pgvector's own.
            toast_tuple_target: Bytes up to which the table's rows are kept whole, 128 to 8,160, or ``"default"`` for
                the server's own (2 KB); None leaves it, as a partitioned table wants it.
            schema: The table's schema.

        Raises:
            DefinitionError: There is no such storage.
        """
        operations.invoke(
            cls(table_name, column, storage=storage, toast_tuple_target=toast_tuple_target, schema=schema)
        )

    def reverse(self) -> SetVectorStorageOp:
        """Store them as before."""
        return SetVectorStorageOp(
            self.table,
            self.column,
            storage=self.existing_storage,
            toast_tuple_target=self.existing_toast_tuple_target,
            existing_storage=self.storage,
            existing_toast_tuple_target=self.toast_tuple_target,
            schema=self.schema,
        )

    def call(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return ``op.set_vector_storage(...)``."""
        keywords: dict[str, Any] = {"storage": self.storage, "toast_tuple_target": self.toast_tuple_target}
        return (
            "set_vector_storage",
            [self.table, self.column],
            keywords if self.schema is None else keywords | {"schema": self.schema},
        )
