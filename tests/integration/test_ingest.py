"""An ingest embeds and writes what changed, each source whole, and mends what an interrupted one left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, text

from pgcorpus.database import create_engine, session_factory
from pgcorpus.errors import DocumentError, EmbeddingError, EmbeddingModelMismatchError, SourceError
from pgcorpus.models import Document
from pgcorpus.repositories import DocumentRepository, SyncReport
from pgcorpus.repositories.writing.indexes import build_missing, drop_for_first_load, is_missing
from pgcorpus.services.chunking import Passage
from pgcorpus.services.embedding import pad
from pgcorpus.services.embedding.base import Vectors
from pgcorpus.services.ingesting import Ingestor, IngestReport, Progress, Stage
from pgcorpus.services.ingesting import run as run_module
from pgcorpus.services.sources import Source, find_sources
from tests.support.embedder import CountingEmbedder
from tests.support.waiting import wait_until

INDEX_STATE = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('pgcorpus.ix_documents_embedding')")


def source(name: str, *contents: str, size: int = 100) -> Source:
    return Source(name, size, lambda: [Passage(content) for content in contents])


def ingest(
    engine: Engine, *sources: Source, embedder: CountingEmbedder | None = None, **options: object
) -> IngestReport:
    return Ingestor(engine, embedder or CountingEmbedder(), **options).ingest(sources)  # type: ignore[arg-type]


def contents(engine: Engine) -> list[tuple[str | None, str]]:
    with session_factory(engine)() as session:
        rows = session.execute(select(Document.source, Document.content).order_by(Document.source, Document.position))
        return [(row.source, row.content) for row in rows]


def index_is_valid(engine: Engine) -> bool | None:
    with engine.connect() as connection:
        return connection.scalar(INDEX_STATE)


def test_a_second_run_embeds_and_writes_nothing(engine: Engine) -> None:
    sources = [source("a", "one", "two"), source("b", "three")]
    assert ingest(engine, *sources).changes == SyncReport(added=3)
    embedder = CountingEmbedder()
    with engine.connect() as connection:
        before = connection.execute(text("SELECT xmin, ctid FROM pgcorpus.documents ORDER BY id")).all()
    assert ingest(engine, *sources, embedder=embedder).changes == SyncReport(unchanged=3)
    assert embedder.texts == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT xmin, ctid FROM pgcorpus.documents ORDER BY id")).all() == before


def test_one_inserted_passage_embeds_and_writes_one(engine: Engine) -> None:
    ingest(engine, source("a", "one", "two", "three"))
    embedder = CountingEmbedder()
    report = ingest(engine, source("a", "one", "new", "two", "three"), embedder=embedder)
    assert report.changes == SyncReport(added=1, unchanged=3)
    assert embedder.texts == ["new"]
    assert [content for _, content in contents(engine)] == ["one", "new", "two", "three"]


def test_the_same_text_twice_in_a_source_is_two_documents(engine: Engine) -> None:
    ingest(engine, source("a", "same", "same", "same"))
    assert ingest(engine, source("a", "same", "same")).changes == SyncReport(unchanged=2, deleted=1)


def test_a_source_without_text_is_emptied(engine: Engine) -> None:
    ingest(engine, source("a", "one"), source("b", "two"))
    assert ingest(engine, source("a")).changes == SyncReport(deleted=1)


def test_files_that_vanished_from_a_folder_are_deleted_and_nothing_else(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("docs/a.md", "docs/b.md", "other/c.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {name}\n\ntext of {name}\n")
    everything = find_sources(["docs", "other"])
    Ingestor(engine, CountingEmbedder()).ingest([*everything.sources, source("wiki", "kept")], everything.roots)
    (tmp_path / "docs/b.md").unlink()
    rest = find_sources(["docs"])
    assert Ingestor(engine, CountingEmbedder()).ingest(rest.sources, rest.roots).changes.deleted == 1
    assert [name for name, _ in contents(engine)] == ["docs/a.md", "other/c.md", "wiki"]


def test_embeddings_are_padded_and_found_again(engine: Engine) -> None:
    embedder = CountingEmbedder(dimensions=8)
    ingest(engine, source("a", *(f"text {i}" for i in range(50))), embedder=embedder)
    with session_factory(engine)() as session:
        query = pad(embedder.embed(["text 33"]))[0]
        hit = DocumentRepository(session, embedding_model="counting").search(query, 1)[0]
    assert hit.document.content == "text 33"
    assert hit.score == pytest.approx(1, abs=1e-6)


def test_another_model_is_refused_before_anything_is_read_or_embedded(engine: Engine) -> None:
    ingest(engine, source("a", "one"))
    other = CountingEmbedder("another")
    unread = Source("b", 1, lambda: pytest.fail("it was read"))
    with pytest.raises(EmbeddingModelMismatchError, match="embedded with counting, not another"):
        ingest(engine, unread, embedder=other)
    assert other.texts == []


def test_a_source_is_whole_or_not_there_when_the_embedder_fails(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "GROUP_PASSAGES", 30)

    def fail(texts: Sequence[str]) -> None:
        if "text 40" in texts:
            raise EmbeddingError("down")

    sources = [
        source(name, *(f"text {i}" for i in numbers)) for name, numbers in (("a", range(30)), ("b", range(30, 60)))
    ]
    with pytest.raises(EmbeddingError):
        ingest(engine, *sources, embedder=CountingEmbedder(before=fail))
    assert {name for name, _ in contents(engine)} == {"a"}
    embedder = CountingEmbedder()
    assert ingest(engine, *sources, embedder=embedder).changes == SyncReport(added=30, unchanged=30)
    assert len(embedder.texts) == 30


def test_a_source_that_cannot_be_read_leaves_the_others_whole(engine: Engine) -> None:
    def broken() -> list[Passage]:
        raise SourceError("b line 3: broken")

    with pytest.raises(SourceError, match="line 3"):
        ingest(engine, source("a", "one"), Source("b", 1, broken))
    assert contents(engine) == []


def test_what_another_process_deleted_meanwhile_is_embedded_after_all(engine: Engine) -> None:
    """Between the plan and the write, another ingest may delete what was to be kept."""
    ingest(engine, source("a", "old"))

    def interfere(texts: Sequence[str]) -> None:
        if "new" in texts:
            with session_factory(engine).begin() as session:
                DocumentRepository(session).delete_sources(["a"])

    embedder = CountingEmbedder(before=interfere)
    report = ingest(engine, source("a", "old", "new"), embedder=embedder, cache=False)
    assert report.changes == SyncReport(added=2)
    assert embedder.texts == ["new", "old"]


def test_however_often_others_change_a_source_meanwhile_it_is_written(engine: Engine) -> None:
    """Each time between a plan and its write, another ingest changes what was to be kept."""
    ingest(engine, source("a", "one", "two"))

    def interfere(texts: Sequence[str]) -> None:
        with session_factory(engine).begin() as session:
            for kept in session.scalars(select(Document).order_by(Document.position).limit(1)):
                session.delete(kept)

    embedder = CountingEmbedder(before=interfere)
    report = ingest(engine, source("a", "one", "two", "new"), embedder=embedder, cache=False)
    assert report.changes.added == 3
    assert [content for _, content in contents(engine)] == ["one", "two", "new"]
    assert sorted(embedder.texts) == ["new", "one", "two"]


def test_vectors_longer_than_the_column_are_refused_before_one_is_paid_for(engine: Engine) -> None:
    embedder = CountingEmbedder(dimensions=3072)
    unread = Source("a", 1, lambda: pytest.fail("it was read"))
    with pytest.raises(EmbeddingError, match="have 3072 dimensions and the column has 1536"):
        ingest(engine, unread, embedder=embedder)
    assert embedder.texts == []


def test_an_embedder_that_answers_too_little_is_told_so(engine: Engine) -> None:
    class Lossy(CountingEmbedder):
        def embed(self, texts: Sequence[str]) -> Vectors:
            return super().embed(texts)[1:]

    with pytest.raises(EmbeddingError, match="answered 2 vectors for 3 texts"):
        ingest(engine, source("a", "one", "two", "three"), embedder=Lossy(), cache=False)


def test_progress_reaches_the_whole_size(engine: Engine) -> None:
    seen: list[Progress] = []
    ingest(engine, source("a", *map(str, range(50)), size=500), source("b", "x", size=100), progress=seen.append)
    sizes = [progress.size for progress in seen]
    assert sizes == sorted(sizes)
    assert sizes[-1] == pytest.approx(600)
    assert len(set(sizes)) > 3
    assert (seen[-1].passages, seen[-1].embedded) == (51, 51)


# The vector index around a first load


def test_a_first_load_builds_the_index_after_the_data(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "GROUP_PASSAGES", 1)
    during: list[bool | None] = []
    embedder = CountingEmbedder(before=lambda _: during.append(index_is_valid(engine)))
    stages: list[Stage] = []
    sources = [source(name, name) for name in ("one", "two", "three")]
    ingest(engine, *sources, embedder=embedder, progress=lambda each: stages.append(each.stage))
    # The second is embedded while the first is written.
    assert (during[0], during[2]) == (True, None), "it is dropped with the first write, not before"
    assert stages[-1] is Stage.INDEXING
    assert index_is_valid(engine) is True


def test_a_later_load_keeps_the_index(engine: Engine) -> None:
    ingest(engine, source("a", "one"))
    during: list[bool | None] = []
    ingest(
        engine, source("b", "two"), embedder=CountingEmbedder(before=lambda _: during.append(index_is_valid(engine)))
    )
    assert during == [True]


def test_an_index_that_a_failed_load_left_out_is_built_by_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "GROUP_PASSAGES", 1)

    def fail(texts: Sequence[str]) -> None:
        if "two" in texts:
            raise EmbeddingError("down")

    sources = (source("a", "one"), source("b", "two"))
    with pytest.raises(EmbeddingError):
        ingest(engine, *sources, embedder=CountingEmbedder(before=fail))
    assert index_is_valid(engine) is None
    ingest(engine, *sources)
    assert index_is_valid(engine) is True


def test_a_load_that_stores_nothing_leaves_the_index(engine: Engine) -> None:
    bad = source("a", "one\0")
    with pytest.raises(DocumentError):
        ingest(engine, bad)
    assert index_is_valid(engine) is True


def test_readers_never_wait_for_a_first_load(engine: Engine) -> None:
    """The DROP of the index would queue behind one reader, and all others behind the DROP."""
    with engine.connect() as reader:
        reader.execute(select(func.count()).select_from(Document))
        assert drop_for_first_load(engine, Document) is False
    assert index_is_valid(engine) is True


def test_an_invalid_index_is_replaced(engine: Engine) -> None:
    ingest(engine, source("a", "one"))
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pgcorpus.ix_documents_embedding'::regclass"
            )
        )
    assert is_missing(engine, Document)
    build_missing(engine, Document)
    assert index_is_valid(engine) is True


def test_a_rebuilt_index_is_the_migrations_own(engine: Engine) -> None:
    definition = text("SELECT pg_get_indexdef('pgcorpus.ix_documents_embedding'::regclass)")
    with engine.connect() as connection:
        before = connection.scalar(definition)
    assert drop_for_first_load(engine, Document)
    build_missing(engine, Document)
    with engine.connect() as connection:
        assert connection.scalar(definition) == before


def test_a_role_that_does_not_own_the_table_loads_with_the_index_present(engine: Engine) -> None:
    role = f"app_{engine.url.database}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role}"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA pgcorpus TO {role}"))
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA pgcorpus TO {role}"))
        connection.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA pgcorpus TO {role}"))
    app = create_engine(engine.url, connect_args={"options": f"-c role={role}"})
    assert ingest(app, source("a", "one")).changes.added == 1
    assert index_is_valid(engine) is True
    app.dispose()
    with engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


# Killed


KILLED = """
import os, sys
from pgcorpus.database import create_engine
from pgcorpus.services.ingesting import Ingestor, run
from pgcorpus.services.chunking import Passage
from pgcorpus.services.sources import Source
from tests.support.embedder import CountingEmbedder
run.GROUP_PASSAGES = 20
seen = []
def before(texts):
    seen.extend(texts)
    if len(seen) > 50:
        print("half", flush=True)
        sys.stdin.read()
sources = [Source(f"s{n}", 1, lambda n=n: [Passage(f"text {n} {i}") for i in range(10)]) for n in range(10)]
Ingestor(create_engine(sys.argv[1]), CountingEmbedder(before=before)).ingest(sources)
"""


def test_a_killed_ingest_leaves_whole_sources_and_the_next_run_goes_on(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"half\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with session_factory(engine)() as session:
        sizes = session.scalars(select(func.count()).select_from(Document).group_by(Document.source)).all()
    assert sizes
    assert set(sizes) == {10}
    embedder = CountingEmbedder()
    sources = [source(f"s{n}", *(f"text {n} {i}" for i in range(10))) for n in range(10)]
    wait_for_rollback(engine)
    report = ingest(engine, *sources, embedder=embedder)
    assert report.changes == SyncReport(added=100 - 10 * len(sizes), unchanged=10 * len(sizes))
    assert len(contents(engine)) == 100
    assert index_is_valid(engine) is True


def wait_for_rollback(engine: Engine) -> None:
    """The server notices a little later that the client is gone."""
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND state <> 'idle'"
    )

    def alone() -> bool:
        with engine.connect() as connection:
            return connection.scalar(others) == 0

    wait_until(alone)
