"""No layer imports one above it, and every import names the installed package."""

import ast
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

# Lowest first. A module imports its own floor and those below.
FLOORS = (
    {"errors", "vectors", "adapters", "config", "locks", "faults", "tuning", "indexing", "marking", "names", "events"},
    {"models"},
    {"database", "migrating", "schema", "embedded", "within", "target", "autogenerate"},
    {"repositories"},
    {"services"},
    {"cli", "integrations", "testing", "__main__"},
)
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}
# What migrations may import: a released revision must not change when a model does.
MIGRATION_IMPORTS = {"__future__", "alembic", "collections", "contextlib", "pgvector", "sqlalchemy", "typing"}

ROOT = Path(str(files("pgcorpus")))
MODULES = sorted(path for path in ROOT.rglob("*.py") if "migrations" not in path.parts)
REVISIONS = sorted((ROOT / "migrations" / "versions").glob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the modules a file imports, and how many dots come before."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.level


def floor_of(path: Path) -> int:
    name = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return len(FLOORS) if name == "__init__" else FLOOR[name]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_and_are_absolute(path: Path) -> None:
    for module, level in imports(path):
        assert level == 0, f"{module} is imported relatively"
        assert module.split(".")[0] not in ("models", "repositories", "services"), f"{module} makes a second class"
        if module.startswith("pgcorpus."):
            imported = module.split(".")[1]
            assert FLOOR.get(imported, 0) <= floor_of(path), f"{module} is above"


@pytest.mark.parametrize("path", REVISIONS, ids=lambda path: path.name)
def test_a_revision_imports_sqlalchemy_alembic_and_pgvector_only(path: Path) -> None:
    assert {module.split(".")[0] for module, _ in imports(path)} <= MIGRATION_IMPORTS


def test_there_are_modules_and_revisions_to_look_at() -> None:
    assert len(MODULES) > 30
    assert len(REVISIONS) >= 4
