"""Running a statement that is built once: its SQL text is kept, and only parameters are made for each run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import BindParameter, ColumnElement, Connection, Dialect
from sqlalchemy.orm import Session

from pgcorpus.faults import as_sqlalchemy
from pgcorpus.models.vector import extension_schema
from pgcorpus.repositories.search.cursors import all_binary, forget_cursor, kept_cursor
from pgcorpus.repositories.target import SCOPE
from pgcorpus.repositories.transactions import connection_of

Builder = Callable[..., Any]
Row = Sequence[Any]

# Each is a text of some 2 KB: as many as there are shapes of searches in a program.
_KEPT = 512

# Rows after which a cursor's result is too large to be kept.
_MANY = 1_000

_SCOPE_IN_TEXT = re.compile(rf"__\[POSTCOMPILE_{SCOPE}[^\]]*\]")
_SCOPE_MARK = f"/*{SCOPE}*/"


@dataclass(frozen=True, slots=True)
class Line:
    """What a search's statements run on.

    Attributes:
        session: Where it listens to its statements (``do_orm_execute``), they go through the session itself.
        connection: The session's, to the database of the class searched.
        cursor: The one kept for the connection; None where SQLAlchemy's own has to be used.
    """

    session: Session
    connection: Connection
    cursor: psycopg.Cursor[Any] | None

    @property
    def is_direct(self) -> bool:
        """Whether nothing between us and the driver rewrites statements: else their text cannot be kept."""
        options = self.connection.get_execution_options()
        return not (self.session.dispatch.do_orm_execute or "schema_translate_map" in options)


def open_line(session: Session, model: Any) -> Line:
    """Return what the statements about a mapped class run on."""
    connection = connection_of(session, model)
    return Line(session, connection, kept_cursor(connection))


def fetch(
    line: Line,
    build: Builder,
    arguments: tuple[Any, ...],
    parameters: Mapping[str, Any],
    condition: ColumnElement[bool] | None = None,
    *,
    prepare: bool = True,
) -> Sequence[Row]:
    """Run a statement and return its rows.

    Making and compiling a statement takes longer than sending it, so its text is kept by what decides it: the
    arguments, and the form of the condition without its values.

    Args:
        line: Where to run it.
        build: Makes the statement from the arguments and the condition.
        arguments: Hashable; all that decides the statement's text.
        parameters: Values of its bound parameters.
        condition: A filter to build it with.
        prepare: Whether the driver may prepare it, and the server then plan it once for all values.
    """
    form = None if condition is None else _Form(condition)
    if (form is None or form.is_known) and line.is_direct:
        dialect = line.connection.dialect
        prepared = _prepared(build, arguments, form, dialect, extension_schema(dialect))
        if prepared.is_complete:
            values = parameters if form is None else {**parameters, **prepared.values_of(form)}
            return prepared.run(line, values, prepare)
    # The connection as its bind: the session may have several.
    engine = {"bind": line.connection}
    return line.session.execute(build(*arguments, condition), parameters, bind_arguments=engine).all()


class _Form:
    """A condition as the key of a statement's text: equal to any of the same form, whatever its values.

    SQLAlchemy's own cache goes by the same key, but asks for the whole statement to be built first.
    """

    def __init__(self, condition: ColumnElement[bool]) -> None:
        self.condition = condition
        key = condition._generate_cache_key()
        self._key = None if key is None else key.key
        # The bound values, in an order that is the same for every condition of this form.
        self.binds: Sequence[BindParameter[Any]] = () if key is None else key.bindparams

    @property
    def is_known(self) -> bool:
        """Whether SQLAlchemy can tell conditions of this kind apart."""
        return self._key is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Form) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class _Prepared:
    """A statement's SQL text, with what turns parameters into the driver's form and values into ours."""

    def __init__(self, statement: Any, form: _Form | None, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        # Lists that SQLAlchemy writes out, and values that it writes into the text, differ from run to run.
        written = {*compiled.post_compile_params, *compiled.literal_execute_params}
        self.is_complete = {bind.key for bind in written} <= {SCOPE}
        self._names = [compiled.bind_names[bind] for bind in (() if form is None else form.binds)]
        columns = list(statement.selected_columns)
        self._sql = _SCOPE_IN_TEXT.sub(_SCOPE_MARK, str(compiled))
        self._dialect = dialect
        self._types = [column.type.dialect_impl(dialect) for column in columns]
        self._is_binary: bool | None = None  # whether psycopg reads all of the server's types in binary
        binds = compiled.binds.items()
        self._constants = {name: bind.value for name, bind in binds if not bind.required}
        encoders = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in binds if name != SCOPE
        }
        self._encoders = {name: encode for name, encode in encoders.items() if encode is not None}
        self._decoders: dict[int, Callable[[Any], Any]] | None = None  # known when the server has told its types

    def values_of(self, form: _Form) -> dict[str, Any]:
        """Return the values of a condition of this statement's form, by the names they have in it."""
        return {name: bind.effective_value for name, bind in zip(self._names, form.binds, strict=True)}

    def run(self, line: Line, parameters: Mapping[str, Any], prepare: bool) -> Sequence[Row]:
        encoded = {**self._constants, **parameters}
        sql = self._sql
        if SCOPE in encoded:
            sql = sql.replace(_SCOPE_MARK, str(int(encoded.pop(SCOPE))))
        for name, encode in self._encoders.items():
            encoded[name] = encode(encoded[name])
        if line.cursor is not None and self._is_binary is not False:
            rows = self._run_binary(line.connection, line.cursor, sql, encoded, prepare)
            if rows is not None:
                return rows
        result: Any = line.connection.exec_driver_sql(sql, encoded)
        if self._decoders is None:
            self._decoders = self._decoders_of(result.cursor.description)
        return self._decoded(result.all())

    def _run_binary(
        self,
        connection: Connection,
        cursor: Any,  # psycopg's own type wants a literal for SQL text
        sql: str,
        parameters: Mapping[str, Any],
        prepare: bool,
    ) -> Sequence[Row] | None:
        """Return the rows, or None where one of their types has to come as text."""
        with as_sqlalchemy(connection, sql):
            cursor.execute(sql, parameters, prepare=None if prepare else False)
            rows: Sequence[Row] = cursor.fetchall()
        if self._is_binary is None:
            self._is_binary = all_binary(cursor)
            if not self._is_binary:
                return None
        if self._decoders is None:
            self._decoders = self._decoders_of(cursor.description or ())
        if len(rows) > _MANY:
            forget_cursor(connection)  # it holds on to its last result
        return self._decoded(rows)

    def _decoded(self, rows: Sequence[Row]) -> Sequence[Row]:
        decoders = self._decoders
        return [self._decoded_row(row, decoders) for row in rows] if decoders else rows

    def _decoders_of(self, description: Sequence[Any]) -> dict[int, Callable[[Any], Any]]:
        decoders = {
            position: type_.result_processor(self._dialect, column[1])
            for position, (type_, column) in enumerate(zip(self._types, description, strict=True))
        }
        return {position: decode for position, decode in decoders.items() if decode is not None}

    def _decoded_row(self, row: Row, decoders: Mapping[int, Callable[[Any], Any]]) -> Row:
        values = list(row)
        for position, decode in decoders.items():
            values[position] = decode(values[position])
        return values


@lru_cache(maxsize=_KEPT)
def _prepared(
    build: Builder,
    arguments: tuple[Any, ...],
    form: _Form | None,
    dialect: Dialect,
    _schema: str | None,  # part of the key: the dialect's names of the extension's operators depend on it
) -> _Prepared:
    statement = build(*arguments) if form is None else build(*arguments, form.condition)
    return _Prepared(statement, form, dialect)
