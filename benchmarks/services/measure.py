"""The three measurements, each with its own base in the same run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from benchmarks.services.model_server import model_server
from pgcorpus.cli.stdlib_docs import stdlib_sources
from pgcorpus.services.answering import Answerer, OpenAIChat
from pgcorpus.services.chunking import Passage
from pgcorpus.services.embedding import LocalEmbedder, OpenAIEmbedder
from pgcorpus.services.ingesting import Ingestor
from pgcorpus.services.retrieval import Retriever
from pgcorpus.services.sources import Source

SOURCE_PASSAGES = 50
CONCURRENCIES = (1, 2, 4, 8)
# Texts in a request: so many requests that their number matters more than what each carries.
REQUEST_TEXTS = 16
DELAY = 0.05


class Ingest(NamedTuple):
    """Passages a second: of the embedder alone, of the ingest up to the last row, and with the index built."""

    embedder: float
    stored: float
    with_index: float


def passages(count: int) -> list[str]:
    """Return distinct passages of the standard library's documentation; repeated with a number where it is short."""
    contents = list(dict.fromkeys(passage.content for source in stdlib_sources() for passage in source.passages()))
    rounds = -(-count // len(contents))
    return [f"{content}\n\n({turn})" if turn else content for turn in range(rounds) for content in contents][:count]


def as_sources(contents: Sequence[str], prefix: str) -> Iterator[Source]:
    """Yield sources of fifty passages each."""
    rest = iter(contents)
    number = 0
    while part := list(islice(rest, SOURCE_PASSAGES)):
        yield Source(f"{prefix}{number}", sum(map(len, part)), lambda part=part: [Passage(each) for each in part])
        number += 1


def empty(engine: Engine) -> None:
    """Leave no document, so that the next ingest is a first one."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE pgcorpus.collections, pgcorpus.embedding_cache CASCADE"))


def ingest_offline(engine: Engine, contents: Sequence[str], rounds: int = 3) -> list[Ingest]:
    """Ingest with the offline embedder in turn with that embedder alone; one figure a round."""
    embedder = LocalEmbedder()
    embedder.embed(contents[:100])
    return [_round_offline(engine, embedder, contents) for _ in range(rounds)]


def _round_offline(engine: Engine, embedder: LocalEmbedder, contents: Sequence[str]) -> Ingest:
    started = time.perf_counter()
    for start in range(0, len(contents), 1_000):
        embedder.embed(contents[start : start + 1_000])
    alone = time.perf_counter() - started
    empty(engine)
    started = time.perf_counter()
    report = Ingestor(engine, embedder, "offline").ingest(as_sources(contents, "offline:"))
    total = time.perf_counter() - started
    stored = total - report.seconds["index"]
    return Ingest(len(contents) / alone, len(contents) / stored, len(contents) / total)


def ingest_remote(engine: Engine, contents: Sequence[str]) -> dict[int, float]:
    """Return passages a second by the number of requests at once, with a server that takes 50 ms for each."""
    rates = {}
    with model_server(DELAY) as base_url:
        for concurrency in CONCURRENCIES:
            empty(engine)
            with OpenAIEmbedder(
                "bench",
                dimensions=1536,
                base_url=base_url,
                api_key="none",
                max_inputs=REQUEST_TEXTS,
                concurrency=concurrency,
            ) as embedder:
                embedder.embed(["warm"])
                started = time.perf_counter()
                report = Ingestor(engine, embedder, "remote").ingest(as_sources(contents, "remote:"))
                seconds = time.perf_counter() - started - report.seconds["index"]
            rates[concurrency] = len(contents) / seconds
    return rates


def answer_overhead(engine: Engine, contents: Sequence[str], rounds: int) -> dict[str, float]:
    """Return milliseconds: what a whole answer takes beside its retrieval and its model, each called alone, in turn."""
    embedder = LocalEmbedder()
    empty(engine)
    Ingestor(engine, embedder, "answers").ingest(as_sources(contents, "answers:"))
    messages = [{"role": "user", "content": "so?"}]
    with model_server(DELAY) as base_url:
        chat = OpenAIChat("bench", base_url=base_url, api_key="none")
        retriever = Retriever(engine, embedder, "answers", hybrid=True)
        answerer = Answerer(engine, embedder, "answers", chat=chat, hybrid=True, min_score=0.0)
        spans = [_round(question, retriever, chat, answerer, messages) for question in _questions(contents, rounds)]
    retrieval, model, whole = (1_000 * median(column) for column in zip(*spans, strict=True))
    overhead = 1_000 * median(total - parts - model_only for parts, model_only, total in spans)
    return {"retrieval_ms": retrieval, "model_ms": model, "answer_ms": whole, "overhead_ms": overhead}


def _questions(contents: Sequence[str], rounds: int) -> list[str]:
    step = max(1, len(contents) // rounds)
    return [" ".join(content.split()[:12]) for content in contents[::step][:rounds]]


def _round(question: str, retriever: Any, chat: Any, answerer: Any, messages: Any) -> tuple[float, float, float]:
    marks = [time.perf_counter()]
    for step in (
        lambda: retriever.retrieve(question, 8),
        lambda: chat.complete(messages),
        lambda: answerer.answer(question, 8),
    ):
        step()
        marks.append(time.perf_counter())
    first, second, third = (after - before for before, after in pairwise(marks))
    return first, second, third
