"""What the server did not let be looked at: it is told, for to find nothing is to say that all is well."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.exc import DBAPIError

from pgcorpus.errors import UnreachableError
from pgcorpus.faults import sqlstate, translated
from pgcorpus.services.doctor.facts import Refusal
from pgcorpus.services.doctor.finding import Finding, Severity

_INSUFFICIENT_PRIVILEGE = "42501"


def is_lost(exc: DBAPIError) -> bool:
    """Say whether nothing more can be asked of a connection."""
    return exc.connection_invalidated or isinstance(translated(exc), UnreachableError)


def refusal(what: str, exc: DBAPIError) -> Refusal:
    """Return what is not known for an error of the server's.

    Args:
        what: What was looked at, in words.
        exc: As it was raised.

    Raises:
        DBAPIError: The connection is lost.
    """
    if is_lost(exc):
        raise exc
    return Refusal(what, str(translated(exc)), denied=sqlstate(exc) == _INSUFFICIENT_PRIVILEGE)


def refused_findings(refusals: Iterable[Refusal]) -> list[Finding]:
    """Return that something was not looked at; a note where the role may not: that may well be meant."""
    return [
        Finding(
            "not-examined",
            Severity.NOTE if each.denied else Severity.WARNING,
            f"This could not be looked at: {each.what}.",
            f"The server says: {each.why}.",
            "Whether all is well there is not known.",
            "Examine the database as the owner of the tables, or as a role that pg_monitor was granted to."
            if each.denied
            else "Mend what the server complains of, such as a policy, a view or a timeout of the role's; or examine"
            " the database as the owner of the tables.",
        )
        for each in refusals
    ]
