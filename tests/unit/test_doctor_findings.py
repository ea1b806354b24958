"""What is concluded from facts, where no test can make the server have them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgcorpus.indexing import IndexForm
from pgcorpus.models import Metric
from pgcorpus.repositories.indexes import VectorIndex
from pgcorpus.services.doctor import Facts, Finding, Severity, findings_of, worst
from pgcorpus.services.doctor.extension import DEFECTS, defects_of
from pgcorpus.services.doctor.facts import (
    Extension,
    IndexFacts,
    LargeCollection,
    Override,
    Planned,
    Server,
    Stored,
    TableFacts,
)
from pgcorpus.services.doctor.memory import memory_findings
from pgcorpus.services.doctor.plans import plan_findings
from pgcorpus.services.doctor.settings import setting_findings
from pgcorpus.services.doctor.storing import storing_findings

EMPTY = Facts(role="app", database="shop")
IVFFLAT = IndexFacts("lists", "ivfflat", valid=True, building=False)


def at(version: str, *, ivfflat: bool = False, is_32_bit: bool = False) -> Facts:
    """Return the facts of a database with that version of pgvector."""
    extension = Extension(version, "public", usable=True)
    return replace(EMPTY, extension=extension, indexes=(IVFFLAT,) if ivfflat else (), is_32_bit=is_32_bit)


@pytest.mark.parametrize(
    ("version", "ivfflat", "is_32_bit", "mended_in"),
    [
        ("0.8.0", False, False, ["0.8.2", "0.8.3", "0.8.4"]),
        ("0.8.1", False, True, ["0.8.2", "0.8.3", "0.8.4"]),
        ("0.8.2", False, False, ["0.8.3", "0.8.4"]),
        ("0.8.3", True, False, ["0.8.4"]),
        ("0.8.4", True, True, ["0.8.6"]),
        ("0.8.4", True, False, []),
        ("0.8.5", False, True, []),
        ("0.8.6", True, True, []),
        ("0.8.10", True, True, []),
        ("0.9", True, True, []),
        ("1.0.0-beta", True, True, []),
    ],
)
def test_a_version_has_the_defects_that_later_ones_mended_and_that_concern_the_database(
    version: str, ivfflat: bool, is_32_bit: bool, mended_in: list[str]
) -> None:
    facts = at(version, ivfflat=ivfflat, is_32_bit=is_32_bit)
    assert [defect.mended_in for defect in defects_of(facts)] == mended_in


def test_defects_are_told_with_the_newest_version_that_mends_them() -> None:
    finding = findings_of(replace(at("0.8.2", ivfflat=True, is_32_bit=True), available="0.8.2"))[0]
    assert (finding.code, finding.severity) == ("extension-defects", Severity.WARNING)
    assert finding.remedy == "Install pgvector 0.8.6 or later on the server, which has 0.8.2, then update it."
    assert finding.consequence.count("mended in") == 3
    assert DEFECTS[1].what in finding.consequence


@pytest.mark.parametrize(("version", "old"), [("0.7.4", True), ("0.5.1", True), ("0.8.0", False), ("0.10", False)])
def test_before_0_8_pgvector_is_too_old(version: str, old: bool) -> None:
    assert ("extension-old" in [finding.code for finding in findings_of(at(version))]) is old


def test_where_the_server_has_no_pgvector_it_is_to_be_installed_first() -> None:
    finding = findings_of(EMPTY)[0]
    assert finding.code == "extension-missing"
    assert "Install pgvector on the server" in finding.remedy


def test_the_worst_of_findings_is_the_first_of_error_warning_and_note() -> None:
    note, warning, error = (
        Finding("code", severity, "", "", "", "") for severity in (Severity.NOTE, Severity.WARNING, Severity.ERROR)
    )
    assert worst([]) is None
    assert worst([note, note]) is Severity.NOTE
    assert worst([note, warning, note]) is Severity.WARNING
    assert worst([warning, error]) is Severity.ERROR


def test_instructions_are_one_line_with_the_command_and_the_sql() -> None:
    both = Finding(
        "code", Severity.NOTE, "", "", "", "Build it.", command="pgcorpus migrate upgrade", sql="SELECT\n 1;"
    )
    assert both.instructions == "Build it. `pgcorpus migrate upgrade`, or in SQL: SELECT 1;"
    assert replace(both, command=None).instructions == "Build it. In SQL: SELECT 1;"
    assert replace(both, command=None, sql=None).instructions == "Build it."


# What a test may not do to a server that others use


def graph(rows: int, size: int) -> VectorIndex:
    """Return a valid index of the documents."""
    options = {"m": 16, "ef_construction": 64}
    where = ("ix", "pgcorpus", "hnsw", IndexForm.VECTOR, Metric.COSINE, "embedding", options, None, None)
    return VectorIndex(*where, valid=True, dimensions=1536, bytes=size, rows=rows, definition="CREATE INDEX ix")


GIGABYTE = 2**30
SERVER = Server(GIGABYTE, 4 * GIGABYTE, GIGABYTE, autovacuum=True)


@pytest.mark.parametrize(
    ("size", "severity"), [(1, None), (1 * GIGABYTE, None), (3 * GIGABYTE, "note"), (5 * GIGABYTE, "warning")]
)
def test_indexes_are_compared_with_the_servers_cache_and_with_all_memory(size: int, severity: str | None) -> None:
    facts = replace(EMPTY, server=SERVER, vector_indexes=(graph(1_000, size),))
    assert worst(memory_findings(facts)) == severity
    invalid = replace(facts, vector_indexes=(replace(graph(1_000, size), valid=False),))
    assert memory_findings(invalid) == []


def test_the_memory_for_a_build_is_told_for_the_largest_index() -> None:
    facts = replace(EMPTY, server=SERVER, vector_indexes=(graph(10, 1), graph(400_000, 1)))
    (finding,) = memory_findings(facts)
    assert finding.code == "build-memory"
    # 4 * 1,536 + 214 + 31.7 * 16 bytes an element (pgcorpus.autogenerate.resources).
    needed = 400_000 * (4 * 1536 + 214 + 31.7 * 16) / 2**20
    assert finding.sql
    (told,) = (int(word[1:-4]) for word in finding.sql.split() if word.endswith("MB';"))
    assert told == pytest.approx(needed, rel=0.12)


@pytest.mark.parametrize(
    ("value", "is_short"),
    [("200", True), ("200ms", True), ("0.5s", True), ("1s", False), ("30s", False), ("5min", False), ("0", False)],
)
def test_a_timeout_is_short_below_a_second(value: str, is_short: bool) -> None:
    facts = replace(EMPTY, overrides=(Override("app", everywhere=True, name="statement_timeout", value=value),))
    assert bool(setting_findings(facts)) is is_short


@pytest.mark.parametrize(
    ("role", "everywhere", "sql"),
    [
        ("app", True, "ALTER ROLE app RESET enable_indexscan;"),
        ("app", False, "ALTER ROLE app IN DATABASE shop RESET enable_indexscan;"),
        (None, True, "ALTER ROLE ALL RESET enable_indexscan;"),
        (None, False, "ALTER DATABASE shop RESET enable_indexscan;"),
    ],
)
def test_a_setting_is_reset_where_it_was_given(role: str | None, everywhere: bool, sql: str) -> None:
    (finding,) = setting_findings(replace(EMPTY, overrides=(Override(role, everywhere, "enable_indexscan", "off"),)))
    assert finding.sql == sql


TABLE = TableFacts(frozenset({"SELECT"}), frozenset({"id"}))
STORED = Stored(reltuples=50_000, relpages=50_000, dimensions=1536, width=6_148)
LARGE = replace(
    EMPTY, schema_usable=True, tables={"documents": TABLE}, rows=50_000, analysed=True, stored=STORED, pages=50_000
)
UNUSED = Planned(LargeCollection(1, "default", "wiki", "cosine", 50_000), None, 9_000.0)


def test_a_server_without_autovacuum_is_told_of_where_there_are_many_documents() -> None:
    off = replace(SERVER, autovacuum=False)
    (finding,) = storing_findings(replace(LARGE, server=off))
    assert (finding.code, finding.sql and finding.sql.split(";")[0]) == (
        "autovacuum-off",
        "ALTER SYSTEM RESET autovacuum",
    )
    assert storing_findings(replace(LARGE, server=off, rows=1_000)) == []


def test_what_a_session_wrote_before_its_analyze_makes_no_statistics_old() -> None:
    """It may be counted after it; the table has not grown."""
    counted_twice = replace(LARGE, stored=replace(STORED, changed=50_000), rows=100_000)
    assert storing_findings(counted_twice) == []
    assert [each.code for each in storing_findings(replace(counted_twice, pages=90_000))] == ["statistics-stale"]


def test_where_no_setting_explains_a_plan_the_table_is_analysed() -> None:
    (finding,) = plan_findings(replace(LARGE, planned=UNUSED))
    assert finding.sql == "ANALYZE pgcorpus.documents;"
    assert plan_findings(replace(LARGE, planned=replace(UNUSED, index="ix"))) == []


def test_a_plan_is_told_of_once_with_what_explains_it() -> None:
    toasted = replace(LARGE, planned=UNUSED, stored=replace(STORED, width=18))
    assert plan_findings(toasted) == []
    (finding,) = storing_findings(toasted)
    assert finding.evidence.endswith("EXPLAIN of a search does not go by the index.")
    by_role = Override("app", everywhere=True, name="enable_indexscan", value="off")
    caused = replace(UNUSED, cause=("enable_indexscan", "off", "on"))
    assert plan_findings(replace(LARGE, planned=caused, overrides=(by_role,))) == []


def test_of_other_tenants_nothing_is_kept() -> None:
    facts = replace(LARGE, planned=UNUSED, large=(UNUSED.collection,))
    assert facts.of_tenant("default") == facts
    assert facts.of_tenant("other") == LARGE
