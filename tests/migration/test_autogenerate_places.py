"""The plugin in every kind of project: Alembic's templates, an extension off the path, models of ours in its tree."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from pgcorpus import schema
from tests.support.hosts import AlembicHost, execute_script

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from pgvector.sqlalchemy import VECTOR
from pgcorpus.models import hnsw_index

class Base(DeclarativeBase):
    pass

class Item(Base):
    __tablename__ = "items"
    __table_args__ = (hnsw_index("embedding", name="ix_items_embedding", m={m}, ef_construction=40),)
    id: Mapped[int] = mapped_column(primary_key=True)
    embedding = mapped_column(VECTOR({dimensions}))
"""

ARTICLES = """
from pgcorpus.models import Collection, DocumentMixin, VectorMapped, vector_column
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    metadata = MetaData(naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    })

class Article(DocumentMixin, Base):
    __tablename__ = "articles"
    embedding: VectorMapped[object] = vector_column(384)
"""

STORAGE = "SELECT attstorage::text FROM pg_attribute WHERE attrelid = 'articles'::regclass AND attname = 'embedding'"
INDEX = "SELECT pg_get_indexdef(to_regclass('ix_items_embedding'))"


def value(engine: Engine, sql: str) -> object:
    with engine.begin() as connection:
        return connection.scalar(text(sql))


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def declare(host: AlembicHost, m: int = 8, dimensions: int = 3) -> None:
    host.models(MODELS.format(m=m, dimensions=dimensions))


def step(host: AlembicHost, message: str) -> str:
    """Autogenerate, upgrade, check."""
    revision = host.revision(message)
    host.alembic("upgrade", "head")
    host.alembic("check")
    return revision


@pytest.fixture
def host(tmp_path: Path, empty_url: URL) -> AlembicHost:
    return AlembicHost.create(tmp_path / "project", empty_url)


@pytest.mark.parametrize("template", ["async", "multidb"])
def test_alembics_other_templates(
    tmp_path: Path, empty_url: URL, empty_engine: Engine, make_database: Callable[[], URL], template: str
) -> None:
    host = AlembicHost.create(tmp_path / "project", empty_url, template=template, second_url=make_database())
    for m in (8, 10):
        declare(host, m)
        step(host, "change")
        assert f"m='{m}'" in str(value(empty_engine, INDEX))
    host.alembic("downgrade", "base")
    assert value(empty_engine, INDEX) is None


@pytest.mark.parametrize("home", ["public", "extensions"])
def test_a_driver_that_is_none_of_ours(tmp_path: Path, empty_url: URL, empty_engine: Engine, home: str) -> None:
    """The plugin is in every project where pgcorpus is installed, whatever its driver."""
    run(empty_engine, f"CREATE SCHEMA IF NOT EXISTS {home}", f"CREATE EXTENSION vector SCHEMA {home}")
    host = AlembicHost.create(tmp_path / "project", empty_url, template="async")
    host.edit_ini("postgresql+psycopg:", "postgresql+asyncpg:")
    for m, dimensions in ((8, 3), (10, 3), (10, 4)):
        declare(host, m, dimensions)
        step(host, "change")
        assert f"m='{m}'" in str(value(empty_engine, INDEX))
    host.alembic("downgrade", "base")


def test_one_transaction_per_migration(host: AlembicHost, empty_engine: Engine) -> None:
    host.edit_env("target_metadata=target_metadata", "target_metadata=target_metadata, transaction_per_migration=True")
    for m in (8, 10):
        declare(host, m)
        step(host, "change")
    host.alembic("downgrade", "base")
    host.alembic("upgrade", "head")
    host.alembic("check")


def test_the_extension_off_the_path(host: AlembicHost, empty_engine: Engine) -> None:
    run(empty_engine, "CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions")
    for m, dimensions in ((8, 3), (10, 3), (10, 4)):
        declare(host, m, dimensions)
        revision = step(host, "change")
        assert revision.count("op.see_extension('vector')") == (1 if (m, dimensions) == (8, 3) else 0)
        assert "op.enable_extension" not in revision
    assert "extensions.vector_cosine_ops" in str(value(empty_engine, INDEX))
    host.alembic("downgrade", "base")
    assert value(empty_engine, "SELECT to_regclass('items')") is None


def test_the_printed_sql_does_the_same(host: AlembicHost, empty_engine: Engine) -> None:
    for m, dimensions in ((8, 3), (10, 3), (10, 4)):
        declare(host, m, dimensions)
        host.revision("change")
        before = re.search(r"^down_revision: .* = (?:None|'(\w+)')$", host.newest().read_text(), re.MULTILINE)
        assert before is not None
        if before[1] is None:
            run(empty_engine, "DROP TABLE alembic_version")  # made by `alembic revision`, and by the script
        execute_script(empty_engine, host.alembic("upgrade", f"{before[1] or 'base'}:head", "--sql"))
        host.alembic("check")
    execute_script(empty_engine, host.alembic("downgrade", "head:base", "--sql"))
    assert value(empty_engine, "SELECT to_regclass('items')") is None


def test_a_document_of_the_hosts_own(host: AlembicHost, empty_engine: Engine) -> None:
    """With our storage, our full text and our foreign key, in the host's tree and schema."""
    schema.upgrade(empty_engine)
    host.models(ARTICLES)
    revision = step(host, "articles")
    assert "op.set_vector_storage('articles', 'embedding', storage='main', toast_tuple_target=8160)" in revision
    assert value(empty_engine, STORAGE) == "m"
    run(
        empty_engine,
        "INSERT INTO pgcorpus.collections (name) VALUES ('c')",
        "INSERT INTO articles (collection_id, content) SELECT id, 'running' FROM pgcorpus.collections",
    )
    assert value(empty_engine, "SELECT count(*) FROM articles WHERE tsv @@ to_tsquery('english', 'run')") == 1
    schema.check(empty_engine)
    host.alembic("downgrade", "base")
    host.alembic("upgrade", "head")


def test_a_storage_that_differs_is_set(host: AlembicHost, empty_engine: Engine) -> None:
    schema.upgrade(empty_engine)
    host.models(ARTICLES)
    step(host, "articles")
    run(empty_engine, "ALTER TABLE articles ALTER COLUMN embedding SET STORAGE EXTERNAL")
    assert "storage='main', toast_tuple_target=None)" in step(host, "storage")
    host.alembic("downgrade", "-1")
    assert value(empty_engine, STORAGE) == "e"


def test_a_partitioned_table_has_no_rows_to_keep_whole(host: AlembicHost, empty_engine: Engine) -> None:
    schema.upgrade(empty_engine)
    partitioned = ARTICLES.replace(
        '    __tablename__ = "articles"\n',
        '    __tablename__ = "articles"\n'
        '    __table_args__ = (*document_table_args(), {"postgresql_partition_by": "LIST (collection_id)"})\n',
    )
    host.models(partitioned.replace("import Collection,", "import Collection, document_table_args,"))
    assert "storage='main', toast_tuple_target=None)" in step(host, "articles")
    run(empty_engine, "CREATE TABLE articles_1 PARTITION OF articles FOR VALUES IN (1)")
    host.alembic("downgrade", "base")


def test_a_host_that_compares_all_schemas_leaves_ours_alone(host: AlembicHost, engine: Engine, url: URL) -> None:
    host.edit_ini(re.search(r"sqlalchemy.url = (.*)", host.ini.read_text())[1],  # type: ignore[index]
                  url.render_as_string(hide_password=False).replace("%", "%%"))  # fmt: skip
    host.edit_env("target_metadata=target_metadata", "target_metadata=target_metadata, include_schemas=True")
    declare(host)
    revision = step(host, "items")
    assert "documents" not in revision
    schema.check(engine)


def test_a_large_column_out_of_line_is_pointed_out(host: AlembicHost, empty_engine: Engine) -> None:
    declare(host, dimensions=1536)
    assert "# op.set_vector_storage('items', 'embedding')" in step(host, "large")
    run(empty_engine, "ALTER TABLE items ALTER COLUMN embedding SET STORAGE MAIN")
    declare(host, m=10, dimensions=1536)
    assert "set_vector_storage" not in step(host, "in the row by now")


def test_the_hosts_filters_hold(host: AlembicHost, empty_engine: Engine) -> None:
    declare(host)
    step(host, "items")
    host.edit_env("target_metadata=target_metadata", "target_metadata=target_metadata, include_object=keep")
    host.edit_env("def run_migrations_offline", """def keep(_object, name, kind, _reflected, _to):
    return (name, kind) != ("ix_items_embedding", "index")


def run_migrations_offline""")  # fmt: skip
    declare(host, m=10)
    host.alembic("check")
    run(empty_engine, "DROP INDEX ix_items_embedding")
    host.alembic("check")


def test_the_hosts_own_way_of_printing_types_goes_first(host: AlembicHost) -> None:
    host.edit_env("target_metadata=target_metadata", "target_metadata=target_metadata, render_item=render")
    host.edit_env("def run_migrations_offline", """def render(kind, item, context):
    return "mine.VECTOR" if kind == "type" and item.__class__.__name__ == "VECTOR" else False


def run_migrations_offline""")  # fmt: skip
    declare(host)
    assert "sa.Column('embedding', mine.VECTOR" in host.revision("mine")
