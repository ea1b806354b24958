"""What the server refuses of documents, as errors that name the document and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, StatementError

from pgcorpus.errors import DocumentError, PgCorpusError
from pgcorpus.faults import sqlstate

_UNIQUE_VIOLATION = "23505"
_INTERNAL_ERROR = "XX000"
# PostgreSQL documentation, "PostgreSQL Error Codes": data exceptions and integrity constraint violations.
_OF_THE_DATA = ("22", "23")

# The context of an error inside COPY, in any language: "COPY documents, line 12".
_COPY_LINE = re.compile(r"^COPY [^\n]*?,\s+\D+?\s(\d+)", re.MULTILINE)


@contextmanager
def as_document_errors(noun: str, way_out: str, start: int = 0) -> Iterator[None]:
    """Raise what the server, or a parameter's conversion, refuses of the data as :class:`DocumentError`.

    Args:
        noun: What an item is called.
        way_out: What to do about an item that is stored already.
        start: The position of the first item that is sent.

    Raises:
        DocumentError: The message names the item's position where the server tells it.
    """
    try:
        yield
    except DBAPIError as exc:
        if (problem := _problem(exc, way_out)) is None:
            raise
        raise DocumentError(f"{_place(exc, noun, start)}: {problem}") from exc
    except StatementError as exc:
        if exc.orig is None or isinstance(exc.orig, PgCorpusError):
            raise
        raise DocumentError(f"a {noun} cannot be sent: {exc.orig}") from exc


def is_duplicate(exc: DBAPIError) -> bool:
    """Return whether the server found a value that has to be unique; Citus says so as an internal error."""
    state = sqlstate(exc)
    return state == _UNIQUE_VIOLATION or (state == _INTERNAL_ERROR and "duplicate key" in str(exc.orig))


def _problem(exc: DBAPIError, way_out: str) -> str | None:
    if is_duplicate(exc):
        return f"it is stored already, or twice among these. {way_out} ({_message(exc)})"
    if (sqlstate(exc) or "")[:2] in _OF_THE_DATA:
        return _message(exc)
    return None


def _message(exc: DBAPIError) -> str:
    diagnostics = getattr(exc.orig, "diag", None)
    parts = (getattr(diagnostics, name, None) for name in ("message_primary", "message_detail"))
    return ". ".join(part.rstrip(".")[:300] for part in parts if part) or str(exc.orig).partition("\n")[0]


def _place(exc: DBAPIError, noun: str, start: int) -> str:
    context = getattr(getattr(exc.orig, "diag", None), "context", None) or ""
    found = _COPY_LINE.search(context)
    return f"{noun} {start + int(found[1]) - 1}" if found else f"a {noun}"
