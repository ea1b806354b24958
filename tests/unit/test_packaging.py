"""The package is what the folders hold, and nothing else."""

import tomllib
from importlib.metadata import distribution
from itertools import chain
from pathlib import Path

import pytest

import pgcorpus

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDERS = SETUPTOOLS["package-dir"]


def package_of(folder: Path) -> str:
    """Return the name of the package that a folder of the checkout is."""
    for package, root in sorted(FOLDERS.items(), key=lambda item: -len(item[1])):
        if folder.is_relative_to(CHECKOUT / root):
            return ".".join([package, *folder.relative_to(CHECKOUT / root).parts])
    raise AssertionError(f"{folder} is in no package")


def test_the_list_of_packages_equals_the_folders() -> None:
    found = {package_of(path.parent) for root in FOLDERS.values() for path in (CHECKOUT / root).rglob("*.py")}
    assert found == set(SETUPTOOLS["packages"])


def test_every_module_of_the_checkout_is_installed() -> None:
    installed = Path(pgcorpus.__file__).parent
    for root in FOLDERS.values():
        for path in (CHECKOUT / root).rglob("*.py"):
            relative = Path(*package_of(path.parent).split(".")[1:]) / path.name
            assert (installed / relative).read_bytes() == path.read_bytes(), f"{relative}: install again"


EXPLORER = "integrations/explorer"
PAGES = [
    str(path.relative_to(CHECKOUT / "src/pgcorpus"))
    for folder in ("templates", "static")
    for path in (CHECKOUT / "src/pgcorpus" / EXPLORER / folder).iterdir()
]


@pytest.mark.parametrize("name", ["py.typed", "migrations/script.py.mako", *PAGES])
def test_what_is_no_module_is_installed_too(name: str) -> None:
    assert (Path(pgcorpus.__file__).parent / name).is_file()


def test_no_folder_of_migrations_is_an_importable_package() -> None:
    """With an __init__.py there, `from alembic import op` would find our folder."""
    assert list((CHECKOUT / "alembic").rglob("__init__.py")) == []


def test_there_are_pages_and_styles_to_install() -> None:
    assert {Path(page).suffix for page in PAGES} >= {".html", ".css"}


# Extras of extras, and what only contributors install.
OWN = ("all", "dev")


def test_nothing_is_pinned_and_everything_is_bounded() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    shipped = [requirements for name, requirements in extras.items() if name not in OWN]
    for requirement in chain(PROJECT["project"]["dependencies"], *shipped):
        assert "==" not in requirement
        assert ">=" in requirement
        assert "<" in requirement


def test_the_metadata_names_the_licence_and_the_extras() -> None:
    metadata = distribution("pgcorpus").metadata
    assert metadata["License-Expression"] == "MIT"
    frameworks = {"django", "explorer", "fastapi", "flask", "opentelemetry"}
    extras = {"all", "dev", "embedded", "local", "pdf", "plots", "tokens"} | frameworks
    assert extras == set(metadata.get_all("Provides-Extra") or [])
