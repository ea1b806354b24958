"""What is concluded from facts, where no test can make the server have them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgcorpus.services.doctor import Facts, Finding, Severity, findings_of, worst
from pgcorpus.services.doctor.extension import DEFECTS, defects_of
from pgcorpus.services.doctor.facts import Extension, IndexFacts

EMPTY = Facts(role="app", database="shop")
IVFFLAT = IndexFacts("lists", "ivfflat", "vector_l2_ops", "embedding", partial=False, valid=True, building=False)


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
        ("0.8.3", True, False, ["0.8.4", "0.8.7"]),
        ("0.8.4", True, True, ["0.8.6", "0.8.7"]),
        ("0.8.6", True, True, ["0.8.7"]),
        ("0.8.6", False, True, []),
        ("0.8.7", True, True, []),
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
    finding = findings_of(replace(at("0.8.2", ivfflat=True), available="0.8.2"))[0]
    assert (finding.code, finding.severity) == ("extension-defects", Severity.WARNING)
    assert finding.remedy == "Install pgvector 0.8.7 or later on the server, which has 0.8.2, then update it."
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
