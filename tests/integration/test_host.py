"""A host project that installs the wheel keeps its own names, tables and Alembic."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]

MODELS = """
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
class Base(DeclarativeBase): pass
class Document(Base):
    __tablename__ = "documents"
    id: Mapped[int] = mapped_column(primary_key=True)
"""

APP = """
import sys
import models, repositories, services
import pgcorpus.models, pgcorpus.repositories, pgcorpus.services
assert models.Document is not pgcorpus.models.Document
assert repositories.MINE and services.MINE
from alembic import op
from pgcorpus import schema
from pgcorpus.database import create_engine, session_factory
from pgcorpus.repositories import DocumentRepository
engine = create_engine(sys.argv[1])
models.Base.metadata.create_all(engine)
schema.upgrade(engine)
schema.check(engine)
with session_factory(engine)() as session:
    session.add(models.Document())
    DocumentRepository(session).add(pgcorpus.models.Document(content="ours", embedding=[1.0] * 1536))
    session.commit()
    assert session.query(models.Document).count() == session.query(pgcorpus.models.Document).count() == 1
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel under test: CI's own, else one that is built from a clean copy of the checkout."""
    if built := os.environ.get("PGCORPUS_TEST_WHEEL"):
        return Path(built)
    copy = tmp_path_factory.mktemp("copy")
    for name in ("alembic", "models", "repositories", "services", "src"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(target), str(copy)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def host(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project with a models.py, repositories.py and services.py of its own, and its Python."""
    project = tmp_path_factory.mktemp("host project")
    (project / "models.py").write_text(MODELS)
    for name in ("repositories.py", "services.py"):
        (project / name).write_text("MINE = True\n")
    environment = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return project, python


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pgcorpus"}
    sources = [
        path.relative_to(CHECKOUT / root)
        for root in ("src/pgcorpus", "models", "repositories", "services", "alembic")
        for path in (CHECKOUT / root).rglob("*.py")
    ]
    modules = [name for name in names if name.endswith(".py")]
    assert len(modules) == len(sources)
    others = {name for name in names if not name.endswith(".py") and ".dist-info/" not in name}
    page = CHECKOUT / "src/pgcorpus/integrations/explorer"
    pages = {f"pgcorpus/integrations/explorer/{path.relative_to(page)}" for path in page.glob("*/*.*")}
    pages = {each for each in pages if not each.endswith((".py", ".pyc"))}
    pages.add("pgcorpus/services/calibrating/templates/report.html")
    assert others == {"pgcorpus/py.typed", "pgcorpus/migrations/script.py.mako"} | pages
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_host_with_names_like_ours_is_not_disturbed(
    host: tuple[Path, Path], make_database: Callable[..., URL]
) -> None:
    project, python = host
    url = make_database().render_as_string(hide_password=False)
    subprocess.run([str(python), "-c", APP, url], cwd=project, check=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", "x"], "pip install 'pgcorpus[local]'"),
        (["db", "start"], "pip install 'pgcorpus[embedded]'"),
        (["ingest", "models.py", "-e", "local"], "pip install 'pgcorpus["),
        (["demo"], "pip install 'pgcorpus["),
    ],
)
def test_a_command_without_its_extra_says_which_to_install(
    host: tuple[Path, Path], arguments: list[str], words: str
) -> None:
    project, python = host
    run = subprocess.run(
        [str(python.parent / "pgcorpus"), *arguments], cwd=project, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_the_wheels_own_command_migrates(host: tuple[Path, Path], make_database: Callable[..., URL]) -> None:
    project, python = host
    environment = {"PGCORPUS_DATABASE_URL": make_database().render_as_string(hide_password=False)}
    for arguments in (["upgrade"], ["check"], ["current"], ["history"], ["sql"], ["downgrade", "base", "--yes"]):
        subprocess.run(
            [str(python.parent / "pgcorpus"), "migrate", *arguments],
            env=os.environ | environment, cwd=project, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
