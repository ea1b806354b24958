"""A finding: something about a database that is not as it should be, and what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is: with an error something fails, with a warning it is slow or at risk, a note is to be known."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        code: What kind it is, such as ``extension-missing``; it stays the same from release to release.
        severity: How bad it is.
        summary: What it is.
        evidence: What was seen in the database.
        consequence: What comes of it.
        remedy: What mends it, in words.
        command: The command that mends it.
        sql: The SQL that mends it, statements with their semicolons; no transaction may be around it.
        revisions: Of a migration that is due, the range for :func:`pgcorpus.schema.sql`, which returns the SQL.
    """

    code: str
    severity: Severity
    summary: str
    evidence: str
    consequence: str
    remedy: str
    command: str | None = None
    sql: str | None = None
    revisions: str | None = None

    @property
    def instructions(self) -> str:
        """The remedy with its command and its SQL, on one line."""
        ways = [f"`{self.command}`" if self.command else "", f"in SQL: {self.sql}" if self.sql else ""]
        exactly = ", or ".join(way for way in ways if way)
        return " ".join(f"{self.remedy} {exactly[:1].upper()}{exactly[1:]}".split())


def worst(findings: Iterable[Finding]) -> Severity | None:
    """Return the worst severity among findings; None where there are none."""
    found = {finding.severity for finding in findings}
    return next((severity for severity in Severity if severity in found), None)
