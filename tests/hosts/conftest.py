"""Databases of the hosts: migrated once by the framework's own commands, cloned for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus.database import create_engine
from pgcorpus.integrations.explorer import Explorer
from tests.support import django_host, explored
from tests.support.browser import browser as browser
from tests.support.browser import running_browser as running_browser


@pytest.fixture(scope="session")
def django_template(make_database: Callable[..., URL], template: str) -> str:
    """The name of a database with our tables and those of the tests' Django project."""
    url = make_database(template)
    django_host.migrate(url)
    assert url.database is not None
    return url.database


@pytest.fixture
def django_url(
    make_database: Callable[..., URL], drop_database: Callable[[URL], None], django_template: str
) -> Iterator[URL]:
    """A database of the test's own, with our tables and Django's."""
    url = make_database(django_template)
    yield url
    drop_database(url)


@pytest.fixture
def django(django_url: URL) -> Iterator[URL]:
    """The tests' Django project, pointed at a database of the test's own."""
    with django_host.django_on(django_url):
        yield django_url


@pytest.fixture(scope="module")
def corpus(make_database: Callable[..., URL], template: str) -> Iterator[Engine]:
    """A database with the Explorer's collections; tests only read it."""
    engine = create_engine(make_database(template))
    explored.fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def explorer(corpus: Engine) -> Explorer:
    """The Explorer of that database, open to everybody."""
    return Explorer(corpus, explored.EMBEDDER, access=explored.everybody)
