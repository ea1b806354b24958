"""Every finding has a test that makes a database have it, and a line in the documentation."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def codes() -> set[str]:
    """Return the codes that the doctor makes findings with."""
    modules = Path(str(files("pgcorpus.services.doctor"))).glob("*.py")
    return {code for module in modules for code in codes_of(ast.parse(module.read_text()))}


def codes_of(module: ast.Module) -> Iterator[str]:
    """Yield the first arguments of a module's findings."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
            yield ast.literal_eval(node.args[0])


# What takes the finding of a code from a database, or fails.
FINDERS = {"found", "only", "the_one"}


def planted() -> set[str]:
    """Return the codes that tests on a real database say it has: to a finder, or in what they compare."""
    modules = (ROOT / "tests/integration").glob("test*doctor*.py")
    tests = (node for module in modules for node in ast.walk(ast.parse(module.read_text())))
    return codes() & {
        each.value
        for node in tests
        if isinstance(node, ast.Call | ast.Compare | ast.Subscript) and _says_what_is_found(node)
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    }


def _says_what_is_found(node: ast.Call | ast.Compare | ast.Subscript) -> bool:
    if isinstance(node, ast.Compare):
        return not any(isinstance(operator, ast.NotIn | ast.NotEq) for operator in node.ops)
    finder = node.func if isinstance(node, ast.Call) else node.value
    return isinstance(finder, ast.Name) and finder.id in FINDERS


def test_twenty_sicknesses_and_more_are_planted_in_a_real_database() -> None:
    assert len(planted()) >= 40
    assert codes() - planted() == set()


@pytest.mark.parametrize("code", sorted(codes()))
def test_a_finding_is_documented(code: str) -> None:
    assert f"| `{code}` | " in (ROOT / "docs/doctor.md").read_text()
