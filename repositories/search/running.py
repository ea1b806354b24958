"""Running a statement that is built once: its SQL text is kept, and only parameters are made for each run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Connection, Dialect, Float, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB

from pgcorpus.faults import as_sqlalchemy
from pgcorpus.models.vector import Vector, extension_schema
from pgcorpus.repositories.search.cursors import kept_cursor

Builder = Callable[..., Any]
Row = Sequence[Any]

# Each is a text of some 2 KB: as many as there are shapes of searches in a program.
_KEPT = 512

# What psycopg reads in binary in any database; of a type that it does not know it would return bytes.
_BINARY = (BigInteger, Float, Integer, JSONB, Text, Vector)


def fetch(
    connection: Connection,
    build: Builder,
    arguments: tuple[Any, ...],
    parameters: Mapping[str, Any],
    condition: ColumnElement[bool] | None = None,
) -> Sequence[Row]:
    """Run a statement and return its rows.

    Making and compiling a statement takes longer than sending it, so its text is kept by what decides it: the
    arguments, and the form of the condition without its values.

    Args:
        connection: Where to run it.
        build: Makes the statement from the arguments and the condition.
        arguments: Hashable; all that decides the statement's text.
        parameters: Values of its bound parameters.
        condition: A filter to build it with.
    """
    form = None if condition is None else _Form(condition)
    if (form is None or form.is_known) and "schema_translate_map" not in connection.get_execution_options():
        prepared = _prepared(build, arguments, form, connection.dialect, extension_schema(connection.dialect))
        if prepared.is_complete:
            return prepared.run(connection, parameters if form is None else {**parameters, **prepared.values_of(form)})
    return connection.execute(build(*arguments, condition), parameters).all()


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
        self.is_complete = not (compiled.post_compile_params or compiled.literal_execute_params)
        self._names = [compiled.bind_names[bind] for bind in (() if form is None else form.binds)]
        columns = list(statement.selected_columns)
        self._sql = str(compiled)
        self._dialect = dialect
        self._types = [column.type.dialect_impl(dialect) for column in columns]
        self._binary = all(isinstance(column.type, _BINARY) for column in columns)
        binds = compiled.binds.items()
        self._constants = {name: bind.value for name, bind in binds if not bind.required}
        encoders = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in binds}
        self._encoders = {name: encode for name, encode in encoders.items() if encode is not None}
        self._decoders: dict[int, Callable[[Any], Any]] | None = None  # known when the server has told its types

    def values_of(self, form: _Form) -> dict[str, Any]:
        """Return the values of a condition of this statement's form, by the names they have in it."""
        return {name: bind.effective_value for name, bind in zip(self._names, form.binds, strict=True)}

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Row]:
        encoded = {**self._constants, **parameters}
        for name, encode in self._encoders.items():
            encoded[name] = encode(encoded[name])
        cursor: Any = kept_cursor(connection) if self._binary else None
        if cursor is not None:
            with as_sqlalchemy(connection, self._sql):
                cursor.execute(self._sql, encoded)
                return self._decoded(cursor, cursor.fetchall)
        result: Any = connection.exec_driver_sql(self._sql, encoded)
        return self._decoded(result.cursor, result.all)

    def _decoded(self, cursor: Any, fetch_all: Callable[[], Sequence[Row]]) -> Sequence[Row]:
        if self._decoders is None:
            self._decoders = self._decoders_of(cursor.description)
        rows = fetch_all()
        return [self._decoded_row(row, self._decoders) for row in rows] if self._decoders else rows

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
