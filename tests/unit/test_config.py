"""The database is named by the environment, with a driver that works on every SQLAlchemy."""

import subprocess
import sys

import pytest

from pgcorpus.config import database_url, load_settings
from pgcorpus.database import create_async_engine, create_engine
from pgcorpus.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgres://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg2"),
    ],
)
def test_the_driver_is_always_named(given: str, driver: str) -> None:
    assert database_url(given).drivername == driver


def test_our_variable_goes_before_the_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@h/general")
    assert database_url().database == "general"
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", "postgresql://u@h/ours")
    assert database_url().database == "ours"
    monkeypatch.setenv("PGCORPUS_DATABASE_URL", "")
    assert database_url().database == "general"


def test_without_a_url_the_library_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="set PGCORPUS_DATABASE_URL"):
        create_engine()


@pytest.mark.parametrize("url", ["mysql://u@h/d", "sqlite://", "nonsense", "postgresql://h:port/d"])
def test_what_is_no_postgresql_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        create_engine(url)


def test_asyncpg_gets_the_psycopg_url_to_use_without_the_password() -> None:
    with pytest.raises(ConfigError, match=r"postgresql\+psycopg://u:\*\*\*@h/d") as caught:
        create_async_engine("postgresql+asyncpg://u:secret@h/d")
    assert "secret" not in str(caught.value)


def test_a_malformed_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        database_url("postgresql://u:secret@h:port/d")
    assert "secret" not in str(caught.value)


def test_psycopg2_is_not_async() -> None:
    with pytest.raises(ConfigError, match="not async"):
        create_async_engine("postgresql+psycopg2://u@h/d")


def test_a_statement_timeout_cannot_pass_pgbouncer() -> None:
    with pytest.raises(ConfigError, match="PgBouncer"):
        create_engine("postgresql://u@h/d", pgbouncer=True, statement_timeout=1)


def test_the_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert load_settings().openai_api_key == "sk-secret"
    assert "secret" not in repr(load_settings())


def test_import_connects_to_nothing_and_loads_no_client() -> None:
    code = (
        "import sys, socket; socket.socket.connect = None\n"
        "import pgcorpus.database, pgcorpus.repositories, pgcorpus.services.ingesting, pgcorpus.schema\n"
        "assert 'openai' not in sys.modules and 'wordllama' not in sys.modules\n"
    )
    environment = {"PGCORPUS_DATABASE_URL": "nonsense"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
