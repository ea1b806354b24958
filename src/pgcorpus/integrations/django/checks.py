"""System checks: of the settings with every command, and of the database where Django asks for it.

Django looks at a database with ``manage.py check --database default``, and before ``migrate`` and the tests, which an
error would stop; what a migration mends is a warning, therefore.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import connections

from pgcorpus.errors import ConfigError, PgCorpusError
from pgcorpus.integrations.django.conf import database_alias, host, host_settings
from pgcorpus.integrations.django.pooling import engine
from pgcorpus.services.doctor import Finding, Severity, examine

TAG = "pgcorpus"

_MESSAGES: dict[Severity, tuple[Callable[..., CheckMessage], str]] = {
    Severity.ERROR: (Error, "E"),
    Severity.WARNING: (Warning, "W"),
    Severity.NOTE: (Info, "I"),
}

# Of the findings by their codes; for SILENCED_SYSTEM_CHECKS they stay as they are. The letter before is by severity.
NUMBERS = {
    "server-unreachable": 101,
    "pool-exhausted": 102,
    "extension-missing": 110,
    "extension-old": 111,
    "extension-defects": 112,
    "schema-missing": 120,
    "schema-behind": 121,
    "schema-behind-in-host": 122,
    "schema-ahead": 123,
    "columns-missing": 124,
    "embeddings-missing": 125,
    "tables-locked": 126,
    "not-examined": 127,
    "rights-reading": 130,
    "rights-writing": 131,
    "index-missing": 140,
    "index-invalid": 141,
    "index-metric": 142,
    "index-building": 143,
    "index-duplicate": 144,
    "index-empty-build": 145,
    "index-bloated": 146,
    "index-unused": 147,
    "index-memory": 148,
    "build-memory": 149,
    "statistics-missing": 150,
    "documents-waiting": 151,
    "statistics-stale": 152,
    "autovacuum-off": 153,
    "vacuum-due": 154,
    "vectors-toasted": 155,
    "settings-blunt": 156,
    "calibration-stale": 157,
    "embeddings-zero": 160,
    "embeddings-mixed": 161,
    "embeddings-norms": 162,
    "content-hash-stale": 163,
    "model-undeclared": 164,
    "language-other": 165,
    "documents-duplicate": 166,
    "copy-abandoned": 167,
    "copy-retired": 168,
    "cache-large": 169,
    "host-index-missing": 170,
    "host-vector-undimensioned": 171,
    "host-index-invalid": 172,
    "host-index-unused": 173,
    "pooler-prepared": 180,
    "pooler-settings": 181,
    "search-settings-lost": 182,
    "setting-leaked": 183,
    "connections-few": 184,
    "pool-too-large": 185,
    "transactions-idle": 186,
}
_OTHER = 199
_MENDED_BY_A_MIGRATION = (
    "extension-missing",
    "extension-old",
    "schema-missing",
    "schema-behind",
    "schema-behind-in-host",
)


def register_checks() -> None:
    """Make the checks known to Django: for ``AppConfig.ready()``."""
    register(check_settings, TAG)
    # Not by our tag as well: Django 6 then looks at all databases for `check --tag pgcorpus`.
    register(check_database, Tags.database)


def check_settings(**_: Any) -> Sequence[CheckMessage]:
    """Return what is wrong with ``settings.PGCORPUS``; no database is asked, and no model loaded."""
    checks: tuple[Callable[[], object], ...] = (host_settings, database_alias, _check_driver)
    for number, check in enumerate(checks, start=1):
        try:
            check()
        except ConfigError as exc:
            return [Error(str(exc), id=f"{TAG}.E{number:03}")]
    return _check_embedder()


def check_database(*, databases: Sequence[str] | None = None, **_: Any) -> Sequence[CheckMessage]:
    """Return what is wrong with the documents' database, if it is among those that Django is to look at."""
    try:
        host_settings()
        alias = database_alias()
    except ConfigError:
        return []  # told by the check of the settings
    if alias not in (databases or ()):
        return []
    try:
        return [_message(finding) for finding in examine(engine(alias))]
    except PgCorpusError as exc:
        return [Error(_our_commands(str(exc)), id=f"{TAG}.E{_OTHER}")]


def _check_driver() -> None:
    """psycopg2 is Django's choice where psycopg 3 is not to be had."""
    connection: Any = connections[database_alias()]
    driver = connection.Database.__name__
    if driver != "psycopg":
        raise ConfigError(f"Django uses {driver}, and pgcorpus shares connections of psycopg 3 only: install psycopg")


def _check_embedder() -> Sequence[CheckMessage]:
    """A warning: `migrate` and the like embed nothing, and may well run without a key."""
    given = host_settings().embedder
    if not (given is None or isinstance(given, str)):
        return []
    try:
        _ = host().embedder
    except ConfigError as exc:
        hint = f"Give settings.PGCORPUS an EMBEDDER that is installed, and its key; now it has {given!r}."
        return [Warning(f"nothing can be embedded: {exc}", hint=hint, id=f"{TAG}.W001")]
    return []


def _message(finding: Finding) -> CheckMessage:
    severity = Severity.WARNING if finding.code in _MENDED_BY_A_MIGRATION else finding.severity
    kind, letter = _MESSAGES[severity]
    said = " ".join(part for part in (finding.summary, finding.evidence, finding.consequence) if part)
    number = NUMBERS.get(finding.code, _OTHER)
    return kind(_our_commands(said), hint=_our_commands(finding.instructions), id=f"{TAG}.{letter}{number}")


def _our_commands(text: str) -> str:
    return text.replace("`pgcorpus ", "`manage.py pgcorpus ").replace("PGCORPUS_DATABASE_URL", "settings.DATABASES")
