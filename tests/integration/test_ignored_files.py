"""A file that was stored and is ignored now is deleted by the next ingest of its folder, as if it were removed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from pgcorpus.database import session_factory
from pgcorpus.models import Document
from pgcorpus.repositories import SyncReport
from pgcorpus.services.ingesting import Ingestor
from pgcorpus.services.sources import IGNORE_FILE, find_sources
from tests.support.embedder import CountingEmbedder
from tests.support.pdf import pdf


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a folder of documents."""
    monkeypatch.chdir(tmp_path)
    for name in ("docs/a.md", "docs/b.md", "docs/drafts/c.md", "other/b.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    return tmp_path


def ingest(engine: Engine, *paths: str, **options) -> SyncReport:
    found = find_sources(paths, **options)
    return Ingestor(engine, CountingEmbedder()).ingest(found.sources, found.roots).changes


def stored(engine: Engine) -> list[str | None]:
    with session_factory(engine)() as session:
        return sorted(session.scalars(select(Document.source)))


def test_what_is_ignored_now_is_deleted_from_its_folder_and_nowhere_else(engine: Engine) -> None:
    assert ingest(engine, "docs", "other").added == 4
    assert ingest(engine, "docs", ignore=["b.md", "drafts/"]) == SyncReport(unchanged=1, deleted=2)
    assert stored(engine) == ["docs/a.md", "other/b.md"]


def test_an_ignore_file_does_the_same_and_its_removal_brings_them_back(engine: Engine) -> None:
    ingest(engine, "docs")
    ignore_file = Path("docs", IGNORE_FILE)
    ignore_file.write_text("drafts/\n")
    assert ingest(engine, "docs") == SyncReport(unchanged=2, deleted=1)
    ignore_file.unlink()
    assert ingest(engine, "docs") == SyncReport(added=1, unchanged=2)


def test_pdf_files_that_can_no_longer_be_read_are_kept(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have not vanished; the machine that ingests lacks the extra."""
    Path("docs/d.pdf").write_bytes(pdf(["Text."]))
    assert ingest(engine, "docs").added == 4
    monkeypatch.setitem(sys.modules, "pypdf", None)
    assert ingest(engine, "docs") == SyncReport(unchanged=3)
    assert "docs/d.pdf" in stored(engine)
