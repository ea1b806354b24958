"""Where the database is and which embedder to use: read from the environment when asked, never at import."""

from __future__ import annotations

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from pgcorpus.errors import ConfigError

DATABASE_URL_VARIABLES = ("PGCORPUS_DATABASE_URL", "DATABASE_URL")

DEFAULT_DRIVER = "psycopg"
DRIVERS = ("psycopg", "psycopg_async", "psycopg2")


class Settings(BaseSettings):
    """What the environment says; every field can also be given by hand.

    Attributes:
        database_url: ``PGCORPUS_DATABASE_URL``, else ``DATABASE_URL``.
        data_dir: ``PGCORPUS_DATA_DIR``, where the embedded server keeps its data.
        embedder: ``PGCORPUS_EMBEDDER``, ``openai``, ``local`` or ``NAME:MODEL``.
        openai_api_key: ``OPENAI_API_KEY``; its presence makes OpenAI the default embedder.
        slow_search_ms: ``PGCORPUS_SLOW_SEARCH_MS``; a search that takes longer is logged with its plan.
    """

    model_config = SettingsConfigDict(
        env_prefix="PGCORPUS_", env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    database_url: str | None = Field(default=None, validation_alias=AliasChoices(*DATABASE_URL_VARIABLES))
    data_dir: str | None = None
    embedder: str | None = None
    openai_api_key: str | None = Field(default=None, repr=False, validation_alias="OPENAI_API_KEY")
    slow_search_ms: float | None = Field(default=None, gt=0)


def load_settings() -> Settings:
    """Read the settings from the environment now.

    Raises:
        ConfigError: A variable has a value that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as exc:
        fault = exc.errors()[0]
        raise ConfigError(f"the setting {fault['loc'][0]} is wrong: {fault['msg']}") from exc


def database_url(url: str | URL | None = None) -> URL:
    """Return the database URL with its driver named.

    SQLAlchemy 2.0 reads plain ``postgresql://`` as psycopg2 and 2.1 as psycopg 3; here it is psycopg 3 on both.

    Args:
        url: A URL; without it ``PGCORPUS_DATABASE_URL``, else ``DATABASE_URL``.

    Raises:
        ConfigError: No URL is known, it is malformed, or it names another database or driver.
    """
    given = url if url is not None else load_settings().database_url
    if not given:
        raise ConfigError(
            "no database: set PGCORPUS_DATABASE_URL (or DATABASE_URL), for example "
            "postgresql+psycopg://user:password@localhost:5432/mydb"
        )
    return _with_driver(_parse(given))


def _parse(url: str | URL) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as exc:
        # The text may hold a password, so it is not repeated.
        raise ConfigError("the database URL cannot be read: use postgresql://user:password@host:5432/name") from exc


def _with_driver(url: URL) -> URL:
    backend, _, driver = url.drivername.partition("+")
    if backend not in ("postgresql", "postgres"):
        raise ConfigError(f"{url.drivername}:// is not PostgreSQL: use postgresql+psycopg://...")
    driver = driver or DEFAULT_DRIVER
    if driver not in DRIVERS:
        raise ConfigError(
            f"the driver {driver} is not supported: use {url.set(drivername='postgresql+psycopg').render_as_string()} "
            "(psycopg 3 serves both sync and async)"
        )
    return url.set(drivername=f"postgresql+{driver}")
