"""What operating a database brings with it: planted in a real one, found, and cured by what the finding prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, NullPool
from sqlalchemy.engine import URL

from pgcorpus.database import create_engine, session_factory
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository
from pgcorpus.repositories.calibrations import Calibrations
from pgcorpus.services.doctor import Severity, examine
from tests.support.sickness import by_command, by_sql, fill_by_sql, found, only, run, scalar
from tests.support.vectors import hard_vectors

INDEX = "pgcorpus.ix_documents_embedding"
STOCK = 3_000
CROWD = 10_500


@pytest.fixture(scope="module")
def stocked_template(make_database: Callable[..., URL], template: str) -> str:
    """A database with documents in a collection, ingested in the usual way, and analysed."""
    url = make_database(template)
    engine = create_engine(url, poolclass=NullPool)
    with session_factory(engine)() as session:
        repository = DocumentRepository(session, "wiki", embedding_model="m")
        embeddings = hard_vectors(STOCK)
        repository.bulk_load([Document(key=f"k{n}", content=f"t {n}", embedding=e) for n, e in enumerate(embeddings)])
        session.commit()
    run(engine, "ANALYZE pgcorpus.documents")
    return str(url.database)


@pytest.fixture(scope="module")
def crowded_template(make_database: Callable[..., URL], template: str) -> str:
    """A database with a large collection, many of whose documents say the same: their index is soon built."""
    url = make_database(template)
    engine = create_engine(url, poolclass=NullPool)
    run(engine, f"DROP INDEX {INDEX}")
    fill_by_sql(engine, CROWD)
    run(engine, "CREATE INDEX ix_documents_embedding ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops)")
    run(engine, "ANALYZE pgcorpus.documents")
    return str(url.database)


@pytest.fixture
def stocked(server_url: URL, stocked_template: str) -> Iterator[Engine]:
    """An engine on the stocked database, of which a test may change settings only."""
    yield from _shared(server_url.set(database=stocked_template))


@pytest.fixture
def crowded(server_url: URL, crowded_template: str) -> Iterator[Engine]:
    """An engine on the crowded database, of which a test may change settings only."""
    yield from _shared(server_url.set(database=crowded_template))


def _shared(url: URL) -> Iterator[Engine]:
    engine = create_engine(url, poolclass=NullPool)
    yield engine
    run(engine, f"ALTER {database(engine)} RESET ALL", f"ALTER ROLE CURRENT_USER IN {database(engine)} RESET ALL")


@pytest.fixture
def stock(
    make_database: Callable[..., URL], drop_database: Callable[[URL], None], stocked_template: str
) -> Iterator[Engine]:
    """An engine on a stocked database of the test's own."""
    url = make_database(stocked_template)
    yield create_engine(url, poolclass=NullPool)
    drop_database(url)


@pytest.fixture
def crowd(
    make_database: Callable[..., URL], drop_database: Callable[[URL], None], crowded_template: str
) -> Iterator[Engine]:
    """An engine on a crowded database of the test's own."""
    url = make_database(crowded_template)
    yield create_engine(url, poolclass=NullPool)
    drop_database(url)


def database(engine: Engine) -> str:
    return f"DATABASE {engine.url.database}"


# Health


def test_of_a_stocked_database_nothing_is_said(stocked: Engine) -> None:
    assert examine(stocked) == []
    assert examine(stocked, deep=True) == []


def test_of_a_large_collection_whose_index_is_used_nothing_is_said(crowded: Engine) -> None:
    assert examine(crowded, brief=True) == []


def test_a_smaller_form_serves_too(stock: Engine) -> None:
    run(stock, f"DROP INDEX {INDEX}")
    for key in (
        "((binary_quantize(embedding)::bit(1536)) bit_hamming_ops)",
        "((embedding::halfvec(1536)) halfvec_cosine_ops)",
    ):
        run(stock, f"CREATE INDEX smaller ON pgcorpus.documents USING hnsw {key}")
        assert examine(stock) == []
        run(stock, "DROP INDEX pgcorpus.smaller")


def test_where_a_collection_has_an_index_of_its_own_small_ones_need_none(engine: Engine) -> None:
    fill_by_sql(engine, 10)
    fill_by_sql(engine, 10, "small")
    run(engine, f"DROP INDEX {INDEX}")
    run(engine, "CREATE INDEX ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops) WHERE collection_id = 1")
    assert examine(engine, brief=True) == []


# The indexes


def test_a_large_collection_beside_those_that_have_indexes(crowd: Engine) -> None:
    fill_by_sql(crowd, 10, "small")
    of_small = "CREATE INDEX of_small ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops)"
    run(crowd, f"DROP INDEX {INDEX}", f"{of_small} WHERE collection_id = 2")
    (finding,) = examine(crowd, brief=True)
    assert finding.code == "index-missing"
    assert "'large' is large" in finding.summary
    assert finding.sql
    assert finding.sql.endswith("WHERE collection_id = 1;")
    by_sql(crowd, finding)
    assert examine(crowd, brief=True) == []


def test_an_index_that_is_there_twice(engine: Engine) -> None:
    run(engine, "CREATE INDEX again ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops) WITH (m = 16)")
    finding = found(engine, "index-duplicate", Severity.WARNING)
    assert finding.sql == "DROP INDEX CONCURRENTLY pgcorpus.again;"
    by_sql(engine, finding)
    assert examine(engine) == []


def test_an_index_with_other_parameters_or_of_another_form_is_no_duplicate(engine: Engine) -> None:
    build = "CREATE INDEX ON pgcorpus.documents USING hnsw"
    run(engine, f"{build} (embedding vector_cosine_ops) WITH (m = 8)")
    run(engine, f"{build} ((embedding::halfvec(1536)) halfvec_cosine_ops)")
    assert examine(engine) == []


def test_after_many_deletes_the_table_is_vacuumed_and_then_its_index_rebuilt(stock: Engine) -> None:
    run(
        stock,
        "ALTER TABLE pgcorpus.documents SET (autovacuum_enabled = off)",
        f"DELETE FROM pgcorpus.documents WHERE id > {STOCK // 30}",
        "SELECT pg_stat_force_next_flush()",
    )
    dead = only(stock, "vacuum-due", Severity.WARNING)
    assert "2,900 dead rows" in dead.evidence
    by_sql(stock, dead)
    bloated = found(stock, "index-bloated", Severity.WARNING)
    assert "29.7 times as large" in bloated.summary
    by_sql(stock, bloated)
    run(stock, "ANALYZE pgcorpus.documents")
    assert examine(stock) == []


IVFFLAT = "CREATE INDEX lists ON pgcorpus.documents USING ivfflat (embedding vector_cosine_ops) WITH (lists = {})"


@pytest.mark.parametrize(("lists", "is_first"), [(1, True), (100, True), (100, False)])
def test_lists_that_are_no_clusters_of_the_documents(engine: Engine, lists: int, is_first: bool) -> None:
    """Built of an empty table, or of documents that ask for another number of lists."""
    run(engine, f"DROP INDEX {INDEX}")
    if is_first:
        run(engine, IVFFLAT.format(lists))
    fill_by_sql(engine, 1_500)
    if not is_first:
        run(engine, IVFFLAT.format(lists))
    run(engine, "ANALYZE pgcorpus.documents")
    finding = only(engine, "index-empty-build", Severity.WARNING)
    assert ("written after it was built" in finding.evidence) is is_first
    by_sql(engine, finding)
    assert not examine(engine, brief=True)
    assert scalar(engine, "SELECT reloptions FROM pg_class WHERE relname = 'lists'") == ["lists=1"]


@pytest.mark.parametrize(
    "since",
    [
        "UPDATE pgcorpus.documents SET metadata = '{\"a\": 1}', version = version + 1",
        "WITH gone AS (DELETE FROM pgcorpus.documents WHERE collection_id = 1 RETURNING content, embedding)"
        " INSERT INTO pgcorpus.documents (collection_id, content, embedding) SELECT 1, content, embedding FROM gone",
    ],
)
def test_lists_of_the_documents_stay_theirs_when_those_are_changed_or_some_come_anew(
    engine: Engine, since: str
) -> None:
    run(engine, f"DROP INDEX {INDEX}")
    fill_by_sql(engine, 200, "first")
    fill_by_sql(engine, 1_500)
    run(engine, IVFFLAT.format(2), since, "VACUUM (ANALYZE) pgcorpus.documents")
    assert "index-empty-build" not in [finding.code for finding in examine(engine)]


def test_few_documents_need_no_clusters(engine: Engine) -> None:
    run(engine, f"DROP INDEX {INDEX}", IVFFLAT.format(100))
    fill_by_sql(engine, 1_000)
    run(engine, "ANALYZE pgcorpus.documents")
    assert not examine(engine, brief=True)


# The planner, and what it is set to


@pytest.mark.parametrize(("name", "value"), [("random_page_cost", "40"), ("seq_page_cost", "0.001")])
def test_a_setting_that_keeps_the_planner_from_the_index(crowded: Engine, name: str, value: str) -> None:
    run(crowded, f"ALTER {database(crowded)} SET {name} = {value}")
    finding = only(crowded, "index-unused", Severity.WARNING)
    assert f"{name} is {value}" in finding.evidence
    assert "'large'" in finding.evidence
    by_sql(crowded, finding)
    assert examine(crowded, brief=True) == []


def test_in_a_transaction_of_the_hosts_nothing_of_the_look_at_the_planner_stays(crowded: Engine) -> None:
    with crowded.connect() as connection, connection.begin():
        connection.exec_driver_sql("SET LOCAL random_page_cost = 40")
        assert "index-unused" in [finding.code for finding in examine(connection, brief=True)]
        assert connection.exec_driver_sql("SHOW random_page_cost").scalar() == "40"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "0"


def test_the_planner_is_asked_where_nothing_can_be_written_and_by_a_role_that_may_only_read(crowded: Engine) -> None:
    role = f"reader_{crowded.url.database}"
    run(crowded, f"CREATE ROLE {role}", f"GRANT USAGE ON SCHEMA pgcorpus TO {role}")
    run(crowded, f"GRANT SELECT ON ALL TABLES IN SCHEMA pgcorpus TO {role}")
    options = f"-c role={role} -c default_transaction_read_only=on -c random_page_cost=40"
    reader = create_engine(crowded.url, poolclass=NullPool, connect_args={"options": options})
    codes = [finding.code for finding in examine(reader)]
    run(crowded, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    assert codes == ["rights-writing", "index-unused"]


@pytest.mark.parametrize(
    ("setting", "severity", "of_role"),
    [
        ("enable_indexscan = off", Severity.WARNING, False),
        ("statement_timeout = '200ms'", Severity.WARNING, True),
        ("hnsw.iterative_scan = off", Severity.NOTE, True),
        ("hnsw.ef_search = 10", Severity.NOTE, False),
    ],
)
def test_a_setting_of_a_role_or_the_database_that_blunts_searches(
    stocked: Engine, setting: str, severity: Severity, of_role: bool
) -> None:
    whose = f"ROLE CURRENT_USER IN {database(stocked)}" if of_role else database(stocked)
    with stocked.connect() as connection:
        connection.exec_driver_sql("SELECT '[1]'::vector")  # or the server does not know the setting
        connection.exec_driver_sql(f"ALTER {whose} SET {setting}")
        connection.commit()
    finding = only(stocked, "settings-blunt", severity)
    assert ("The role" in finding.summary) is of_role
    by_sql(stocked, finding)
    assert examine(stocked, brief=True) == []


def test_settings_that_are_the_hosts_business_are_not_told(stocked: Engine) -> None:
    for setting in ("statement_timeout = '30s'", "statement_timeout = 0", "work_mem = '64MB'"):
        run(stocked, f"ALTER {database(stocked)} SET {setting}")
        assert examine(stocked, brief=True) == []


def test_planning_again_is_what_a_blunt_setting_is_told_as_once(crowded: Engine) -> None:
    run(crowded, f"ALTER {database(crowded)} SET enable_indexscan = off")
    by_sql(crowded, found(crowded, "settings-blunt", Severity.WARNING))
    assert examine(crowded, brief=True) == []


# Memory


def test_indexes_that_are_larger_than_memory(stocked: Engine) -> None:
    run(stocked, f"ALTER {database(stocked)} SET effective_cache_size = '8MB'")
    finding = found(stocked, "index-memory", Severity.WARNING)
    assert "take 23.4 MB; effective_cache_size is 8.0 MB" in finding.evidence
    (statement,) = re.findall("ALTER DATABASE .*;", finding.remedy)
    run(stocked, statement)
    assert examine(stocked, brief=True) == []


def test_memory_that_is_too_small_for_a_build(stocked: Engine) -> None:
    run(stocked, f"ALTER {database(stocked)} SET maintenance_work_mem = '8MB'")
    finding = found(stocked, "build-memory", Severity.NOTE)
    assert "3,000 documents" in finding.evidence
    by_sql(stocked, finding)
    assert examine(stocked, brief=True) == []


# The table


def test_vectors_out_of_their_rows(engine: Engine) -> None:
    run(engine, f"DROP INDEX {INDEX}")
    run(engine, "ALTER TABLE pgcorpus.documents ALTER COLUMN embedding SET STORAGE EXTERNAL")
    run(engine, "ALTER TABLE pgcorpus.documents RESET (toast_tuple_target)")
    fill_by_sql(engine, 1_500)
    run(engine, "CREATE INDEX ON pgcorpus.documents USING hnsw (embedding vector_cosine_ops)")
    run(engine, "ANALYZE pgcorpus.documents")
    finding = found(engine, "vectors-toasted", Severity.WARNING)
    assert "18 bytes" in finding.evidence
    by_sql(engine, finding)
    assert examine(engine, brief=True) == []


def test_statistics_of_another_time(stock: Engine) -> None:
    fill_by_sql(stock, STOCK // 2)
    assert examine(stock, brief=True) == []
    fill_by_sql(stock, 1, "one")
    assert found(stock, "statistics-stale", Severity.NOTE).consequence, "autovacuum is about to come"
    run(stock, "ALTER TABLE pgcorpus.documents SET (autovacuum_enabled = off)")
    finding = only(stock, "statistics-stale", Severity.WARNING)
    assert "1,501 were written" in finding.evidence
    run(stock, "ALTER TABLE pgcorpus.documents RESET (autovacuum_enabled)")
    by_sql(stock, finding)
    assert examine(stock, brief=True) == []


# Calibrations


def calibrate(engine: Engine, definition: str, documents: int) -> None:
    """Store a calibration of the first collection, as a measurement does."""
    point = {"ef_search": 160, "recall": 0.98, "p50_ms": 2.0, "p95_ms": 4.0, "scanned": 200.0}
    with session_factory(engine)() as session:
        Calibrations(session).save(1, [point], index_definition=definition, documents=documents, k=10)  # type: ignore[list-item]
        session.commit()


def test_a_calibration_of_another_index_or_of_other_documents(stock: Engine) -> None:
    definition = str(scalar(stock, f"SELECT pg_get_indexdef('{INDEX}'::regclass)"))
    for other, documents in (("lists", STOCK), ("", STOCK // 3), ("", STOCK * 3)):
        calibrate(stock, definition + other, documents)
        finding = found(stock, "calibration-stale", Severity.WARNING)
        assert finding.command == "pgcorpus tune --collection wiki --refresh"
    calibrate(stock, definition, STOCK)
    assert examine(stock) == []


def test_the_command_that_is_printed_measures_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))  # where an interrupted run would be kept
    fill_by_sql(engine, 6)
    calibrate(engine, "CREATE INDEX gone", 6)
    by_command(engine, found(engine, "calibration-stale", Severity.WARNING))
    assert examine(engine) == []
