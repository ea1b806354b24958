"""Tables of the host beside ours: vectors without an index, or with one that is invalid or never used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text

from pgcorpus.indexing import metric_of
from pgcorpus.models import SCHEMA
from pgcorpus.models.index import INDEX_DIMENSIONS
from pgcorpus.names import qualified, quote
from pgcorpus.services.doctor.aside import aside
from pgcorpus.services.doctor.extension import schema_of_extension
from pgcorpus.services.doctor.facts import TABLES, Facts
from pgcorpus.services.doctor.finding import Finding, Severity

# Fewer are read through in 10 to 40 ms: 20,000 of 1,536 dimensions were in 42, and in 140 to 171 where they lay out of
# the table's rows.
MANY_VECTORS = 5_000
# Scans of a table that had an index, and not one of the index: by then it is no accident.
_SCANS = 100
# Columns looked at, those of most rows first, and rows by which a column's dimensions are told.
_COLUMNS = 20
_SAMPLE = 1_000
# A shorter bit string is a set of flags.
_BITS = 64

_OPERATORS = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>", "l1": "<+>", "hamming": "<~>", "jaccard": "<%>"}
# What a REINDEX CONCURRENTLY that failed leaves beside the index (PostgreSQL documentation, REINDEX).
_LEFTOVERS = ("_ccnew", "_ccold")

_NAMES = ", ".join(f"'{table.name}'" for table in TABLES)

# An index knows of the columns that it is on, plain or within an expression, by pg_depend. No lock is asked for.
_NEIGHBOURS = text(f"""
    WITH types AS (
        SELECT t.oid, t.typname FROM pg_extension e JOIN pg_type t ON t.typnamespace = e.extnamespace
        WHERE e.extname = 'vector' AND t.typname IN ('vector', 'halfvec', 'sparsevec')
        UNION ALL SELECT oid, typname FROM pg_type WHERE typname = 'bit' AND typnamespace = 'pg_catalog'::regnamespace
    ),
    columns AS (
        SELECT c.oid, a.attnum, n.nspname AS schema, c.relname AS name, a.attname, t.typname,
               CASE WHEN a.atttypmod > 0 THEN a.atttypmod END AS dimensions,
               CAST(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid)) AS bigint) AS rows,
               pg_stat_get_numscans(c.oid) AS scans, c.relkind = 'r' AND NOT c.relispartition AS alterable
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN types t ON t.oid = a.atttypid
        WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema'
              AND NOT starts_with(n.nspname, 'pg_') AND NOT (n.nspname = '{SCHEMA}' AND c.relname IN ({_NAMES}))
              AND greatest(c.reltuples, pg_stat_get_live_tuples(c.oid)) > {MANY_VECTORS}
              AND (t.typname <> 'bit' OR a.atttypmod >= {_BITS})
              AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
              AND NOT EXISTS (
                  SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'
              )
              AND NOT EXISTS (
                  SELECT FROM pg_locks l WHERE l.mode = 'AccessExclusiveLock'
                  AND (l.relation = c.oid OR l.relation IN (SELECT indexrelid FROM pg_index WHERE indrelid = c.oid))
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              )
        ORDER BY rows DESC, n.nspname, c.relname, a.attnum LIMIT {_COLUMNS}
    ),
    indexes AS (
        SELECT d.refobjid, d.refobjsubid, n.nspname, x.relname, o.opcname, i.indisvalid AND i.indisready AS valid,
               pg_stat_get_numscans(x.oid) AS scans,
               x.relpages * CAST(current_setting('block_size') AS bigint) AS bytes,
               NOT i.indisvalid AND EXISTS (
                   SELECT FROM pg_stat_progress_create_index p JOIN pg_locks l ON l.pid = p.pid
                   WHERE l.relation = i.indrelid AND l.database = p.datid
               ) AS building
        FROM pg_depend d
        JOIN pg_index i ON i.indexrelid = d.objid AND i.indrelid = d.refobjid
        JOIN pg_class x ON x.oid = i.indexrelid
        JOIN pg_namespace n ON n.oid = x.relnamespace
        JOIN pg_am m ON m.oid = x.relam
        JOIN pg_opclass o ON o.oid = i.indclass[0]
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
              AND m.amname NOT IN ('btree', 'hash', 'gin', 'gist', 'spgist', 'brin')
    )
    SELECT c.schema, c.name, c.attname, c.typname, c.dimensions, c.rows, c.scans, c.alterable, i.relname AS index_name,
           i.nspname AS index_schema, i.opcname, i.valid, i.building, i.scans AS index_scans, i.bytes AS index_bytes
    FROM columns c LEFT JOIN indexes i ON i.refobjid = c.oid AND i.refobjsubid = c.attnum
    ORDER BY c.rows DESC, c.schema, c.name, c.attnum, i.relname
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class NeighbourIndex:
    """A vector index on a column of the host's.

    Attributes:
        name: With its schema, quoted.
        opclass: Its operator class.
        valid: Whether searches may use it.
        building: Whether an index of the table is being built at this moment.
        scans: How often it was used since the statistics were reset.
        bytes: Its size.
    """

    name: str
    opclass: str
    valid: bool
    building: bool
    scans: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A column of vectors in a table of the host's.

    Attributes:
        table: With its schema, quoted.
        column: Quoted.
        type: ``vector``, ``halfvec``, ``sparsevec`` or ``bit``.
        dimensions: As declared; None where they are not.
        rows: How many the table has, roughly.
        scans: How often the table was read through since the statistics were reset.
        alterable: Whether its columns can be altered: it is no partition and no materialized view.
        indexes: The vector indexes on it.
        lengths: Of a column without dimensions, those of some of its vectors, the most frequent first.
    """

    table: str
    column: str
    type: str
    dimensions: int | None
    rows: int
    scans: int
    alterable: bool
    indexes: tuple[NeighbourIndex, ...] = ()
    lengths: tuple[int, ...] = ()

    def is_undimensioned(self) -> bool:
        """Say whether only an expression of it could be indexed, and none is."""
        return self.dimensions is None and self.type in INDEX_DIMENSIONS and not self.indexes


def neighbour_findings(connection: Connection, facts: Facts) -> list[Finding]:
    """Return what is wrong with the host's own vectors, of tables of more than 5,000 rows that the role may read.

    Args:
        connection: In a transaction it reads in a savepoint, and leaves it usable.
        facts: What :func:`~pgcorpus.services.doctor.reading.read_facts` read.

    Raises:
        DBAPIError: The connection is lost, or the server refused.
    """
    if facts.extension is None or not facts.extension.usable:
        return []
    return findings_of_neighbours(schema_of_extension(facts), read_neighbours(connection, facts))


def read_neighbours(connection: Connection, facts: Facts) -> list[Neighbour]:
    """Read the catalog, and of columns without dimensions those of a thousand rows."""
    with aside(connection):
        found: dict[Neighbour, list[NeighbourIndex]] = {}
        for row in connection.execute(_NEIGHBOURS):
            table = qualified(row.schema, row.name)
            column = Neighbour(table, quote(row.attname), row.typname, *row[4:8])
            indexes = found.setdefault(column, [])
            if row.index_name is not None:
                indexes.append(NeighbourIndex(qualified(row.index_schema, row.index_name), *row[10:]))
        neighbours = [replace(column, indexes=tuple(indexes)) for column, indexes in found.items()]
        return [_measured(connection, schema_of_extension(facts), each) for each in neighbours]


def _measured(connection: Connection, extension: str, neighbour: Neighbour) -> Neighbour:
    if not neighbour.is_undimensioned():
        return neighbour
    share = min(100.0, 100 * _SAMPLE / neighbour.rows)
    # Blocks from all over the table, the same ones each time.
    sample = f"SELECT {neighbour.column} AS v FROM {neighbour.table} TABLESAMPLE SYSTEM ({share:f}) REPEATABLE (0)"  # noqa: S608
    lengths = (
        f"SELECT {extension}.vector_dims(v) FROM ({sample}) AS sample WHERE v IS NOT NULL"  # noqa: S608
        " GROUP BY 1 ORDER BY count(*) DESC, 1"
    )
    return replace(neighbour, lengths=tuple(connection.exec_driver_sql(lengths.replace("%", "%%")).scalars()))


def findings_of_neighbours(extension: str, neighbours: Iterable[Neighbour]) -> list[Finding]:
    """Return what is wrong, by what was read before.

    Args:
        extension: The extension's schema, quoted.
        neighbours: The host's columns.
    """
    return [finding for each in neighbours for finding in _of_column(extension, each)]


def _of_column(extension: str, neighbour: Neighbour) -> list[Finding]:
    broken = [index for index in neighbour.indexes if not index.valid]
    if any(index.building for index in broken):
        return []
    if neighbour.is_undimensioned():
        return [_undimensioned(extension, neighbour)] if neighbour.lengths else []
    if neighbour.indexes:
        return [*(_invalid(neighbour, index) for index in broken), *_unused(neighbour)]
    return [] if neighbour.dimensions is None else [_missing(extension, neighbour, neighbour.dimensions)]


def _missing(extension: str, neighbour: Neighbour, dimensions: int) -> Finding:
    element, ordering = _form(extension, neighbour, dimensions)
    plain = ordering == neighbour.column
    return Finding(
        "host-index-missing",
        Severity.NOTE if neighbour.type == "bit" else Severity.WARNING,
        f"{neighbour.table} has vectors without an index.",
        f"{neighbour.column} is {neighbour.type}({dimensions}), and the table has about {neighbour.rows:,} rows;"
        f" it was read through {neighbour.scans:,} times.",
        "A search for the nearest reads every vector: slower with every row.",
        f"If it is searched, have its owner build an index. This one is for {_operator(element)}; other operators have"
        " other classes." + ("" if plain else f" So long a vector is indexed shortened: order by {ordering}."),
        sql=_build(neighbour, element),
    )


def _undimensioned(extension: str, neighbour: Neighbour) -> Finding:
    length, *others = neighbour.lengths
    return Finding(
        "host-vector-undimensioned",
        Severity.WARNING,
        f"{neighbour.table} has vectors in a column without dimensions, which cannot be indexed.",
        f"{neighbour.column} is {neighbour.type}, and the table has about {neighbour.rows:,} rows;"
        f" a sample has vectors of {', '.join(f'{each:,}' for each in neighbour.lengths)} dimensions.",
        "A search for the nearest reads every vector: slower with every row.",
        f"Index those of {length:,} dimensions, and order by what is indexed."
        if others or not neighbour.alterable
        else "Declare the dimensions, and index it. The table is locked meanwhile: take a quiet moment.",
        sql=_dimensioning(extension, neighbour, length, partly=bool(others)),
    )


def _dimensioning(extension: str, neighbour: Neighbour, length: int, *, partly: bool) -> str:
    """A partition's columns are its parent's, and a view's are its query's: there an expression has the dimensions."""
    cast = f"{extension}.{neighbour.type}({length})"
    if neighbour.alterable and not partly:
        alter = f"ALTER TABLE {neighbour.table} ALTER COLUMN {neighbour.column} TYPE {cast};"
        return f"{alter} {_build(neighbour, _form(extension, neighbour, length)[0])}"
    short = replace(neighbour, column=f"({neighbour.column}::{cast})")
    where = f" WHERE {extension}.vector_dims({neighbour.column}) = {length}" if partly else ""
    return _build(neighbour, _form(extension, short, length)[0], where)


def _form(extension: str, neighbour: Neighbour, dimensions: int) -> tuple[str, str]:
    """Return what is indexed with its operator class, and what a search orders by: the longer, the coarser."""
    column, type_ = neighbour.column, neighbour.type
    if type_ in INDEX_DIMENSIONS and dimensions > INDEX_DIMENSIONS["halfvec"]:
        column, type_ = f"({extension}.binary_quantize({column})::bit({dimensions}))", "bit"
    elif type_ == "vector" and dimensions > INDEX_DIMENSIONS["vector"]:
        column, type_ = f"({column}::{extension}.halfvec({dimensions}))", "halfvec"
    metric = "hamming" if type_ == "bit" else "cosine"
    return f"{column} {extension}.{type_}_{metric}_ops", column


def _operator(element: str) -> str:
    """Return the operator that an index of this element serves."""
    return _serves(element.rpartition(".")[2])


def _serves(opclass: str) -> str:
    known = metric_of(opclass)
    return f"`{_OPERATORS[known[1]]}`" if known else opclass


def _build(neighbour: Neighbour, element: str, where: str = "") -> str:
    return f"CREATE INDEX CONCURRENTLY ON {neighbour.table} USING hnsw ({element}){where};"


def _invalid(neighbour: Neighbour, index: NeighbourIndex) -> Finding:
    leftover = index.name.rstrip('"').endswith(_LEFTOVERS)
    return Finding(
        "host-index-invalid",
        Severity.WARNING,
        f"The vector index {index.name} of {neighbour.table} is invalid.",
        "pg_index says so: a concurrent build failed or was cancelled.",
        "Searches do not use it, and every write still pays for it.",
        "Drop it." if leftover else "Build it again; readers and writers go on meanwhile.",
        sql=f"DROP INDEX CONCURRENTLY {index.name};" if leftover else f"REINDEX INDEX CONCURRENTLY {index.name};",
    )


def _unused(neighbour: Neighbour) -> list[Finding]:
    """Where one of several indexes is used, the others may be for a rare query: only one of none is told of."""
    valid: Sequence[NeighbourIndex] = [index for index in neighbour.indexes if index.valid]
    if neighbour.scans < _SCANS or any(index.scans for index in valid):
        return []
    return [_never_used(neighbour, index) for index in valid]


def _never_used(neighbour: Neighbour, index: NeighbourIndex) -> Finding:
    return Finding(
        "host-index-unused",
        Severity.NOTE,
        f"The vector index {index.name} of {neighbour.table} was never used.",
        f"pg_stat_user_indexes counts no scan of it ({index.bytes / 1e6:,.0f} MB, {index.opclass}), and"
        f" pg_stat_user_tables {neighbour.scans:,} scans of the whole table.",
        "Searches read every vector, unless they are made elsewhere; every write pays for the index.",
        f"Order by the indexed expression {_serves(index.opclass)} the query, ascending and with a LIMIT: nothing else"
        f" uses it. If nobody searches there, drop it: DROP INDEX CONCURRENTLY {index.name};",
    )
