"""A request and a response as every framework has them, and the headers that a page is sent with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from pgcorpus.errors import (
    CollectionNotFoundError,
    ConfigError,
    DatabaseError,
    DocumentError,
    FilterError,
    PgCorpusError,
    SearchError,
    SearchTimeoutError,
)

# There is no script, and nothing comes from elsewhere: what a document smuggles in has nothing to run with.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_STORE = {"Cache-Control": "no-store"}

# The first that fits; what is none of these is a fault of ours.
_STATUS: tuple[tuple[type[PgCorpusError], int], ...] = (
    (CollectionNotFoundError, 404),
    (SearchTimeoutError, 503),
    (SearchError, 400),
    (FilterError, 400),
    (DocumentError, 400),
    (DatabaseError, 503),
    (ConfigError, 503),
)

MAX_QUERY_STRING = 65_536  # bytes
MAX_PARAMETERS = 100

Parameters = Iterable[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What is asked for.

    Attributes:
        path: Below the place where the Explorer is mounted; begins with a slash.
        query_string: As it was sent.
        base: Where it is mounted, quoted, without a slash at the end.
        cookies: By name.
        secure: Whether it came over HTTPS.
        from_elsewhere: Whether a page of another site led here (the header ``Sec-Fetch-Site``).
        native: The framework's own request, for the host's access rule.
    """

    path: str
    query_string: bytes
    base: str = ""
    cookies: Mapping[str, str] = field(default_factory=dict)
    secure: bool = False
    from_elsewhere: bool = False
    native: Any = None

    def parameters(self) -> list[tuple[str, str]]:
        """Return the query's parameters in their order; bytes that are no UTF-8 become U+FFFD.

        Raises:
            ValueError: There are too many, or they are too long together.
        """
        if len(self.query_string) > MAX_QUERY_STRING:
            raise ValueError(f"the address is longer than {MAX_QUERY_STRING:,} characters")
        text = self.query_string.decode("ascii", "replace")
        try:
            return parse_qsl(text, errors="replace", max_num_fields=MAX_PARAMETERS)
        except ValueError:
            raise ValueError(f"the address has more than {MAX_PARAMETERS} parameters") from None

    def url(self, path: str, parameters: Parameters = ()) -> str:
        """Return the address of a page of the Explorer; what is None or empty is left out."""
        kept = [(name, value) for name, value in parameters if value not in (None, "")]
        query = urlencode(kept, errors="replace")
        # One slash only: after two a browser reads the name of a host.
        return f"{self.base}/{quote(path.lstrip('/'))}" + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class PageResponse:
    """What is answered.

    Attributes:
        status: The HTTP status.
        body: Bytes.
        headers: By name; those of security are added by the adapters' :meth:`all_headers`.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """Return the headers with those that every answer has."""
        return {**SECURITY_HEADERS, **NO_STORE, **self.headers}


def html(status: int, text: str) -> PageResponse:
    """Return a page; what UTF-8 cannot hold becomes a question mark."""
    return PageResponse(status, text.encode("utf-8", "replace"), {"Content-Type": "text/html; charset=utf-8"})


def redirect(location: str, headers: Mapping[str, str]) -> PageResponse:
    """Return a redirect that is followed by a GET."""
    return PageResponse(303, headers={"Location": location, **headers})


def lead_on(location: str, headers: Mapping[str, str]) -> PageResponse:
    """Return a page of our own that leads on: to a browser, who follows a redirect still comes from elsewhere."""
    body = f'<!doctype html><title>One moment</title><meta http-equiv="refresh" content="0; url={escape(location)}">'
    return PageResponse(200, body.encode(), {"Content-Type": "text/html; charset=utf-8", **headers})


def status_of(exc: PgCorpusError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(exc, kind)), 500)
