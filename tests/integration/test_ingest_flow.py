"""An ingest embeds ahead of what it writes, in bounded memory, in an engine, a session, or an event loop."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event, get_ident

import pytest
from sqlalchemy import URL, Engine, event, func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from pgcorpus.database import async_session_factory, create_async_engine, create_engine, session_factory
from pgcorpus.errors import ConfigError, EmbeddingError, SourceError
from pgcorpus.models import Document
from pgcorpus.repositories import SyncReport
from pgcorpus.services.chunking import Passage
from pgcorpus.services.embedding import as_async
from pgcorpus.services.embedding.base import Vectors
from pgcorpus.services.ingesting import AsyncIngestor, Ingestor, Progress
from pgcorpus.services.ingesting import run as run_module
from pgcorpus.services.ingesting import shelf as shelf_module
from pgcorpus.services.ingesting.ports import EnginePorts
from pgcorpus.services.ingesting.run import Plan, Run
from pgcorpus.services.sources import Source
from tests.conftest import DRIVER
from tests.support.embedder import CountingEmbedder

on_async_driver = pytest.mark.skipif(DRIVER == "psycopg2", reason="psycopg2 is not async")


def source(name: str, *contents: str) -> Source:
    return Source(name, 1, lambda: [Passage(content) for content in contents])


def names(engine: Engine) -> set[str | None]:
    with session_factory(engine)() as session:
        return set(session.scalars(select(Document.source)))


def test_groups_are_embedded_at_once_and_written_in_order(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "GROUP_PASSAGES", 1)
    together = Barrier(2, timeout=20)  # breaks, and fails the test, unless two are there at once
    embedder = CountingEmbedder(before=lambda _: together.wait() and None)
    Ingestor(engine, embedder, cache=False).ingest([source("a", "one"), source("b", "two")])
    with session_factory(engine)() as session:
        assert list(session.scalars(select(Document.source).order_by(Document.id))) == ["a", "b"]


def test_what_came_before_a_failure_is_stored_and_what_comes_after_is_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "GROUP_PASSAGES", 1)

    def fail(texts: Sequence[str]) -> None:
        if "three" in texts:
            raise EmbeddingError("down")

    given = [source(name, name) for name in ("one", "two", "three", "four", "five")]
    with pytest.raises(EmbeddingError, match="down"):
        Ingestor(engine, CountingEmbedder(before=fail), cache=False).ingest(given)
    assert names(engine) == {"one", "two"}


def test_a_long_source_takes_little_memory_and_is_whole(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "IN_MEMORY_CHARS", 50_000)
    monkeypatch.setattr(run_module, "build_missing", lambda *_: None)  # it takes longer than all the rest
    count = 4_000

    def passages() -> Iterator[Passage]:
        for number in range(count):
            yield Passage(f"{number} {'word ' * 50}", {"n": number})

    embedder = CountingEmbedder()
    embedder.batch_size = 250
    with session_factory(engine)() as session:
        Ingestor(session, embedder, cache=False).ingest([source("warm", "one")])
    gc.collect()
    tracemalloc.start()
    try:
        report = Ingestor(engine, embedder, cache=False).ingest([Source("long", 1, passages)])  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.changes == SyncReport(added=count)
    # The vectors alone are 25 MB. A page of 400 is in memory three times on its way to the server.
    assert peak < 14_000_000
    with session_factory(engine)() as session:
        rows = session.execute(select(Document.meta["n"]).where(Document.source == "long").order_by(Document.position))
        assert [row[0] for row in rows] == list(range(count))


def open_files(folder: Path) -> int:
    """Count those that this process has open there, names or no names."""
    links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
    return sum(link.readlink().is_relative_to(folder) for link in links)


def long(name: str, count: int = 100, broken_at: int | None = None) -> Source:
    def passages() -> Iterator[Passage]:
        for number in range(count):
            if number == broken_at:
                raise SourceError("broken in the middle")
            yield Passage(f"{name} {number} {'word ' * 10}")

    return Source(name, 1, passages)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell what is open")
@pytest.mark.parametrize("fault", ["source", "embedder", "progress"])
def test_a_failed_ingest_leaves_no_temporary_file_open(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shelf_module, "IN_MEMORY_CHARS", 1_000)
    monkeypatch.setattr(run_module, "GROUP_PASSAGES", 10)
    seen = []

    def fail(texts: Sequence[str]) -> None:
        if fault == "embedder" and any(text.startswith("b 50 ") for text in texts):
            raise EmbeddingError("down")

    def progress(now: Progress) -> None:
        seen.append(open_files(tmp_path))
        if fault == "progress" and now.passages == 200:
            raise RuntimeError("its own fault")

    given = [long("a"), long("b", broken_at=80 if fault == "source" else None), long("c")]
    ingestor = Ingestor(engine, CountingEmbedder(before=fail), cache=False, progress=progress)
    # What was raised is kept, and with it all that its frames hold.
    with pytest.raises((SourceError, EmbeddingError, RuntimeError)) as raised:
        ingestor.ingest(given)
    assert max(seen) > 0
    assert open_files(tmp_path) == 0, raised


def test_after_a_failure_no_more_is_paid_for_than_is_on_its_way(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "GROUP_PASSAGES", 10)
    begun = Event()

    def before(texts: Sequence[str]) -> None:
        if "bad" in texts:
            assert begun.wait(20)
            raise EmbeddingError("down")
        begun.set()
        run.stop.wait(20)

    embedder = CountingEmbedder(before=before)
    run = Run(Plan("default", "counting", piece=16), EnginePorts(engine, embedder))
    with pytest.raises(EmbeddingError, match="down"):
        run.ingest([source("a", *["bad"] * 10), long("b", 1_000)], (), None)
    assert len(embedder.texts) == 16


def test_a_pool_of_one_connection_is_enough_for_an_engine(engine: Engine, url: URL) -> None:
    narrow = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=20)
    assert Ingestor(narrow, CountingEmbedder()).ingest(source(f"s{n}", *"abc") for n in range(10)).changes.added == 30
    narrow.dispose()


def test_a_pool_without_a_connection_for_the_cache_is_said_before_anything_is_paid(engine: Engine, url: URL) -> None:
    narrow = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    embedder = CountingEmbedder()
    with session_factory(narrow)() as session:
        with pytest.raises(ConfigError, match="raise pool_size or max_overflow, or do without the cache"):
            Ingestor(session, embedder).ingest([source("a", "one")])
        assert embedder.texts == []
        assert Ingestor(session, embedder, cache=False).ingest([source("a", "one")]).changes.added == 1
    narrow.dispose()


def test_a_session_of_the_callers_decides_what_stays(engine: Engine) -> None:
    with session_factory(engine)() as session:
        assert Ingestor(session, CountingEmbedder()).ingest([source("a", "one")]).changes.added == 1
        assert session.scalar(select(func.count()).select_from(Document)) == 1
        session.rollback()
    assert names(engine) == set()
    with session_factory(engine).begin() as session:
        Ingestor(session, CountingEmbedder()).ingest([source("a", "one")])
    assert names(engine) == {"a"}


def test_vanished_sources_with_a_prefix_are_deleted_and_no_others(engine: Engine) -> None:
    ingestor = Ingestor(engine, CountingEmbedder())
    ingestor.ingest([source("row:1", "one"), source("row:2", "two"), source("file", "three")])
    assert ingestor.ingest(iter([source("row:1", "one")]), prefix="row:").changes == SyncReport(unchanged=1, deleted=1)
    assert names(engine) == {"row:1", "file"}


def test_a_name_that_comes_twice_has_the_later_text(engine: Engine) -> None:
    Ingestor(engine, CountingEmbedder()).ingest([source("a", "one"), source("b", "x"), source("a", "two")])
    with session_factory(engine)() as session:
        assert set(session.scalars(select(Document.content))) == {"two", "x"}


# Awaited


async def with_async_engine(url: URL) -> AsyncEngine:
    return create_async_engine(url)


@on_async_driver
def test_an_async_ingest_leaves_the_event_loop_free(engine: Engine, url: URL) -> None:
    threads = set()
    embedder = CountingEmbedder(before=lambda _: threads.add(get_ident()))

    async def main() -> tuple[SyncReport, int]:
        ticks = 0
        async_engine = create_async_engine(url)
        work = asyncio.create_task(
            AsyncIngestor(async_engine, as_async(embedder)).ingest(source(f"s{n}", *"abcdef") for n in range(300))
        )
        while not work.done():
            await asyncio.sleep(0)
            ticks += 1
        await async_engine.dispose()
        return (await work).changes, ticks

    changes, ticks = asyncio.run(main())
    assert changes == SyncReport(added=1_800)
    assert ticks > 100
    assert get_ident() not in threads
    with engine.connect() as connection:
        assert connection.exec_driver_sql(INDEX_STATE).scalar() is True


INDEX_STATE = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('pgcorpus.ix_documents_embedding')"


@on_async_driver
def test_a_pool_of_one_connection_is_enough_for_an_async_engine(engine: Engine, url: URL) -> None:
    async def main() -> int:
        narrow = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=20)
        ingestor = AsyncIngestor(narrow, as_async(CountingEmbedder()))
        report = await ingestor.ingest(source(f"s{n}", *"abc") for n in range(10))
        await narrow.dispose()
        return report.changes.added

    assert asyncio.run(main()) == 30
    with engine.connect() as connection:
        assert connection.exec_driver_sql(INDEX_STATE).scalar() is True


@on_async_driver
def test_an_async_ingest_leaves_the_event_loops_threads_to_others(url: URL) -> None:
    """As many ingests as the loop has threads would wait for ever for an embedder, or a name server, that needs one."""

    class NeedsAThread(CountingEmbedder):
        async def embed(self, texts: Sequence[str]) -> Vectors:  # type: ignore[override]
            return await asyncio.wait_for(asyncio.to_thread(super().embed, texts), 10)

    async def main() -> int:
        async_engine = create_async_engine(url)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        report = await AsyncIngestor(async_engine, NeedsAThread()).ingest([source("a", "one")])
        await async_engine.dispose()
        return report.changes.added

    assert asyncio.run(main()) == 1


@on_async_driver
def test_an_async_session_of_the_callers_decides_what_stays(engine: Engine, url: URL) -> None:
    async def main() -> None:
        async_engine = create_async_engine(url)
        async with async_session_factory(async_engine)() as session:
            report = await AsyncIngestor(session, as_async(CountingEmbedder())).ingest([source("a", "one")])
            assert report.changes.added == 1
            await session.rollback()
        await async_engine.dispose()

    asyncio.run(main())
    assert names(engine) == set()


@on_async_driver
def test_a_cancelled_ingest_ends_between_groups_and_the_next_goes_on(
    engine: Engine, url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "GROUP_PASSAGES", 1)
    given = [source(f"s{number}", f"text {number}") for number in range(200)]

    async def main() -> None:
        async_engine = create_async_engine(url)
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        embedder = as_async(CountingEmbedder(before=lambda _: loop.call_soon_threadsafe(begun.set) and None))
        work = asyncio.create_task(AsyncIngestor(async_engine, embedder).ingest(given))
        await begun.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await async_engine.dispose()

    asyncio.run(main())
    assert len(names(engine)) < 200
    Ingestor(engine, CountingEmbedder()).ingest(given)
    assert len(names(engine)) == 200


def test_the_writer_holds_no_transaction_while_the_embedder_works(engine: Engine) -> None:
    open_transactions: list[int] = []
    counts = [0]
    event.listen(engine, "begin", lambda _: counts.__setitem__(0, counts[0] + 1))
    for name in ("commit", "rollback"):
        event.listen(engine, name, lambda _: counts.__setitem__(0, counts[0] - 1))
    embedder = CountingEmbedder(before=lambda _: open_transactions.append(counts[0]))
    Ingestor(engine, embedder).ingest([source("a", "one", "two")])
    assert open_transactions == [0]


def test_progress_is_told_by_one_thread_at_a_time_and_counts_all(engine: Engine, session: Session) -> None:
    seen = []
    Ingestor(engine, CountingEmbedder(), progress=seen.append).ingest([source(f"s{n}", *"abc") for n in range(10)])
    last = seen[-1]
    assert (last.passages, last.embedded, last.stored) == (30, 30, 30)
    for name in ("size", "passages", "embedded", "stored"):
        values = [getattr(each, name) for each in seen]
        assert values == sorted(values)
