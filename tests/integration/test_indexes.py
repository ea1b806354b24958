"""Vector indexes are foreseen, built, rebuilt and dropped on a running server, and no other index is touched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import BigInteger, Engine, NullPool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from pgcorpus import schema
from pgcorpus.database import create_engine
from pgcorpus.errors import DatabaseError, DefinitionError, ExtensionError, SchemaError
from pgcorpus.indexing import IndexForm
from pgcorpus.models import Document, VectorMapped, vector_column
from pgcorpus.services.indexes import (
    BuildProgress,
    BuildSettings,
    IndexUse,
    Outcome,
    build_index,
    drop_index,
    list_indexes,
    plan_build,
    rebuild_index,
    wanted_index,
)
from pgcorpus.services.indexes.permission import refusal
from pgcorpus.services.indexes.sizing import estimate_index
from pgcorpus.services.indexes.wanted import lists_for, name_of
from tests.support.indexed import fill, indexes, invalidate, is_waiting, oid, run, value, writing
from tests.support.waiting import wait_until

MAIN = "ix_documents_embedding"
HALFVEC, BINARY = f"{MAIN}_halfvec", f"{MAIN}_binary"


class Base(DeclarativeBase):
    pass


class Item(Base):
    """A partitioned table of a host's."""

    __tablename__ = "items"
    __table_args__ = {"postgresql_partition_by": "RANGE (id)"}  # noqa: RUF012 -- SQLAlchemy's convention

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    embedding: VectorMapped[Any] = vector_column(16)


@pytest.fixture(scope="module")
def filled_template(make_database: Callable[..., URL], template: str) -> str:
    """The name of a database with documents, to be cloned."""
    url = make_database(template)
    engine = create_engine(url, poolclass=NullPool)
    fill(engine, big=200, small=30)
    engine.dispose()
    assert url.database is not None
    return url.database


@pytest.fixture
def filled(
    make_database: Callable[..., URL], drop_database: Callable[[URL], None], filled_template: str
) -> Iterator[Engine]:
    url = make_database(filled_template)
    engine = create_engine(url)
    yield engine
    engine.dispose()
    drop_database(url)


def of(engine: Engine, name: str) -> IndexUse:
    return next(each for each in list_indexes(engine) if each.name == name)


def collection(engine: Engine, name: str) -> Any:
    return value(engine, "SELECT id FROM pgcorpus.collections WHERE name = :name", name=name)


# Building


def test_every_form_is_built_by_either_method_and_takes_the_bytes_that_were_foreseen(filled: Engine) -> None:
    for form in IndexForm:
        for method in ("hnsw", "ivfflat"):
            kept = build_index(filled, wanted_index(form, method))
            found = of(filled, kept.name)
            there = (form, method) == (IndexForm.VECTOR, "hnsw")  # by the migrations
            assert kept.outcome is (Outcome.THERE if there else Outcome.BUILT)
            assert (found.form, found.method, found.valid, found.building) == (form, method, True, False)
            assert found.rows == 230 or there
            foreseen = estimate_index(form, method, 230, 1536, found.options)
            assert found.bytes == pytest.approx(foreseen.bytes, abs=5 * 8192)


def test_one_that_is_there_is_left_and_an_invalid_one_is_replaced(filled: Engine) -> None:
    built = build_index(filled, wanted_index("halfvec"))
    assert (built.name, built.outcome) == (HALFVEC, Outcome.BUILT)
    before = oid(filled, HALFVEC)
    assert build_index(filled, wanted_index("halfvec")).outcome is Outcome.THERE
    assert oid(filled, HALFVEC) == before
    invalidate(filled, HALFVEC)
    assert build_index(filled, wanted_index("halfvec")).outcome is Outcome.BUILT
    assert indexes(filled) == {MAIN: True, HALFVEC: True}
    assert oid(filled, HALFVEC) != before


def test_one_of_other_parameters_is_refused_and_the_error_says_how_to_change_it(filled: Engine) -> None:
    with pytest.raises(DefinitionError, match=r"differs: m 16 to 8\. Change it with `pgcorpus index rebuild"):
        build_index(filled, wanted_index(m=8))
    assert of(filled, MAIN).options == {"m": 16, "ef_construction": 64}


def test_lists_that_nobody_asked_for_are_no_difference(filled: Engine) -> None:
    wanted = wanted_index("halfvec", "ivfflat")
    build_index(filled, wanted_index("halfvec", "ivfflat", lists=3))
    assert build_index(filled, wanted).outcome is Outcome.THERE
    with pytest.raises(DefinitionError, match="differs: lists 3 to 4"):
        plan_build(filled, wanted_index("halfvec", "ivfflat", lists=4))


def test_a_partial_index_is_of_one_collection(filled: Engine) -> None:
    number = collection(filled, "big")
    kept = build_index(filled, wanted_index("binary", "ivfflat", collection_id=number))
    found = of(filled, kept.name)
    assert kept.name == f"{BINARY}_ivfflat_c{number}"
    assert (found.collection, found.rows, found.where) == ("big", 200, f"(collection_id = {number})")


def test_lists_follow_the_rows_and_none_are_learned_of_nothing(engine: Engine) -> None:
    assert [lists_for(rows) for rows in (0, 999, 5_000, 1_000_000, 4_000_000, 10**10)] == [
        1, 1, 5, 1000, 2000, 32_768,
    ]  # fmt: skip
    with pytest.raises(DefinitionError, match="learns its lists from the rows, and there are none"):
        build_index(engine, wanted_index(method="ivfflat"))
    assert indexes(engine) == {MAIN: True}


def test_names_tell_indexes_apart_in_63_bytes() -> None:
    wanted = [
        wanted_index(form, method, metric, collection_id=number)
        for form in ("vector", "halfvec")
        for method in ("hnsw", "ivfflat")
        for metric in ("cosine", "l2", "inner_product")
        for number in (None, 7, 123456789012)
    ]
    for table in ("documents", "ä" * 60):
        names = {name_of(table, "embedding", each) for each in wanted}
        assert len(names) == len(wanted)
        assert max(len(name.encode()) for name in names) <= 63


def test_what_is_foreseen_runs_as_it_is_printed(filled: Engine) -> None:
    plan = plan_build(filled, wanted_index("halfvec"))
    assert (plan.name, plan.rows, plan.fits) == (HALFVEC, 230, True)
    assert indexes(filled) == {MAIN: True}
    run(filled, *plan.statements)
    assert build_index(filled, wanted_index("halfvec")).outcome is Outcome.THERE
    assert plan_build(filled, wanted_index("halfvec")).statements == ()
    invalidate(filled, HALFVEC)
    run(filled, *plan_build(filled, wanted_index("halfvec")).statements)
    assert indexes(filled) == {MAIN: True, HALFVEC: True}


def test_ivfflat_is_given_what_it_asks_for(filled: Engine) -> None:
    small = create_engine(filled.url, connect_args={"options": "-c maintenance_work_mem=1MB"})
    run(filled, "ALTER TABLE pgcorpus.documents ALTER COLUMN embedding SET STORAGE EXTERNAL", "VACUUM FULL ANALYZE")
    assert plan_build(small, wanted_index(method="ivfflat")).fits
    assert build_index(small, wanted_index(method="ivfflat")).outcome is Outcome.BUILT
    small.dispose()


def test_a_graph_that_will_not_fit_is_warned_of(filled: Engine, caplog: pytest.LogCaptureFixture) -> None:
    small = BuildSettings("1MB", 0)
    assert not plan_build(filled, wanted_index("halfvec"), settings=small).fits
    build_index(filled, wanted_index("halfvec"), settings=small)
    assert "will not fit in memory" in caplog.text


def test_the_progress_is_told_while_it_waits_and_two_builds_take_turns(
    filled: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[BuildProgress] = []
    wanted = wanted_index("halfvec")
    with writing(filled):
        builder = threading.Thread(target=build_index, args=(filled, wanted), kwargs={"tell": told.append})
        builder.start()
        wait_until(lambda: is_waiting(filled) and told)
        with pytest.raises(DatabaseError, match=r"waited 0\.1 s for the index build on pgcorpus\.documents"):
            build_index(filled, wanted_index("binary"), wait=0.1)
        assert "waiting for another process that changes the indexes of pgcorpus.documents" in caplog.text
    builder.join(60)
    assert "waiting for writers before build" in {each.phase for each in told}
    assert indexes(filled) == {MAIN: True, HALFVEC: True}


# Rebuilding and dropping


@pytest.mark.parametrize("options", [{}, {"m": 8, "ef_construction": 32}], ids=["as it is", "with others"])
def test_an_index_is_rebuilt_beside_the_one_that_serves(filled: Engine, options: dict[str, int]) -> None:
    before = oid(filled, MAIN)
    with writing(filled):
        builder = threading.Thread(target=rebuild_index, args=(filled, MAIN), kwargs={"options": options})
        builder.start()
        wait_until(lambda: is_waiting(filled))
        assert (indexes(filled)[MAIN], oid(filled, MAIN)) == (True, before)
    builder.join(60)
    assert indexes(filled) == {MAIN: True}
    assert oid(filled, MAIN) != before
    assert of(filled, MAIN).options == {"m": 16, "ef_construction": 64} | options
    schema.check(filled)  # what was tuned by hand is no drift


def test_an_invalid_index_is_rebuilt(filled: Engine) -> None:
    invalidate(filled, MAIN)
    assert rebuild_index(filled, MAIN).outcome is Outcome.REBUILT
    assert indexes(filled) == {MAIN: True}


def test_what_is_no_vector_index_of_the_table_is_neither_rebuilt_nor_dropped(filled: Engine) -> None:
    for change in (rebuild_index, drop_index):
        with pytest.raises(DefinitionError, match="has no vector index pk_documents: see `pgcorpus index list`"):
            change(filled, "pk_documents")
    with pytest.raises(DefinitionError, match="hnsw has no parameter 'lists'"):
        rebuild_index(filled, MAIN, options={"lists": 3})


def test_the_last_index_by_which_a_collection_is_searched_is_dropped_by_force_only(filled: Engine) -> None:
    number = collection(filled, "big")
    build_index(filled, wanted_index("halfvec", collection_id=number))
    with pytest.raises(DefinitionError, match=f"{MAIN} is the last index for cosine"):
        drop_index(filled, MAIN)  # the collection small has no other
    build_index(filled, wanted_index("binary"))
    assert drop_index(filled, MAIN).outcome is Outcome.DROPPED
    assert drop_index(filled, f"{HALFVEC}_c{number}").outcome is Outcome.DROPPED
    with pytest.raises(DefinitionError, match=f"{BINARY} is the last index"):
        drop_index(filled, BINARY)
    drop_index(filled, BINARY, force=True)
    assert indexes(filled) == {}


def test_an_index_that_serves_nobody_is_dropped_without_force(filled: Engine) -> None:
    l2 = build_index(filled, wanted_index(metric="l2"))
    assert l2.name == f"{MAIN}_l2"
    drop_index(filled, l2.name)
    invalidate(filled, MAIN)
    drop_index(filled, MAIN)
    assert indexes(filled) == {}


# Where it is refused


def test_a_server_that_takes_no_writes_and_a_role_without_rights_are_told_what_to_do(filled: Engine) -> None:
    read_only = create_engine(filled.url, connect_args={"options": "-c default_transaction_read_only=on"})
    with pytest.raises(DatabaseError, match="transactions are read-only here"):
        build_index(read_only, wanted_index("halfvec"))
    assert list_indexes(read_only)[0].name == MAIN
    read_only.dispose()
    run(filled, "CREATE ROLE reader", "GRANT USAGE ON SCHEMA pgcorpus TO reader")
    stranger = create_engine(filled.url, connect_args={"options": "-c role=reader"})
    try:
        with pytest.raises(DatabaseError, match=r"only the owner of .*documents.* changes its indexes: run it as"):
            drop_index(stranger, MAIN, force=True)
    finally:
        stranger.dispose()
        run(filled, "DROP OWNED BY reader", "DROP ROLE reader")
    assert indexes(filled) == {MAIN: True}


def test_a_database_without_the_tables_is_told_to_migrate(empty_engine: Engine) -> None:
    with pytest.raises(SchemaError, match="run `pgcorpus migrate upgrade`"):
        build_index(empty_engine, wanted_index())
    with pytest.raises(SchemaError, match=r"there is no table public\.items"):
        list_indexes(empty_engine, "public.items")
    run(empty_engine, "CREATE SCHEMA pgcorpus", "CREATE TABLE pgcorpus.documents (id int)")
    with pytest.raises(ExtensionError, match="has no pgvector"):
        build_index(empty_engine, wanted_index())


def test_a_full_disk_is_told_with_what_to_do(engine: Engine) -> None:
    full = "DO $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$"
    with pytest.raises(DBAPIError) as caught:
        run(engine, full)
    assert str(refusal("building", caught.value)).startswith(
        "building: could not extend file; the server's disk is full: make room"
    )


@pytest.mark.parametrize(
    ("form", "method", "metric", "options", "said"),
    [
        ("quarter", "hnsw", "cosine", {}, "form is one of vector, halfvec, binary"),
        ("binary", "hnsw", "l2", {}, "a binary index serves cosine and inner_product, not l2"),
        ("vector", "ivfflat", "l1", {"lists": 3}, "IVFFlat has no operator class for l1"),
        ("vector", "ivfflat", "l2", {"m": 3}, "ivfflat has no parameter 'm'"),
        ("vector", "hnsw", "l2", {"m": 3000}, "m must be 2 to 100"),
    ],
)
def test_what_pgvector_could_not_build_is_refused_before_the_server_is_asked(
    form: str, method: str, metric: str, options: dict[str, int], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        wanted_index(form, method, metric, **options)


# Other places


@pytest.fixture
def items(empty_engine: Engine) -> Iterator[Engine]:
    """A partitioned table of a host's, with the extension off the search_path."""
    run(empty_engine, "CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions")
    engine = create_engine(empty_engine.url)  # one that has looked where the extension is
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL search_path = public, extensions"))
        Base.metadata.create_all(connection)
    rows = "SELECT i, (SELECT array_agg(sin(i * j)) FROM generate_series(1, 16) AS j)::extensions.vector"
    run(
        engine,
        "CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE items_2 PARTITION OF items FOR VALUES FROM (100) TO (1000)",
        f"INSERT INTO items {rows} FROM generate_series(1, 300) AS i",
    )
    yield engine
    engine.dispose()


def test_a_partitioned_table_is_indexed_part_by_part(items: Engine) -> None:
    kept = build_index(items, wanted_index("halfvec"), model=Item)
    found = list_indexes(items, "items")
    assert [(each.name, each.form, each.valid, each.rows) for each in found] == [
        ("ix_items_embedding_halfvec", "halfvec", True, 300)
    ]
    assert found[0].bytes == kept.bytes > 2 * 8192
    assert build_index(items, wanted_index("halfvec"), model=Item).outcome is Outcome.THERE
    with pytest.raises(DefinitionError, match=r"REINDEX INDEX CONCURRENTLY public\.ix_items_embedding_halfvec"):
        rebuild_index(items, kept.name, model=Item)
    rebuild_index(items, kept.name, options={"m": 8}, model=Item)
    assert [each.options["m"] for each in list_indexes(items, "public.items")] == [8]
    drop_index(items, kept.name, model=Item)
    assert indexes(items, "items_1") == indexes(items, "items") == {}


def test_where_the_extension_is_off_the_search_path_names_are_qualified(items: Engine) -> None:
    for form in IndexForm:
        plan = plan_build(items, wanted_index(form), model=Item)
        assert any("extensions." in statement for statement in plan.statements)
        run(items, *(statement for statement in plan.statements if not statement.startswith("--")))
    assert len(indexes(items, "items")) == 3


def test_what_is_cached_is_told_where_the_server_can_say_it(filled: Engine) -> None:
    assert of(filled, MAIN).cached is None
    run(filled, "CREATE EXTENSION pg_buffercache")
    found = of(filled, MAIN)
    assert found.cached is not None
    assert 0 < found.cached <= found.bytes


def test_documents_are_meant_where_no_table_is_named(filled: Engine) -> None:
    found = list_indexes(filled)
    assert found == list_indexes(filled, Document.__table__) == list_indexes(filled, "pgcorpus.documents")


def test_a_table_is_named_as_sql_spells_it_too(filled: Engine) -> None:
    run(
        filled,
        'CREATE TABLE "My.items" (embedding public.vector(3))',
        'CREATE INDEX "Near" ON "My.items" USING hnsw (embedding public.vector_l2_ops)',
    )
    assert [each.name for each in list_indexes(filled, 'public."My.items"')] == ["Near"]
    assert len(list_indexes(filled, '"pgcorpus"."documents"')) == 1
