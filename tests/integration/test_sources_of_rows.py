"""Rows of a database become sources, read through a cursor of the server."""

from __future__ import annotations

import math
import tracemalloc
from collections import deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

import pytest
from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, func, select, text
from sqlalchemy import Enum as EnumType
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pgcorpus.errors import ConfigError, SourceError
from pgcorpus.repositories.values import json_problem
from pgcorpus.services.chunking import Passage
from pgcorpus.services.sources import Source, rows

CURSORS = text("SELECT count(*) FROM pg_cursors")


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str | None]


BODIES = select(Article.id, Article.title, Article.body).order_by(Article.id)


@pytest.fixture
def articles(empty_engine: Engine) -> Engine:
    """A database with a table of articles."""
    Base.metadata.create_all(empty_engine)
    with Session(empty_engine) as session, session.begin():
        session.add_all(
            [
                Article(id=1, title="One", body="# Top\n\nFirst text."),
                Article(id=2, title="Two", body=None),
                Article(id=3, title="Three", body=" \n"),
            ]
        )
    return empty_engine


def read(bind, statement=BODIES, **options) -> list[tuple[str, list[Passage]]]:
    options = {"source": "id", "content": "body"} | options
    return [(source.name, list(source.passages())) for source in rows(bind, statement, **options)]


def test_each_row_becomes_a_source(articles: Engine) -> None:
    """Of an engine, a connection and a session alike; NULL and blank text give a source without passages."""
    expected = [
        ("article:1", [Passage("Top\n\nFirst text.", {"title": "Top", "heading": "Top", "id": 1})]),
        ("article:2", []),
        ("article:3", []),
    ]
    options = {"prefix": "article:", "metadata": ["title", "id"], "format": "markdown"}
    assert read(articles, **options) == expected
    with articles.connect() as connection, Session(articles) as session:
        assert read(connection, **options) == read(session, **options) == expected


def test_a_statement_may_be_text_and_columns_may_have_labels(articles: Engine) -> None:
    statement = text("SELECT 'a' || id AS name, coalesce(body, title) AS words FROM articles ORDER BY id")
    found = read(articles, statement, source="name", content="words")
    assert [name for name, _ in found] == ["a1", "a2", "a3"]
    labelled = select(Article.title.label("name"), func.upper(Article.body).label("words")).where(Article.id == 1)
    assert read(articles, labelled, source="name", content="words") == [("One", [Passage("# TOP\n\nFIRST TEXT.")])]


def test_a_chunker_of_ones_own_cuts_the_rows(articles: Engine) -> None:
    chunk = lambda body: [Passage(word) for word in body.split()]  # noqa: E731
    assert [part.content for part in read(articles, chunk=chunk)[0][1]] == ["#", "Top", "First", "text."]


# --- Memory and cursors


def many(engine: Engine, count: int) -> Iterator[Source]:
    statement = text("SELECT i AS id, repeat('Some words. ', 200) AS body FROM generate_series(1, :count) AS i")
    return rows(engine, statement.bindparams(count=count), source="id", content="body")


def test_twenty_thousand_rows_are_read_in_bounded_memory(articles: Engine) -> None:
    """They have 48 MB; a batch of 500 is in memory, and the names' digests."""
    deque(many(articles, 600), maxlen=1)
    tracemalloc.start()
    last = deque(many(articles, 20_000), maxlen=1)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert last.name == "20000"
    assert len(list(last.passages())) > 1
    assert peak < 12_000_000


def test_rows_stay_on_the_server_until_they_are_drawn(articles: Engine) -> None:
    """A cursor of the server is open meanwhile, of a connection as of a session, and closed with the iterator."""
    with articles.connect() as connection, Session(articles) as session:
        for bind in (connection, session):
            sources = rows(bind, BODIES, source="id", content="body", batch_size=1)
            assert bind.scalar(CURSORS) == 0
            next(sources)
            assert bind.scalar(CURSORS) == 1
            sources.close()  # type: ignore[attr-defined]
            assert bind.scalar(CURSORS) == 0
            assert bind.scalar(select(func.count()).select_from(Article)) == 3


def test_an_engines_connection_goes_back_when_the_iterator_is_closed(articles: Engine) -> None:
    sources = rows(articles, BODIES, source="id", content="body")
    next(sources)
    assert articles.pool.checkedout() == 1  # type: ignore[attr-defined]
    sources.close()  # type: ignore[attr-defined]
    assert articles.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_an_engine_in_autocommit_is_read_too(articles: Engine) -> None:
    """A cursor of the server lives in a transaction, which is begun for it alone."""
    reading = articles.execution_options(isolation_level="AUTOCOMMIT")
    assert [name for name, _ in read(reading)] == ["1", "2", "3"]
    engine = create_engine(articles.url, isolation_level="AUTOCOMMIT")
    try:
        assert [name for name, _ in read(engine)] == ["1", "2", "3"]
        with engine.connect() as connection:
            assert connection.connection.dbapi_connection.autocommit, "the next has it as before"  # type: ignore[union-attr]
            with pytest.raises(ConfigError, match="AUTOCOMMIT: give the engine instead"):
                read(connection)
            with Session(connection) as session, pytest.raises(ConfigError, match="AUTOCOMMIT"):
                read(session)
    finally:
        engine.dispose()


def test_nothing_of_the_reading_stays_with_the_callers_connection(articles: Engine) -> None:
    with articles.connect() as connection:
        read(connection, batch_size=1)
        assert not {"yield_per", "stream_results"} & set(connection.get_execution_options())


def test_a_session_bound_to_several_databases_reads_from_the_statements_own(articles: Engine) -> None:
    with Session(binds={Article: articles}) as session:
        assert [name for name, _ in read(session)] == ["1", "2", "3"]


def test_rows_of_another_database_are_sources_too() -> None:
    """Texts often live elsewhere than their embeddings."""
    engine = create_engine("sqlite://")
    assert read(engine, text("SELECT 1 AS id, 'text' AS body")) == [("1", [Passage("text")])]
    engine.dispose()


# --- Values


class Kind(Enum):
    NEWS = "news"


def test_values_become_what_json_has_for_them(articles: Engine) -> None:
    """Dates and times as ISO 8601, decimals as numbers where that is exact."""
    table = Table("kinds", MetaData(), Column("kind", EnumType(Kind)), Column("name", String))
    table.create(articles)
    with articles.begin() as connection:
        connection.execute(table.insert(), {"kind": Kind.NEWS, "name": "n"})
    assert read(articles, select(table, table.c.name.label("body")), source="name", metadata=["kind"]) == [
        ("n", [Passage("n", {"kind": "news"})])
    ]
    values = {
        "DATE '2024-02-29'": "2024-02-29",
        "TIMESTAMPTZ '2024-02-29 12:00:00+00'": datetime(2024, 2, 29, 12, tzinfo=UTC),
        "TIMESTAMP '2024-02-29 12:00:00'": "2024-02-29T12:00:00",
        "TIME '12:30'": "12:30:00",
        "INTERVAL '1 day 1 second'": 86401.0,
        "19.99::numeric": 19.99,
        "5.00::numeric": 5,
        "3.14159265358979323846264338::numeric": "3.14159265358979323846264338",
        "'NaN'::numeric": "NaN",
        "'Infinity'::float8": "inf",
        "1.5::float8": 1.5,
        "true": True,
        "NULL::int": None,
        "'12345678-1234-5678-1234-567812345678'::uuid": "12345678-1234-5678-1234-567812345678",
        "'[1, {\"a\": null}]'::jsonb": [1, {"a": None}],
        "ARRAY[1.50, 2]::numeric[]": [1.5, 2],
        "ARRAY[DATE '2024-02-29']": ["2024-02-29"],
    }
    columns = ", ".join(f"{value} AS v{number}" for number, value in enumerate(values))
    names = [f"v{number}" for number in range(len(values))]
    statement = text(f"SELECT 1 AS id, 'text' AS body, {columns}")
    ((_, (passage,)),) = read(articles, statement, metadata=names)
    instant = passage.metadata["v1"]
    assert datetime.fromisoformat(instant) == values["TIMESTAMPTZ '2024-02-29 12:00:00+00'"]
    found = dict(zip(values, (passage.metadata[name] for name in names), strict=True))
    assert found == values | {"TIMESTAMPTZ '2024-02-29 12:00:00+00'": instant}
    assert [type(value) for value in found.values()].count(Decimal) == 0
    assert json_problem(dict(passage.metadata), "metadata") is None


def test_other_values_of_python_become_json_too(articles: Engine) -> None:
    """As column types of one's own may give."""
    from pgcorpus.services.sources.rows import json_value

    given = [Kind.NEWS, (1, {2}), {3: UUID(int=4)}, math.nan, date(2024, 1, 2), time(1, 2), timedelta(minutes=1)]
    assert [json_value(value) for value in given] == [
        "news", [1, [2]], {"3": "00000000-0000-0000-0000-000000000004"}, "nan", "2024-01-02", "01:02:00", 60.0
    ]  # fmt: skip


# --- What is wrong


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT NULL AS id, 'x' AS body", "row 1: 'id' is NULL"),
        ("SELECT 1 AS id, 5 AS body", r"row 1 \(p:1\): 'body' is int: cast it to text"),
        ("SELECT 1 AS id, 'x' AS body UNION ALL SELECT 1, 'y'", "row 2: an earlier one is called 'p:1' too"),
        ("SELECT repeat('x', 3000) AS id, 'x' AS body", "row 1: 'source' is longer than"),
        ("SELECT 1 AS id, 'x' AS body, '\\x00'::bytea AS extra", r"row 1: metadata.extra: .* no place in JSON \(p:1\)"),
    ],
)
def test_a_bad_row_is_named_by_its_number(articles: Engine, sql: str, message: str) -> None:
    extra = ["extra"] if "extra" in sql else []
    with pytest.raises(SourceError, match=message):
        read(articles, text(sql), prefix="p:", metadata=extra)


def test_columns_that_are_missing_or_double_are_refused(articles: Engine) -> None:
    """A session's entity is one column: its attributes are not."""
    with pytest.raises(ConfigError, match="no column 'text', but id, title, body: select or label it once"):
        read(articles, content="text")
    with pytest.raises(ConfigError, match="two columns 'id'"):
        read(articles, text("SELECT 1 AS id, 2 AS id, 'x' AS body"))
    with Session(articles) as session, pytest.raises(ConfigError, match="no column 'id', but Article"):
        read(session, select(Article))


def test_senseless_batches_and_formats_are_refused(articles: Engine) -> None:
    with pytest.raises(ConfigError, match="Batches of 0 rows"):
        read(articles, batch_size=0)
    with pytest.raises(ConfigError, match="no format 'pdf'"):
        read(articles, format="pdf")


def test_a_statement_that_fails_says_so_itself(articles: Engine) -> None:
    """And the connection goes back."""
    with pytest.raises(ProgrammingError, match="nowhere"):
        read(articles, text("SELECT * FROM nowhere"))
    assert articles.pool.checkedout() == 0  # type: ignore[attr-defined]
