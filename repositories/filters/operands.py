"""Operands: what a filter compares with, checked and converted before the server sees it.

A value is JSON (dates, times and UUIDs are text) or the Python object that a column holds. What PostgreSQL would
refuse, round or cut in silence is a :class:`~pgcorpus.errors.FilterError` here.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum as PythonEnum
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import (
    CHAR,
    REAL,
    BigInteger,
    Boolean,
    ColumnElement,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    Integer,
    Interval,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    Uuid,
    cast,
    literal,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY, CITEXT, INTERVAL, JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

from pgcorpus.errors import FilterError
from pgcorpus.repositories.values import json_problem, kind, text_problem

MAX_LIST = 1_000

# Far fewer than a numeric takes; pgcorpus.repositories.values says the same of JSON.
_MAX_DIGITS = 1_000
# Of an enum, in an error message.
_MAX_LABELS = 20
# PostgreSQL documentation, "Date/Time Types": a time with time zone lies at most 15:59 from UTC.
_MAX_OFFSET = timedelta(hours=16)

Reader = Callable[[Any, str], Any]


@dataclass(frozen=True, slots=True)
class Operand:
    """What a column is compared with.

    Attributes:
        type: The SQL type that values are bound as: the column's, without a length or scale that would cut or round.
        read: Returns a value as what is bound, or raises a FilterError that names the place.
    """

    type: TypeEngine[Any]
    read: Reader

    def bind(self, value: Any, place: str) -> ColumnElement[Any]:
        """Return one value, bound."""
        return literal(self.read(value, place), self.type)

    def bind_list(self, values: Any, place: str) -> ColumnElement[Any]:
        """Return a list of values, bound as one array."""
        return self.bind_read([self.read(value, f"{place}[{i}]") for i, value in enumerate(items(values, place))])

    def bind_read(self, read: list[Any]) -> ColumnElement[Any]:
        """Return values that were read, bound as one array."""
        # The cast: psycopg2 writes the elements out, and an array of text is none of UUIDs.
        return cast(literal(read, ARRAY(self.type)), ARRAY(self.type))


def operand_of(type_: TypeEngine[Any]) -> Operand | None:
    """Return what a column of that type is compared with, or None where a filter has no values for it."""
    for sql_type, make in _MAKERS:
        if isinstance(type_, sql_type):
            return make(type_)
    return _decorated(type_) if isinstance(type_, TypeDecorator) else None


def base_type(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type that PostgreSQL knows: what a decorator decorates, or the variant for PostgreSQL."""
    type_ = variant(type_)
    return base_type(type_.impl_instance) if isinstance(type_, TypeDecorator) else type_


def variant(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return what ``with_variant`` says of PostgreSQL."""
    found: TypeEngine[Any] = getattr(type_, "_variant_mapping", {}).get("postgresql", type_)
    return found


# Operands of no column's type


def items(value: Any, place: str) -> list[Any]:
    """Return a list of at most 1,000."""
    if not isinstance(value, list | tuple):
        raise FilterError(f"{place}: expected a list, not {kind(value)}")
    if len(value) > MAX_LIST:
        raise FilterError(f"{place}: {len(value):,} elements; at most {MAX_LIST:,}")
    return list(value)


def boolean(value: Any, place: str) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        raise _expected("true or false", value, place)
    return value


def text(value: Any, place: str) -> str:
    """Return a text that PostgreSQL can hold."""
    if not isinstance(value, str):
        raise _expected("text", value, place)
    if problem := text_problem(value):
        raise FilterError(f"{place}: the text {problem}")
    return str.__str__(value)  # of a subclass, an enum's member for one: the text itself


def pattern(value: Any, place: str) -> str:
    """Return a pattern of LIKE; the server would refuse a last backslash that escapes nothing."""
    read = text(value, place)
    if (len(read) - len(read.rstrip("\\"))) % 2:
        raise FilterError(f"{place}: the pattern ends in a backslash that escapes nothing; a backslash itself is \\\\")
    return read


def substring(value: Any, place: str) -> str:
    """Return the pattern of all texts that hold a text."""
    escaped = text(value, place).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def json_value(value: Any, place: str) -> Any:
    """Return a value that JSONB can hold."""
    if isinstance(value, list | tuple):
        items(value, place)
    if problem := json_problem(value, place):
        raise FilterError(problem)
    return value


def jsonb(value: Any) -> ColumnElement[Any]:
    """Return a JSON value, bound. As text: an engine's own serializer may know fewer values."""
    return cast(literal(json.dumps(value), Text()), JSONB())


def jsonb_array(values: list[Any]) -> ColumnElement[Any]:
    """Return JSON values, bound as one ``jsonb[]``."""
    return cast(literal([json.dumps(value) for value in values], ARRAY(Text())), ARRAY(JSONB()))


# Operands by the column's type


def _expected(what: str, value: Any, place: str) -> FilterError:
    return FilterError(f"{place}: expected {what}, not {kind(value)}")


def _integer(bits: int, value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _expected("an integer", value, place)
    json_value(value, place)  # too long even for the message below
    if not -(2**bits) <= value < 2**bits:
        raise FilterError(f"{place}: {value} is not a {bits + 1}-bit integer")
    return int(value)


def _decimal(value: Any, place: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _expected("a number", value, place)
    if not isinstance(value, Decimal):
        json_value(value, place)
    # A float by way of text: 0.1 is a tenth, not the nearest binary fraction.
    number = Decimal(float.__repr__(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise FilterError(f"{place}: expected a finite number")
    if max(abs(number.adjusted()), len(number.as_tuple().digits)) > _MAX_DIGITS:
        raise FilterError(f"{place}: a number of over 1,000 digits")
    return number


def _float(single: bool, value: Any, place: str) -> float:
    """Return the number as the column would hold it: a real of 0.1 is not the double of 0.1."""
    exact = _decimal(value, place)
    number = _as_single(float(exact)) if single else float(exact)
    if math.isinf(number) or (exact and not number):
        raise FilterError(f"{place}: a number beyond the range of the column")
    return number


def _as_single(number: float) -> float:
    try:
        single: float = struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return math.inf
    return single


def _parsed(parse: Callable[[str], Any], wanted: str, value: Any, place: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except (ValueError, OverflowError):
        raise FilterError(f"{place}: expected {wanted}") from None


def _datetime(with_zone: bool, value: Any, place: str) -> datetime:
    wanted = "an ISO 8601 timestamp such as 2026-01-31T12:00:00Z"
    read = _parsed(datetime.fromisoformat, wanted, value, place)
    if not isinstance(read, datetime):
        raise _expected(wanted, value, place)
    if not with_zone:
        return _without_zone(read, place)
    try:
        # In UTC, and UTC where it says nothing: what matches must not depend on the server's TimeZone.
        return read.replace(tzinfo=UTC) if read.utcoffset() is None else read.astimezone(UTC)
    except OverflowError:
        raise FilterError(f"{place}: in UTC the year is not 1 to 9999") from None


def _time(with_zone: bool, value: Any, place: str) -> time:
    wanted = "an ISO 8601 time such as 12:00:00"
    read = _parsed(time.fromisoformat, wanted, value, place)
    if not isinstance(read, time):
        raise _expected(wanted, value, place)
    if not with_zone:
        return _without_zone(read, place)
    offset = read.utcoffset() or timedelta()
    if abs(offset) >= _MAX_OFFSET or offset % timedelta(seconds=1):
        raise FilterError(f"{place}: no time zone is {offset} from UTC")
    return read.replace(tzinfo=timezone(offset))


_Moment = TypeVar("_Moment", datetime, time)


def _without_zone(value: _Moment, place: str) -> _Moment:
    """PostgreSQL would convert by its TimeZone, and drop the zone."""
    if value.utcoffset() is not None:
        raise FilterError(f"{place}: the column has no time zone; leave the offset out")
    return value.replace(tzinfo=None)


def _date(value: Any, place: str) -> date:
    wanted = "an ISO 8601 date such as 2026-01-31"
    read = _parsed(date.fromisoformat, wanted, value, place)
    if not isinstance(read, date) or isinstance(read, datetime):
        raise _expected(wanted, value, place)
    return read


def _interval(value: Any, place: str) -> timedelta:
    if not isinstance(value, timedelta):
        raise _expected("a timedelta", value, place)
    return value


def _uuid(as_uuid: bool, value: Any, place: str) -> UUID | str:
    read = _parsed(UUID, "a UUID", value, place)
    if not isinstance(read, UUID):
        raise _expected("a UUID", value, place)
    return read if as_uuid else str(read)


def _member(members: dict[str, Any], value: Any, place: str) -> Any:
    """Return the member of a label, or a member that was given as such."""
    if isinstance(value, PythonEnum) and any(value is member for member in members.values()):
        return value
    if not isinstance(value, str) or value not in members:
        labels = ", ".join(list(members)[:_MAX_LABELS])
        raise FilterError(f"{place}: expected one of {labels}")
    return members[value]


def _decorated(type_: TypeDecorator[Any]) -> Operand | None:
    """Convert as the decorator would, but now: what it raises while a statement runs is not a FilterError."""
    base = operand_of(base_type(type_))
    if base is None:
        return None

    def read(value: Any, place: str) -> Any:
        value = base.read(value, place)
        try:
            value = type_.process_bind_param(value, _DIALECT)
        except NotImplementedError:
            return value  # it converts results only
        except Exception as exc:
            raise FilterError(f"{place}: refused by the column's type {type(type_).__name__}") from exc
        return base.read(value, place)

    return Operand(base.type, read)


# Values are bound without length, scale or precision: a cast to VARCHAR(5) cuts, one to NUMERIC(10, 2) rounds.


def _of_enum(type_: Enum) -> Operand:
    convert = type_.result_processor(_DIALECT, None) or str  # type: ignore[no-untyped-call]
    return Operand(type_, partial(_member, {label: convert(label) for label in type_.enums}))


def _of_float(type_: Float[Any]) -> Operand:
    # PostgreSQL documentation, "Floating-Point Types": FLOAT(1) to FLOAT(24) are REAL.
    single = isinstance(type_, REAL) or (type_.precision or 53) <= 24
    return Operand(REAL() if single else Float(), partial(_float, single))


def _of_integer(type_: Integer) -> Operand:
    if isinstance(type_, BigInteger):
        return Operand(BigInteger(), partial(_integer, 63))
    return Operand(SmallInteger(), partial(_integer, 15)) if isinstance(type_, SmallInteger) else _INTEGER


def _of_string(type_: String) -> Operand:
    if isinstance(type_, CITEXT):
        return Operand(CITEXT(), text)
    # CHAR is CHAR(1) and cuts.
    return Operand(Text() if isinstance(type_, Text | CHAR) else String(), text)


_DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_INTEGER = Operand(Integer(), partial(_integer, 31))
_MAKERS: tuple[tuple[Any, Callable[[Any], Operand]], ...] = (
    (Enum, _of_enum),  # before String, which it is
    (Float, _of_float),  # before Numeric, which it was until SQLAlchemy 2.1
    (Numeric, lambda _: Operand(Numeric(), _decimal)),
    (Integer, _of_integer),
    (Boolean, lambda _: Operand(Boolean(), boolean)),
    (DateTime, lambda type_: Operand(DateTime(type_.timezone), partial(_datetime, type_.timezone))),
    (Date, lambda _: Operand(Date(), _date)),
    (Time, lambda type_: Operand(Time(type_.timezone), partial(_time, type_.timezone))),
    ((Interval, INTERVAL), lambda _: Operand(INTERVAL(), _interval)),
    (Uuid, lambda type_: Operand(type_, partial(_uuid, type_.as_uuid))),
    (String, _of_string),
)
