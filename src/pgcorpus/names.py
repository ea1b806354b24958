"""Names and literals in SQL text that goes to the server as it is, with no parameters."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql

# Not a connection's own: where the driver's parameters are spelled with it, that one doubles a percent sign.
_PREPARER = postgresql.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]


def quote(name: str) -> str:
    """Return a name, in quotes where it needs them."""
    return _PREPARER.quote(name)


def qualified(schema: str | None, name: str) -> str:
    """Return a quoted name, with its schema where there is one."""
    return quote(name) if schema is None else f"{quote(schema)}.{quote(name)}"


def regclass_name(*parts: str | None) -> str:
    """Return a name as ``to_regclass`` takes it in a parameter, where a dialect's quoting would double a ``%``."""
    return ".".join('"{}"'.format(part.replace('"', '""')) for part in parts if part)


def literal(value: str) -> str:
    """Return a string as an SQL literal, for statements that also have to print offline."""
    quoted = value.replace("'", "''")
    return f" E'{quoted.replace(chr(92), chr(92) * 2)}'" if "\\" in value else f"'{quoted}'"
