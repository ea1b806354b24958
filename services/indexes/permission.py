"""Whether the indexes of a table can be changed here, asked before anything is; and the server's refusals in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.errors import DatabaseError, PgCorpusError, SchemaError
from pgcorpus.faults import sqlstate, translated
from pgcorpus.names import regclass_name

_STANDING = text("""
    SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only,
           current_user AS role, t.oid IS NOT NULL AS exists, pg_has_role(t.relowner, 'USAGE') AS owned,
           pg_get_userbyid(t.relowner) AS owner, has_schema_privilege(t.relnamespace, 'CREATE') AS creates,
           t.relkind = 'p' AS partitioned
    FROM (SELECT) AS one LEFT JOIN pg_class t ON t.oid = to_regclass(:name)
""")

# SQLSTATE: what to do about it.
_REMEDIES = {
    "53100": "the server's disk is full: make room, `pgcorpus index advise` says how much, and run it again",
    "53200": "the server is out of memory: give the build less with --memory, or fewer workers",
    "53400": "a limit of the server's configuration is reached: raise it",
    "25006": "the server takes no writes: run it on the primary",
    "42501": "the role may not do that: run it as the owner of the table",
    "57014": "the server cancelled it, and nothing is left of it: run it again",
    "55P03": "others hold a lock on it: run it again, it goes on where it was",
}


def require_changeable(connection: Connection, schema: str | None, table: str) -> bool:
    """Pass if this role may change the indexes of a table on this server, and return whether it is partitioned.

    Raises:
        SchemaError: There is no such table.
        DatabaseError: The server takes no writes, or the role does not own the table.
    """
    name = regclass_name(schema, table)
    standing = connection.execute(_STANDING, {"name": name}).one()
    if not standing.exists:
        raise SchemaError(f"there is no table {name}: run `pgcorpus migrate upgrade`")
    if standing.standby:
        raise DatabaseError("this server is a standby, and takes no writes: change indexes on its primary")
    if standing.read_only:
        raise DatabaseError("transactions are read-only here: change default_transaction_read_only, or the server")
    if not standing.owned:
        raise DatabaseError(
            f"only the owner of {name} changes its indexes: run it as {standing.owner}, "
            f"or have it run GRANT {standing.owner} TO {standing.role}"
        )
    if not standing.creates:
        raise DatabaseError(f"the role {standing.role} may not create in the schema: GRANT CREATE ON SCHEMA {schema}")
    return bool(standing.partitioned)


@contextmanager
def refusals_explained(what: str) -> Iterator[None]:
    """Raise what the server refuses as this package's error, with what to do about it.

    Args:
        what: What was being done.
    """
    try:
        yield
    except DBAPIError as exc:
        raise refusal(what, exc) from exc


def refusal(what: str, exc: DBAPIError) -> PgCorpusError:
    """Return this package's error for a driver's, with what to do about it."""
    error = translated(exc)
    remedy = _REMEDIES.get(sqlstate(exc) or "")
    return error if remedy is None else DatabaseError(f"{what}: {error}; {remedy}")
