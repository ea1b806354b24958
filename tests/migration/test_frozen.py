"""A released revision never changes, and stands on Alembic alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pgcorpus import schema
from tests.migration import freeze

# Of Alembic's own operations, those that work offline too. The plugin's are not among them: what they do may change
# with a release, and a released revision must not.
OPERATIONS = {
    "add_column", "alter_column", "create_check_constraint", "create_foreign_key", "create_index",
    "create_primary_key", "create_table", "create_table_comment", "create_unique_constraint", "drop_column",
    "drop_constraint", "drop_index", "drop_table", "drop_table_comment", "execute", "f", "get_context", "rename_table",
}  # fmt: skip

REVISIONS = sorted(freeze.VERSIONS.glob("*.py"))


def operations(source: str) -> set[str]:
    """Return the names that a revision calls on ``op``; what it does not import so is found by another test."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "op"
    }


def alembic_imports(source: str) -> set[tuple[str, str | None]]:
    """Return what a revision imports of Alembic, each with the name it goes by."""
    found: set[tuple[str, str | None]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(each.name, each.asname) for each in node.names if each.name.startswith("alembic")}
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("alembic"):
            found |= {(f"{node.module}.{each.name}", each.asname) for each in node.names}
    return found


def test_no_released_revision_has_changed() -> None:
    assert freeze.changed() == [], freeze.RULE


def test_every_revision_is_frozen() -> None:
    new = freeze.hashes().keys() - freeze.frozen().keys()
    assert not new, f"a new revision is frozen with its commit: run `{freeze.COMMAND}`"


def test_every_revision_has_a_dump_and_every_dump_a_revision() -> None:
    ids = {revision.id for revision in schema.history()}
    assert {path.stem for path in freeze.DUMPS.glob("*")} == ids, f"run `{freeze.COMMAND}`"


def test_the_list_is_sorted_as_the_command_writes_it() -> None:
    lines = freeze.FROZEN.read_text().splitlines()
    assert lines == sorted(lines, key=lambda line: line.split()[1])


@pytest.mark.parametrize("path", REVISIONS, ids=lambda path: path.stem)
def test_a_revision_uses_alembics_own_operations_only(path: Path) -> None:
    source = path.read_text()
    assert operations(source) <= OPERATIONS
    assert alembic_imports(source) == {("alembic.op", None)}


@pytest.mark.parametrize(
    "line",
    [
        "op.create_vector_index('i')", "op.drop_vector_index('i')", "op.see_extension('i')",
        "op.enable_extension()", "op.disable_extension()", "op.alter_vector_dimensions('t')",
        "op.set_vector_storage('t')", "op.see_extension()", "op.get_bind()",
    ],
)  # fmt: skip
def test_the_plugins_operations_are_found_out(line: str) -> None:
    assert not operations(f"def upgrade():\n    {line}") <= OPERATIONS


# The command that freezes


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history of two frozen revisions in a folder of its own."""
    monkeypatch.setattr(freeze, "VERSIONS", tmp_path)
    monkeypatch.setattr(freeze, "FROZEN", tmp_path / "frozen.txt")
    for name in ("0001_one.py", "0002_two.py"):
        (tmp_path / name).write_text(name)
    freeze.freeze_hashes()
    return tmp_path


def test_freezing_adds_the_new_revisions(elsewhere: Path) -> None:
    before = freeze.FROZEN.read_text()
    assert [line.split()[1] for line in before.splitlines()] == ["0001_one.py", "0002_two.py"]
    (elsewhere / "0003_three.py").touch()
    freeze.freeze_hashes()
    assert freeze.FROZEN.read_text().startswith(before)
    assert list(freeze.frozen()) == ["0001_one.py", "0002_two.py", "0003_three.py"]


@pytest.mark.parametrize("gone", [True, False])
def test_freezing_refuses_a_released_revision_that_changed(elsewhere: Path, gone: bool) -> None:
    before = freeze.FROZEN.read_text()
    if gone:
        (elsewhere / "0001_one.py").unlink()
    else:
        (elsewhere / "0001_one.py").write_text("changed")
    with pytest.raises(SystemExit, match=r"0001_one\.py: a released revision never changes: .* write a new one"):
        freeze.freeze_hashes()
    assert freeze.FROZEN.read_text() == before
