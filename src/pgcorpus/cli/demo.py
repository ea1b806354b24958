"""``pgcorpus demo``: the main job, end to end, on text that every machine has."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.text import Text
from sqlalchemy import Engine

from pgcorpus import schema
from pgcorpus.cli.ask import print_answer
from pgcorpus.cli.ingest import print_report, progress_bar
from pgcorpus.cli.output import results
from pgcorpus.cli.search import print_hits
from pgcorpus.cli.stdlib_docs import stdlib_sources
from pgcorpus.config import load_settings
from pgcorpus.services.answering import Answerer
from pgcorpus.services.embedding import Embedder, LocalEmbedder
from pgcorpus.services.ingesting import Ingestor
from pgcorpus.services.retrieval import Retriever
from pgcorpus.target import embedded_server, open_database

COLLECTION = "demo"


class Question(NamedTuple):
    """A question of the demo."""

    text: str
    where: dict[str, Any] | None = None


QUESTIONS = (
    Question("How do I parse a date from an ISO 8601 string?"),
    Question("How do I compute the median of a list of numbers?"),
    Question("How do I copy a whole directory tree?", {"meta.kind": "function"}),
    Question("How do I insert an item and keep the list sorted?"),
)

NEXT = """
Next:
  {program} search "your question" -c {collection} -e local
  {program} ask "your question" -c {collection} -e local
  {program} ingest README.md docs/ -c mine      your own files (OpenAI if OPENAI_API_KEY is set)
  {program} serve                               the same in a browser (pip install 'pgcorpus[explorer]')
  {program} db psql                             look at the tables; `{program} db reset` deletes it all
"""


@click.command()
def demo() -> None:
    """Index the documentation of Python's standard library, ask it four questions, and have one of them answered.

    It needs no server and no key: a private PostgreSQL is started and the embedder is local.
    """
    embedder = LocalEmbedder()
    with _timed("start PostgreSQL"):
        server = embedded_server(load_settings())
        server.start()
    try:
        with open_database(server.url) as engine:
            with _timed("migrate the schema"):
                schema.upgrade(engine)
            _index(engine, embedder)
            for question in QUESTIONS:
                _ask(engine, embedder, question)
            _answer(engine, embedder, QUESTIONS[1].text)
    finally:
        server.stop()
    results().print(NEXT.format(program=_program(), collection=COLLECTION), markup=False)


def _program() -> str:
    """Return how this program can be called again: by its name, or by its path where a shell would not find it."""
    found, installed = shutil.which("pgcorpus"), Path(sys.executable).with_name("pgcorpus")
    if found and (not installed.exists() or installed.samefile(found)):
        return "pgcorpus"
    return shlex.quote(os.path.relpath(installed))


def _index(engine: Engine, embedder: Embedder) -> None:
    started = time.perf_counter()
    sources = stdlib_sources()
    with progress_bar(sum(source.size for source in sources)) as progress:
        report = Ingestor(engine, embedder, COLLECTION, progress=progress).ingest(sources)
    print_report(report, COLLECTION, time.perf_counter() - started, as_json=False)
    parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in report.seconds.items())
    results().print(f"  of that: {parts}", style="dim")


def _ask(engine: Engine, embedder: Embedder, question: Question) -> None:
    hits = Retriever(engine, embedder, COLLECTION).retrieve(question.text, 3, where=question.where)
    condition = f"   where {question.where}" if question.where else ""
    times = "".join(f"   {part} {1000 * seconds:.1f} ms" for part, seconds in hits.seconds.items())
    results().print(Text.assemble("\n", (question.text, "bold"), (condition, "cyan"), (times, "dim")))
    print_hits(hits)


def _answer(engine: Engine, embedder: Embedder, question: str) -> None:
    """Answer in the documents' own words: there is no chat model without a key."""
    answer = Answerer(engine, embedder, COLLECTION, extractive=True).answer(question)
    results().print(Text.assemble("\n", (question, "bold"), ("   answered", "dim")))
    print_answer(answer)


@contextmanager
def _timed(step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    results().print(f"{step}: {time.perf_counter() - started:.1f} s")
