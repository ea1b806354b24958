"""No embedding is paid for twice: across collections, failures and kills; against a server that counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from pgcorpus.database import session_factory
from pgcorpus.errors import EmbeddingError, TextTooLongError
from pgcorpus.models import CachedEmbedding, Document
from pgcorpus.repositories import SyncReport
from pgcorpus.services.chunking import Passage
from pgcorpus.services.embedding import OpenAIEmbedder
from pgcorpus.services.ingesting import Ingestor, IngestReport
from pgcorpus.services.ingesting import run as run_module
from pgcorpus.services.sources import Source
from tests.support.openai_server import OpenAIServer, failure, limits
from tests.support.waiting import wait_until


@pytest.fixture
def api() -> Iterator[OpenAIServer]:
    with OpenAIServer() as api:
        yield api


def embedder(api: OpenAIServer, **options: object) -> OpenAIEmbedder:
    given = {"max_retries": 0, "max_inputs": 10, "concurrency": 2, "rounds": 1} | options
    return OpenAIEmbedder("tiny-8", base_url=api.base_url, api_key="none", **given)  # type: ignore[arg-type]


def sources(count: int, passages: int) -> list[Source]:
    return [
        Source(f"s{number}", 1, lambda number=number: [Passage(f"text {number} {each}") for each in range(passages)])
        for number in range(count)
    ]


def ingest(
    engine: Engine, api: OpenAIServer, given: list[Source], collection: str = "default", **options: object
) -> IngestReport:
    with embedder(api) as chosen:
        return Ingestor(engine, chosen, collection, **options).ingest(given)  # type: ignore[arg-type]


def stored(engine: Engine) -> list[str]:
    with session_factory(engine)() as session:
        return list(session.scalars(select(Document.content).order_by(Document.content)))


def cached(engine: Engine) -> int:
    with session_factory(engine)() as session:
        return session.scalar(select(func.count()).select_from(CachedEmbedding)) or 0


def test_another_collection_pays_nothing_for_the_same_texts(engine: Engine, api: OpenAIServer) -> None:
    first = ingest(engine, api, sources(3, 20), price=2.5)
    assert (first.embedded, first.cached, first.tokens) == (60, 0, 60)
    assert first.cost == pytest.approx(60 * 2.5 / 1e6)
    second = ingest(engine, api, sources(3, 20), "another", price=2.5)
    assert second.changes == SyncReport(added=60)
    assert (second.embedded, second.cached, second.tokens, second.cost) == (60, 60, 0, 0)
    assert len(api.texts) == 60


def test_a_text_that_several_sources_share_is_paid_for_once(engine: Engine, api: OpenAIServer) -> None:
    shared = [Source(f"s{number}", 1, lambda: [Passage("the same"), Passage("the same")]) for number in range(450)]
    assert ingest(engine, api, shared).changes == SyncReport(added=900)
    assert api.texts == ["the same"]


def test_without_the_cache_every_collection_pays(engine: Engine, api: OpenAIServer) -> None:
    ingest(engine, api, sources(1, 5), cache=False)
    ingest(engine, api, sources(1, 5), "another", cache=False)
    assert (len(api.texts), cached(engine)) == (10, 0)


def test_a_server_that_dies_half_way_through_ten_thousand_texts_is_paid_for_the_rest_only(
    engine: Engine, api: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "build_missing", lambda *_: None)  # it takes longer than all the rest
    given = sources(100, 100)
    api.dies_after(5_000)
    with embedder(api, max_inputs=100) as chosen, pytest.raises(EmbeddingError, match="500"):
        Ingestor(engine, chosen).ingest(given)
    answered = len(api.texts)
    assert answered >= 5_000
    assert cached(engine) == answered
    api.revive()
    with embedder(api, max_inputs=100) as chosen:
        report = Ingestor(engine, chosen).ingest(given)
    assert report.changes.added + report.changes.unchanged == 10_000
    assert Counter(api.texts).most_common(1)[0][1] == 1
    assert len(stored(engine)) == len(api.texts) == 10_000


KILLED = """
import sys
from pgcorpus.database import create_engine
from pgcorpus.services.ingesting import Ingestor, run
from tests.integration.test_ingest_paid import embedder, sources
run.GROUP_PASSAGES = 40
class Server: base_url = sys.argv[2]
Ingestor(create_engine(sys.argv[1]), embedder(Server, concurrency=3)).ingest(sources(20, 10))
"""


def test_a_killed_run_loses_nothing_doubles_nothing_and_pays_for_nothing_again(
    engine: Engine, api: OpenAIServer
) -> None:
    api.dies_after(90)
    api.usual = hang_when_dead(api)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, engine.url.render_as_string(hide_password=False), api.base_url],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    # All that was answered is in the cache, and the run waits for what never comes.
    wait_until(lambda: len(api.texts) >= 90 and cached(engine) == len(api.texts))
    process.send_signal(signal.SIGKILL)
    process.wait()
    api.revive()
    report = ingest(engine, api, sources(20, 10))
    assert report.changes.added + report.changes.unchanged == 200
    assert report.changes.updated == report.changes.deleted == 0
    assert stored(engine) == sorted(f"text {number} {each}" for number in range(20) for each in range(10))
    assert Counter(api.texts).most_common(1)[0][1] == 1


def hang_when_dead(api: OpenAIServer):  # type: ignore[no-untyped-def]
    """In place of an error, say nothing for ever."""
    dying = api.usual

    def answer(request):  # type: ignore[no-untyped-def]
        reply = dying(request)
        return reply if reply.status == 200 else api.hang(request)

    return answer


def test_a_refused_key_stores_nothing_and_pays_nothing(engine: Engine, api: OpenAIServer) -> None:
    api.usual = failure(401, "bad key")
    with pytest.raises(EmbeddingError, match="OPENAI_API_KEY"):
        ingest(engine, api, sources(2, 5))
    assert stored(engine) == []
    assert api.texts == []


def test_a_text_that_is_too_long_is_named_by_source_and_passage(engine: Engine, api: OpenAIServer) -> None:
    api.usual = limits()
    long = Source("docs/long.md", 1, lambda: [Passage("short"), Passage("word " * 9_000)])
    with pytest.raises(TextTooLongError, match=r"docs/long\.md, passage 1: "):
        ingest(engine, api, [*sources(1, 3), long])


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(engine: Engine, api: OpenAIServer) -> None:
    ingest(engine, api, sources(2, 10))
    before = len(api.texts)
    changed = [sources(3, 12)[0], sources(3, 10)[2]]
    with embedder(api) as chosen:
        ingestor = Ingestor(engine, chosen, price=1.0)
        foreseen = ingestor.ingest(changed, prefix="s", dry_run=True)
        assert foreseen.dry_run
        assert len(api.texts) == before
        assert len(stored(engine)) == 20
        assert foreseen.changes == SyncReport(added=12, unchanged=10, deleted=10)
        assert foreseen.embedded == 12
        assert foreseen.tokens == 25  # 98 bytes
        assert foreseen.cost == pytest.approx(25e-6)
        done = ingestor.ingest(changed, prefix="s")
    assert done.changes == foreseen.changes
    assert (done.embedded, len(api.texts) - before) == (12, 12)


def test_a_dry_run_counts_no_cost_for_what_the_cache_has(engine: Engine, api: OpenAIServer) -> None:
    ingest(engine, api, sources(1, 10))
    with embedder(api) as chosen:
        report = Ingestor(engine, chosen, "another", price=1.0).ingest(sources(2, 10), dry_run=True)
    assert (report.embedded, report.cached, report.tokens) == (20, 10, 20)  # 10 texts of 8 bytes


def test_a_dry_run_into_nothing_makes_no_collection(engine: Engine, api: OpenAIServer) -> None:
    with embedder(api) as chosen:
        report = Ingestor(engine, chosen, "new").ingest(sources(1, 3), prefix="", dry_run=True)
        assert report.changes == SyncReport(added=3)
        assert Ingestor(engine, chosen, "new").ingest(sources(1, 3), dry_run=True).changes == SyncReport(added=3)
