"""Models and indexes with impossible parameters are refused where they are declared."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pgvector.sqlalchemy import BIT, HALFVEC
from sqlalchemy import BigInteger, Column, MetaData, Table, Text, create_mock_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import CreateIndex

from pgcorpus.errors import DefinitionError, VectorError
from pgcorpus.models import (
    DIMENSIONS,
    Collection,
    Document,
    DocumentMixin,
    Metric,
    Vector,
    VectorMapped,
    content_hash,
    hnsw_index,
    ivfflat_index,
    parse_metric,
    vector_column,
)
from pgcorpus.models.storage import STORAGE, STORAGE_IN_ROW, VectorStorage, storage_of
from pgcorpus.services.embedding.base import COLUMN_DIMENSIONS
from pgcorpus.vectors import Array


def ddl(type_: Any, *indexes: Any) -> str:
    """Return the SQL of the indexes on a column of that type."""
    table = Table("t", MetaData(), Column("id", BigInteger), Column("embedding", type_), *indexes)
    dialect = postgresql.dialect()
    return "; ".join(str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"m": 1}, "m must be 2 to 100"),
        ({"m": 101}, "m must be 2 to 100"),
        ({"ef_construction": 3}, "4 to 1,000"),
        ({"ef_construction": 1001}, "4 to 1,000"),
        ({"m": 40, "ef_construction": 79}, "at least 2 \\* m = 80"),
        ({"metric": "euclidean"}, "unknown metric 'euclidean': choose one of cosine, l2, inner_product, l1"),
    ],
)
def test_an_hnsw_index_out_of_range_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        hnsw_index("embedding", **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"lists": 0}, "lists"), ({"lists": 32_769}, "lists"), ({"lists": 10, "metric": "l1"}, "no operator class")],
)
def test_an_ivfflat_index_out_of_range_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        ivfflat_index("embedding", **options)


@pytest.mark.parametrize(("type_", "limit"), [(Vector, 2_000), (HALFVEC, 4_000)])
def test_a_dimension_beyond_the_index_is_refused_when_the_class_is_made(type_: Any, limit: int) -> None:
    assert ddl(type_(limit), hnsw_index("embedding", name="i"))
    with pytest.raises(DefinitionError, match=f"at most {limit:,}"):
        ddl(type_(limit + 1), hnsw_index("embedding", name="i"))


@pytest.mark.parametrize("type_", [Text(), BIT(8), Vector()])
def test_a_column_that_cannot_be_indexed_so_is_refused(type_: Any) -> None:
    with pytest.raises(DefinitionError):
        ddl(type_, hnsw_index("embedding", name="i"))


@pytest.mark.parametrize("dimensions", [0, -1, 16_001])
def test_a_vector_column_out_of_range_is_refused(dimensions: int) -> None:
    with pytest.raises(DefinitionError, match="1 to 16,000"):
        vector_column(dimensions)


@pytest.mark.parametrize(
    ("metric", "opclass"),
    [
        ("cosine", "vector_cosine_ops"),
        ("l2", "vector_l2_ops"),
        ("inner_product", "vector_ip_ops"),
        ("l1", "vector_l1_ops"),
    ],
)
def test_an_index_has_the_operator_class_of_its_metric(metric: str, opclass: str) -> None:
    sql = ddl(Vector(3), hnsw_index("embedding", metric=metric, m=8, ef_construction=32, name="i"))
    assert f"USING hnsw (embedding {opclass}) WITH (m = 8, ef_construction = 32)" in sql


def test_an_index_has_the_operator_class_of_its_column() -> None:
    assert "(embedding halfvec_l2_ops) WITH (lists = 10)" in ddl(
        HALFVEC(3), ivfflat_index("embedding", lists=10, metric="l2", name="i")
    )


def test_a_partial_index_keeps_its_predicate() -> None:
    column = Column("id", BigInteger)
    assert ddl(Vector(3), hnsw_index("embedding", where=column > 5, name="i")).endswith("WHERE id > 5")


def test_of_every_metric_a_nearer_vector_scores_higher() -> None:
    for metric in Metric:
        assert metric.score(0.1) > metric.score(0.2)
    assert parse_metric("cosine").score(0.25) == 0.75
    assert parse_metric("inner_product").score(-3.0) == 3.0


def test_the_shipped_dimension_is_the_embedders() -> None:
    assert DIMENSIONS == COLUMN_DIMENSIONS == Document.__table__.c.embedding.type.dim  # type: ignore[attr-defined]


def test_the_primary_key_begins_with_the_collection() -> None:
    assert [column.name for column in Document.__table__.primary_key] == ["collection_id", "id"]


def test_every_constraint_and_index_has_a_name() -> None:
    for table in (Collection.__table__, Document.__table__):
        assert isinstance(table, Table)
        assert all(each.name for each in [*table.constraints, *table.indexes])


def test_the_content_hash_follows_the_content() -> None:
    document = Document(content="one")
    assert document.content_hash == content_hash("one")
    document.content = "two"
    assert document.content_hash == content_hash("two")


@pytest.mark.parametrize("embedding", [[1.0, 2.0], [0.0] * DIMENSIONS, [float("nan")] * DIMENSIONS])
def test_a_document_refuses_an_embedding_that_cannot_be_searched(embedding: list[float]) -> None:
    with pytest.raises(VectorError):
        Document(content="x", embedding=embedding)


def test_a_host_declares_its_own_dimension_with_the_mixin() -> None:
    class Base(DeclarativeBase):
        pass

    class Article(DocumentMixin, Base):
        __tablename__ = "articles"
        embedding: VectorMapped[Array | None] = vector_column(384)

    table = Article.__table__
    assert isinstance(table, Table)
    assert table.c.embedding.type.dim == 384  # type: ignore[attr-defined]
    assert {"hnsw", "gin"} <= {index.dialect_options["postgresql"]["using"] for index in table.indexes}
    assert "tsv" in table.c
    assert "tsv" not in Article.__mapper__.attrs


def test_a_model_says_where_its_vectors_lie() -> None:
    assert storage_of(Document.__table__.c.embedding) == STORAGE_IN_ROW == VectorStorage("main", 8160)
    assert storage_of(vector_column(1950).column) == STORAGE_IN_ROW
    assert storage_of(vector_column(8, in_row=False).column) is None
    # A page has no room for it.
    assert storage_of(vector_column(1951).column) is None
    assert storage_of(Column("embedding", Vector(8))) is None


def test_the_copies_of_a_table_say_so_too() -> None:
    copy = Document.__table__.to_metadata(MetaData())  # type: ignore[attr-defined]
    assert storage_of(copy.to_metadata(MetaData(), name="other").c.embedding) == STORAGE_IN_ROW


@pytest.mark.parametrize(("mode", "target"), [("inline", None), ("main; DROP", None), ("main", 127), ("main", 8161)])
def test_a_storage_that_is_none_is_refused(mode: str, target: int | None) -> None:
    with pytest.raises(DefinitionError):
        VectorStorage(mode, target)


@pytest.mark.parametrize(
    ("url", "statements"),
    [
        ("sqlite://", []),
        (
            "postgresql+psycopg://",
            [
                "ALTER TABLE pairs ALTER COLUMN title SET STORAGE MAIN",
                "ALTER TABLE pairs ALTER COLUMN body SET STORAGE MAIN",
                "ALTER TABLE pairs SET (toast_tuple_target = 8160)",
            ],
        ),
    ],
)
def test_a_table_is_altered_once_and_on_postgresql_only(url: str, statements: list[str]) -> None:
    sent: list[str] = []
    columns = [Column(name, HALFVEC(8), info={STORAGE: STORAGE_IN_ROW}) for name in ("title", "body")]
    table = Table("pairs", MetaData(), Column("id", BigInteger), *columns)
    engine = create_mock_engine(url, lambda ddl, *_, **__: sent.append(str(ddl.compile(dialect=engine.dialect))))
    table.create(engine, checkfirst=False)
    assert sent[0].strip().startswith("CREATE TABLE pairs")
    assert sent[1:] == statements


def test_a_checkouts_models_are_the_installed_ones() -> None:
    code = "import models, pgcorpus.models; assert models.Document is pgcorpus.models.Document"
    checkout = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=checkout)
