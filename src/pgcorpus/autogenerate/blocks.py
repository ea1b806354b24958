"""Anonymous blocks of PL/pgSQL: what is done together, or only on a condition, and prints offline."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def do_block(body: str) -> str:
    """Return a statement that runs a body, whatever dollar signs the names and literals in it have."""
    tag = "$$" if "$$" not in body else f"$d{digest(body)}$"
    return f"DO {tag}\n{body.strip()}\n{tag}"


def do_statements(statements: Iterable[str]) -> str:
    """Return statements as one, done together or not at all."""
    return do_block("BEGIN\n" + "".join(f"    {statement};\n" for statement in statements) + "END")


def digest(value: str) -> str:
    """Return eight hexadecimal digits of a text, the same ones in every process."""
    return blake2b(value.encode(), digest_size=4).hexdigest()
