"""A database that any release has left behind comes to the newest schema, with all that is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, undefer

from pgcorpus import schema
from pgcorpus.database import session_factory
from pgcorpus.embedded import EmbeddedServer
from pgcorpus.models import Collection, Document
from pgcorpus.repositories import DocumentRepository
from tests.migration import freeze
from tests.support.vectors import unit

DUMPS = sorted(freeze.DUMPS.glob("*.sql"))

MADE_BY = re.compile(r"^-- Dumped .* version .*$", re.MULTILINE)


def stored(session: Session) -> list[dict[str, object]]:
    """Return the documents as :data:`freeze.DOCUMENTS` has them."""
    documents = session.scalars(select(Document).options(undefer(Document.embedding)).order_by(Document.id))
    return [
        {name: getattr(each, name) for name in freeze.DOCUMENTS[0] if name not in ("metadata", "embedding")}
        | {"metadata": each.meta, "embedding": None if each.embedding is None else each.embedding.tolist()}
        for each in documents
    ]


@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.stem)
def test_a_dump_of_every_release_upgrades_and_keeps_its_data(
    server: EmbeddedServer, empty_engine: Engine, path: Path
) -> None:
    freeze.restore(server, empty_engine.url, path.read_text())
    assert schema.current(empty_engine) == path.stem
    schema.upgrade(empty_engine)
    schema.check(empty_engine)
    with session_factory(empty_engine)() as session:
        empty = path == DUMPS[0]
        assert stored(session) == ([] if empty else freeze.DOCUMENTS)
        shown = session.query(Collection).filter(Collection.shadow_of.is_(None))
        assert shown.count() == (0 if empty else len(freeze.COLLECTIONS))
        if not empty:
            is_searchable(session)


def is_searchable(session: Session) -> None:
    library = DocumentRepository(session, "library")
    assert [hit.document.key for hit in library.search(unit(1))] == ["schlüssel-1", "schlüssel-0"]
    assert [hit.document.key for hit in library.search(unit(1), where={"meta.number": 1})] == ["schlüssel-1"]
    assert library.count({"meta.deep.empty": None, "meta.number": {"$gte": 10}}) == 4
    other = DocumentRepository(session, "Bücherei 📚", tenant="Überland")
    assert [hit.document.content for hit in other.search(unit(2))] == ["The ferries leave the harbour at dawn. (20)"]
    other.add(Document(content="one more", embedding=unit(3)))
    assert other.count() == 9


def test_the_frozen_revisions_make_what_they_made(server: EmbeddedServer, empty_engine: Engine) -> None:
    made = dict(freeze.dumps(server, empty_engine))
    was = {path.stem: path.read_text() for path in DUMPS}
    for revision, script in was.items():
        if MADE_BY.findall(script) != MADE_BY.findall(made[revision]):
            pytest.skip("another version of pg_dump words things otherwise")
        assert made[revision] == script, revision
