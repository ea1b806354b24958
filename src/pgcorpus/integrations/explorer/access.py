"""Who may look: the host's own rule, or a token for a page that one person opens on a machine of theirs."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import quote

from pgcorpus.errors import ConfigError
from pgcorpus.integrations.explorer.http import PageRequest, PageResponse, lead_on, redirect

# Gets the framework's own request; awaitable under ASGI.
Access: TypeAlias = "Callable[[Any], Any] | PageAccess"

_HOW = (
    "the Explorer shows whole documents, so it starts with an access rule only: give access=, a function that takes "
    "your framework's request and returns True or False, such as access=lambda request: current_user.is_staff"
)


class PageAccess(ABC):
    """A rule of ours, which needs no framework: it gets the page's request and may answer with a response."""

    @abstractmethod
    def __call__(self, page: PageRequest) -> bool | PageResponse:
        """Return whether the page may be seen, or what to answer instead."""


class TokenAccess(PageAccess):
    """Lets in who has a secret link: ``?token=...`` sets a cookie, and leads on to the address without the token.

    The cookie is HttpOnly and SameSite=Strict, and holds a hash in place of the token. A server that logs addresses
    logs the first request with its token: turn its access log off.

    Args:
        token: At least 16 characters; a new random one unless given.

    Raises:
        ConfigError: The token is shorter.
    """

    def __init__(self, token: str | None = None) -> None:
        if token is not None and len(token) < 16:
            raise ConfigError("a token of fewer than 16 characters can be guessed; leave it out for a random one")
        self._token = token or secrets.token_urlsafe(32)
        digest = hmac.new(self._token.encode(), b"pgcorpus explorer", hashlib.sha256).hexdigest()
        # Cookies know no ports: each Explorer of a machine needs a name of its own.
        self._cookie, self._pass = f"pgcorpus_explorer_{digest[:8]}", digest[8:]

    def __repr__(self) -> str:
        return "TokenAccess(...)"

    @property
    def token(self) -> str:
        """The secret, for the link to print."""
        return self._token

    def url(self, address: str) -> str:
        """Return the link that lets in: the Explorer's address with the token."""
        return f"{address.rstrip('/')}/?token={quote(self._token, safe='')}"

    def __call__(self, page: PageRequest) -> bool | PageResponse:
        try:
            parameters = page.parameters()
        except ValueError:
            return False
        given = [value for name, value in parameters if name == "token"]
        if not given:
            return _same(page.cookies.get(self._cookie, ""), self._pass)
        # A wrong one is refused, whatever the cookie says.
        if len(given) > 1 or not _same(given[0], self._token):
            return False
        return self._let_in(page, [(name, value) for name, value in parameters if name != "token"])

    def _let_in(self, page: PageRequest, rest: list[tuple[str, str]]) -> PageResponse:
        cookie = f"{self._cookie}={self._pass}; Path={page.base or '/'}; HttpOnly; SameSite=Strict"
        # A strict cookie is not sent along with a redirect that began on another site's page.
        answer = lead_on if page.from_elsewhere else redirect
        return answer(page.url(page.path, rest), {"Set-Cookie": cookie + "; Secure" * page.secure})


def checked_access(access: Any) -> Access:
    """Return the rule.

    Raises:
        ConfigError: There is none.
    """
    if not callable(access):
        raise ConfigError(_HOW)
    rule: Access = access
    return rule


def verdict(answer: Any) -> bool | PageResponse:
    """Return a rule's answer if it is one.

    Raises:
        ConfigError: It is anything but True, False and a response of ours: a coroutine that nobody awaited is true.
    """
    if isinstance(answer, bool | PageResponse):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()
        raise ConfigError("the access rule is async: under WSGI give one that returns True or False itself")
    raise ConfigError(
        f"the access rule answered {type(answer).__name__}: it must return True or False (bool(...)), or raise what "
        "your framework turns into a redirect or an error"
    )


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
