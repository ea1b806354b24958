"""Vectors in a host's own tables: planted without a usable index, found, and cured by what is printed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from pgcorpus.database import autocommit, create_engine
from pgcorpus.services.doctor import Finding, Severity, examine
from pgcorpus.services.doctor.neighbours import MANY_VECTORS, neighbour_findings
from pgcorpus.services.doctor.reading import read_facts
from tests.support.sickness import by_sql, impatient, run, scalar

FLUSH = "SELECT pg_stat_force_next_flush()"


def look(engine: Engine) -> list[Finding]:
    with autocommit(engine).connect() as connection:
        return neighbour_findings(connection, read_facts(connection))


def the_one(engine: Engine, code: str, severity: Severity) -> Finding:
    (finding,) = look(engine)
    assert (finding.code, finding.severity) == (code, severity)
    return finding


def make(engine: Engine, column: str, *, table: str = "items", rows: int = MANY_VECTORS + 1, value: str = "") -> None:
    """Make a table of equal vectors: there are many, and an index of them is built at once."""
    type_ = column.split()[-1]
    value = value or f"'[1,2,3]'::{type_}"
    run(
        engine,
        f"CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY, {column})",
        f"INSERT INTO {table} ({column.rpartition(' ')[0]}) SELECT {value} FROM generate_series(1, {rows})",
        FLUSH,
        f"VACUUM ANALYZE {table}",
    )


def uses_index(engine: Engine, ordering: str, query: str) -> bool:
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.scalars(text(f"EXPLAIN SELECT id FROM items ORDER BY {ordering} {query} LIMIT 1")).all()
    return "Index Scan" in "".join(plan)


# Health


def test_of_indexed_and_of_few_vectors_nothing_is_said(engine: Engine) -> None:
    assert look(engine) == []
    make(engine, "embedding vector(3)", rows=MANY_VECTORS)
    make(engine, "flags bit(8)", table="flags", value="B'10101010'")
    make(engine, "embedding vector(3)", table="indexed")
    run(engine, "CREATE INDEX ON indexed USING hnsw (embedding vector_l2_ops)")
    make(engine, "embedding vector(3)", table="expressed")
    run(engine, "CREATE INDEX ON expressed USING ivfflat ((embedding::halfvec(3)) halfvec_l2_ops) WITH (lists = 1)")
    assert look(engine) == []


def test_an_index_of_another_kind_is_none_of_vectors(engine: Engine) -> None:
    make(engine, "embedding vector(3)")
    run(engine, "CREATE INDEX ON items USING btree (embedding)")
    the_one(engine, "host-index-missing", Severity.WARNING)


# Without an index


KINDS = [
    ("vector(3)", "", Severity.WARNING, "<=> '[1,2,3]'"),
    ("halfvec(3)", "", Severity.WARNING, "<=> '[1,2,3]'"),
    ("sparsevec(9)", "'{1:1,4:2}/9'", Severity.WARNING, "<=> '{1:1}/9'"),
    ("bit(64)", "B'1'::bit(64)", Severity.NOTE, "<~> B'1'::bit(64)"),
]


def test_vectors_without_an_index(engine: Engine) -> None:
    for type_, value, severity, query in KINDS:
        make(engine, f"embedding {type_}", value=value)
        finding = the_one(engine, "host-index-missing", severity)
        assert f"embedding is {type_}, and the table has about 5,001 rows" in finding.evidence
        by_sql(engine, finding)
        assert look(engine) == []
        assert uses_index(engine, "embedding", query)
        run(engine, "DROP TABLE items")


@pytest.mark.parametrize("dimensions", [2001, 4001])
def test_vectors_too_long_for_a_plain_index_are_indexed_shortened(engine: Engine, dimensions: int) -> None:
    value = f"array_fill(1, ARRAY[{dimensions}])::vector"
    make(engine, f"embedding vector({dimensions})", rows=10, value=value)
    grown = f"UPDATE pg_class SET reltuples = {MANY_VECTORS + 1} WHERE relname = 'items'"  # as if it had so many
    run(engine, grown)
    finding = the_one(engine, "host-index-missing", Severity.WARNING)
    by_sql(engine, finding)
    run(engine, grown)
    assert look(engine) == []
    (ordering,) = re.findall(r"order by (.*)\.$", finding.remedy)
    (operator,) = re.findall(r"is for `(.*?)`", finding.remedy)
    query = f"(SELECT {ordering} FROM items LIMIT 1)"
    assert uses_index(engine, ordering, f"{operator} {query}")


def test_names_and_schemas_of_any_kind_are_quoted(engine: Engine) -> None:
    run(engine, 'CREATE SCHEMA "My %s; shop"', 'CREATE SCHEMA "ext"')
    make(engine, '"the vec%" vector(3)', table='"My %s; shop"."My ""items"""')
    run(engine, "ALTER EXTENSION vector SET SCHEMA ext")
    fresh = create_engine(engine.url)
    finding = the_one(fresh, "host-index-missing", Severity.WARNING)
    assert finding.sql
    run(fresh, finding.sql)
    assert look(fresh) == []
    fresh.dispose()


def test_a_partition_and_a_materialized_view_are_indexed_themselves(engine: Engine) -> None:
    run(engine, "CREATE TABLE whole (id bigint, embedding vector) PARTITION BY LIST (id)")
    run(engine, "CREATE TABLE items PARTITION OF whole FOR VALUES IN (1)")
    run(engine, f"INSERT INTO whole SELECT 1, '[1,2,3]' FROM generate_series(1, {MANY_VECTORS + 1})")
    run(engine, "CREATE MATERIALIZED VIEW seen AS SELECT * FROM whole", "ANALYZE", FLUSH)
    for finding in look(engine):
        assert finding.code == "host-vector-undimensioned"
        assert "order by what is indexed" in finding.remedy
        by_sql(engine, finding)
    assert look(engine) == []
    assert uses_index(engine, "embedding::vector(3)", "<=> '[1,2,3]'")


# Without dimensions


def test_a_column_without_dimensions_gets_those_that_its_vectors_have(engine: Engine) -> None:
    make(engine, "embedding vector")
    finding = the_one(engine, "host-vector-undimensioned", Severity.WARNING)
    with pytest.raises(DBAPIError, match="does not have dimensions"):
        run(engine, "CREATE INDEX ON items USING hnsw (embedding vector_cosine_ops)")
    by_sql(engine, finding)
    assert look(engine) == []
    assert uses_index(engine, "embedding", "<=> '[1,2,3]'")


def test_of_vectors_of_several_lengths_the_most_are_indexed(engine: Engine) -> None:
    run(engine, 'CREATE TABLE "first" (v vector)')
    make(engine, "embedding halfvec")
    run(engine, "UPDATE items SET embedding = '[1,2]' WHERE id % 3 = 0")
    finding = the_one(engine, "host-vector-undimensioned", Severity.WARNING)
    assert "of 3, 2 dimensions" in finding.evidence
    by_sql(engine, finding)
    assert look(engine) == []
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        search = (
            "EXPLAIN SELECT id FROM items WHERE vector_dims(embedding) = 3"
            " ORDER BY embedding::halfvec(3) <=> '[1,2,3]' LIMIT 1"
        )
        assert "Index Scan" in str(connection.scalars(text(search)).all())


# With an index that is of no use


def test_an_index_that_a_failed_build_left_invalid(engine: Engine) -> None:
    make(engine, "embedding vector")
    run(engine, "UPDATE items SET embedding = '[1,2]' WHERE id = 1")
    with pytest.raises(DBAPIError, match="expected 3 dimensions"):
        run(engine, 'CREATE INDEX CONCURRENTLY "my index" ON items USING hnsw ((embedding::vector(3)) vector_l2_ops)')
    run(engine, "UPDATE items SET embedding = '[1,2,3]' WHERE id = 1", "VACUUM items")
    by_sql(engine, the_one(engine, "host-index-invalid", Severity.WARNING))
    assert look(engine) == []


def test_an_index_that_no_search_uses(engine: Engine) -> None:
    """It is for another metric than the searches."""
    make(engine, "embedding vector(3)")
    run(engine, "CREATE INDEX of_l2 ON items USING hnsw (embedding vector_l2_ops)")
    search = "SELECT id FROM items ORDER BY embedding <=> '[1,2,3]' LIMIT 1"
    assert look(engine) == []
    run(engine, *[search] * 100, FLUSH)
    finding = the_one(engine, "host-index-unused", Severity.NOTE)
    assert "vector_l2_ops" in finding.evidence
    assert finding.sql is None, "a script runs what stands there"
    (operator,) = re.findall(r"expression `(.*?)`", finding.remedy)
    run(engine, "SET enable_seqscan = off; " + search.replace("<=>", operator), FLUSH)
    assert look(engine) == []
    run(engine, "SELECT pg_stat_reset()", *[search] * 100, f"ANALYZE items; {FLUSH}")
    run(engine, "DROP INDEX" + the_one(engine, "host-index-unused", Severity.NOTE).remedy.partition("DROP INDEX")[2])
    the_one(engine, "host-index-missing", Severity.WARNING)


# From wherever it is asked


@pytest.fixture
def reader(engine: Engine) -> Iterator[Engine]:
    """A role of the test's own, who may read nothing."""
    role = f"reader_of_{engine.url.database}"
    run(engine, f"CREATE ROLE {role}")
    reader = create_engine(engine.url, connect_args={"options": f"-c role={role} -c default_transaction_read_only=on"})
    yield reader
    reader.dispose()
    run(engine, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_what_the_role_may_not_read_is_left_out(engine: Engine, reader: Engine) -> None:
    make(engine, "embedding vector")
    assert look(reader) == []
    run(engine, f"GRANT SELECT ON items TO reader_of_{engine.url.database}")
    by_sql(engine, the_one(reader, "host-vector-undimensioned", Severity.WARNING))
    assert look(reader) == []


def test_a_policy_that_fails_leaves_the_other_findings(engine: Engine, reader: Engine) -> None:
    make(engine, "embedding vector")
    role = f"reader_of_{engine.url.database}"
    run(engine, f"GRANT USAGE ON SCHEMA pgcorpus TO {role}", f"GRANT SELECT ON ALL TABLES IN SCHEMA pgcorpus TO {role}")
    run(engine, f"GRANT SELECT ON items TO {role}", "ALTER TABLE items ENABLE ROW LEVEL SECURITY")
    run(engine, "CREATE POLICY own ON items USING (id = current_setting('shop.customer')::int)")
    writing, refused = examine(reader)
    assert (writing.code, refused.code, refused.severity) == ("rights-writing", "not-examined", Severity.WARNING)
    assert "shop.customer" in refused.evidence
    run(engine, "DROP POLICY own ON items")
    assert [finding.code for finding in examine(reader)] == ["rights-writing"]


def test_a_locked_table_is_not_waited_for(engine: Engine) -> None:
    make(engine, "embedding vector")
    with engine.connect() as loader:
        loader.execute(text("LOCK TABLE items"))
        assert look(engine) == []
    the_one(engine, "host-vector-undimensioned", Severity.WARNING)
    with engine.connect() as rebuilding:
        rebuilding.execute(text("CREATE INDEX ON items (id)"))
        rebuilding.commit()
        rebuilding.execute(text("REINDEX INDEX items_id_idx"))
        assert look(impatient(engine)) == [], "to plan a statement is to open all indexes"
    by_sql(engine, the_one(engine, "host-vector-undimensioned", Severity.WARNING))
    with engine.connect() as rebuilding:
        rebuilding.execute(text("REINDEX INDEX items_embedding_idx"))
        assert look(impatient(engine)) == []


def test_a_transaction_is_left_usable(engine: Engine) -> None:
    make(engine, "embedding vector")
    with engine.connect() as connection:
        facts = read_facts(connection)
        assert neighbour_findings(connection, facts)
        assert not connection.in_transaction()
        with connection.begin():
            assert neighbour_findings(connection, facts)
            assert connection.scalar(text("SELECT pg_current_xact_id_if_assigned()")) is None
    assert scalar(engine, "SELECT count(*) FROM items") == MANY_VECTORS + 1
