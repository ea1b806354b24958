"""What the tests of several hosts share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine import URL

from pgcorpus.database import create_engine
from pgcorpus.integrations.explorer import Explorer
from tests.support import explored
from tests.support.browser import browser as browser
from tests.support.browser import running_browser as running_browser


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
