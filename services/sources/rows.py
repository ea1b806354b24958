"""Rows of a database become sources."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Executable, Result
from sqlalchemy.orm import Session

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.services.chunking import Chunker
from pgcorpus.services.sources.documents import Item, sources_of
from pgcorpus.services.sources.source import Source

_WRITTEN_AS_TEXT = (UUID, IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)


def rows(
    bind: Engine | Connection | Session,
    statement: Executable,
    *,
    source: str,
    content: str,
    metadata: Sequence[str] = (),
    prefix: str = "",
    chunk: Chunker | None = None,
    format: str = "text",
    batch_size: int = 500,
) -> Iterator[Source]:
    """Make each row of a statement a source, read through a cursor of the server.

    The cursor is open until the last row is drawn or the iterator is closed. An engine's connection is held as long,
    in a transaction; a connection or session of yours must not commit, roll back or close meanwhile.

    Args:
        bind: Where the statement runs; any database of SQLAlchemy's.
        statement: A `select()` of columns, or `text()`.
        source: The column that names the source; its values must differ from row to row.
        content: The text's column; a row where it is NULL or blank makes a source without passages, which deletes what
            is stored of it.
        metadata: Columns that become metadata of each passage, under their names. Dates and times become ISO 8601
            text, time spans seconds, UUIDs and addresses text, decimals numbers or, where a number would not be exact,
            text, enums their values.
        prefix: Put before each name, so that rows of several tables stay apart: `"articles:"`.
        chunk: Cuts each text in place of its format's chunker.
        format: `text`, `markdown`, `html` or `jsonl`.
        batch_size: Rows fetched at a time; no more are in memory.

    Raises:
        ConfigError: If the statement has no such column, there is no such format, or a connection or session is in
            AUTOCOMMIT; when the first row is drawn.
        SourceError: If a row has no name, a name that another has, content that is no text, or metadata that JSON
            cannot hold; the message gives its number, counted from 1.
        SQLAlchemyError: If the statement fails.
    """
    if batch_size < 1:
        raise ConfigError(f"Batches of {batch_size} rows are impossible: choose 1 or more")
    with _executed(bind, statement, batch_size) as result:
        _check_columns(result, (source, content, *metadata))
        yield from sources_of(_items(result, source, content, metadata, prefix), "row", format, chunk)


@contextmanager
def _executed(
    bind: Engine | Connection | Session, statement: Executable, batch_size: int
) -> Iterator[Result[tuple[Any, ...]]]:
    if isinstance(bind, Engine):
        with _in_transaction(bind) as connection, _executed(connection, statement, batch_size) as result:
            yield result
    else:
        if _is_autocommit(_connection_of(bind, statement)):
            raise ConfigError("rows() reads in a transaction, and this is in AUTOCOMMIT: give the engine instead")
        # Not connection.execution_options(), which would stay with the caller's connection.
        with bind.execute(statement, execution_options={"yield_per": batch_size}) as result:
            yield result


def _connection_of(bind: Connection | Session, statement: Executable) -> Connection:
    """Return the connection that the statement runs on: a session may be bound to several databases."""
    return bind if isinstance(bind, Connection) else bind.connection(bind_arguments={"clause": statement})


@contextmanager
def _in_transaction(engine: Engine) -> Iterator[Connection]:
    """Connect; a cursor of the server lives in a transaction, which an engine in AUTOCOMMIT would not begin."""
    with engine.connect() as connection:
        if _is_autocommit(connection):
            connection.execution_options(isolation_level=connection.default_isolation_level)
        yield connection


def _is_autocommit(connection: Connection) -> bool:
    # Of PostgreSQL's drivers; elsewhere the name may mean something else.
    return getattr(connection.connection.dbapi_connection, "autocommit", None) is True


def _check_columns(result: Result[tuple[Any, ...]], wanted: Iterable[str]) -> None:
    columns = list(result.keys())
    for name in wanted:
        if columns.count(name) != 1:
            has = "two columns" if name in columns else "no column"
            raise ConfigError(f"The statement has {has} {name!r}, but {', '.join(columns)}: select or label it once")


def _items(
    result: Result[tuple[Any, ...]], source: str, content: str, metadata: Sequence[str], prefix: str
) -> Iterator[Item]:
    for number, row in enumerate(result.mappings(), start=1):
        name, text = row[source], row[content]
        if name is None:
            raise SourceError(f"row {number}: {source!r} is NULL: leave such rows out")
        if not isinstance(text, str | None):
            kind = type(text).__name__
            raise SourceError(f"row {number} ({prefix}{name}): {content!r} is {kind}: cast it to text in the statement")
        yield Item(f"{prefix}{name}", text or "", {each: json_value(row[each]) for each in metadata})


def json_value(value: Any) -> Any:
    """Return what JSON can hold of a column's value; what is left as it is, is refused with the row's number."""
    match value:
        case Mapping():
            return {str(key): json_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [json_value(item) for item in value]
        case Enum():
            return json_value(value.value)
        case _:
            return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return _number(value)
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return str(value) if isinstance(value, _WRITTEN_AS_TEXT) else value


def _number(value: Decimal) -> int | float | str:
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    nearest = float(value)
    return nearest if Decimal(repr(nearest)) == value else str(value)
