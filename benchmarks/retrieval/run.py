"""One run: manual, server, searches, figures."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from benchmarks.progress import Report
from benchmarks.retrieval.fusion import GRID, Setting, fuse
from benchmarks.retrieval.manual import find_manual
from benchmarks.retrieval.metrics import Quality, judge
from benchmarks.retrieval.parsing import Manual, Query, Section, read_manual, sections_of
from benchmarks.retrieval.store import embed, load, repository_of
from benchmarks.retrieval.systems import SYSTEMS, Question, candidates
from benchmarks.server import OWN_TABLE, Server, private_folder, private_server
from benchmarks.terms import default_ef_search
from pgcorpus.database import autocommit, create_engine, session_factory
from pgcorpus.repositories import DocumentRepository
from pgcorpus.services.embedding import Embedder, LocalEmbedder

DATABASE = "manual"
WARM_UP = 20


@dataclass(frozen=True)
class Options:
    """What the command line asks for.

    Attributes:
        manual: The manual's folder; None for any that is here, or the download.
        queries: How many to ask; None for all.
        seed: Chooses them, and the halves of the grid.
        grid: Whether to try the settings of the grid.
        passages: Whether to cut the sections as ingest would.
    """

    manual: Path | None = None
    queries: int | None = None
    seed: int = 0
    grid: bool = False
    passages: bool = False


@dataclass
class Answers:
    """What one way of searching found, query by query."""

    qualities: list[Quality] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Results:
    """What a run measured.

    Attributes:
        manual: What was searched.
        documents: How many documents its sections were.
        server: Versions.
        model: Of the vectors.
        queries: Those asked.
        answers: By the way of searching.
        grid: By setting, for each query; empty if not asked for.
    """

    manual: Manual
    documents: int
    server: str
    model: str
    queries: list[Query]
    answers: Mapping[str, Answers]
    grid: Mapping[Setting, list[Quality]]


def run(options: Options, report: Report) -> Results:
    """Search the manual in all ways.

    Raises:
        ManualError: There is no manual.
    """
    report.say("reading the PostgreSQL manual")
    manual = read_manual(find_manual(options.manual))
    documents = _documents(manual, options)
    chosen = _sample(manual.queries, options)
    embedder = LocalEmbedder()
    with private_folder() as folder:
        report.say("starting PostgreSQL")
        with private_server(folder, default_ef_search()) as server:
            _fill(server, documents, embedder, report)
            questions = _questions(embedder, chosen, report)
            with _reading(server) as session:
                repository = repository_of(session, embedder)
                answers = _ask(repository, chosen, questions, report)
                grid = _try_grid(repository, chosen, questions, report) if options.grid else {}
            return Results(manual, len(documents), _versions(server), embedder.model, chosen, answers, grid)


def _documents(manual: Manual, options: Options) -> list[Section]:
    if not options.passages:
        return manual.sections
    return [passage for section in manual.sections for passage in section.passages()]


def _sample(queries: list[Query], options: Options) -> list[Query]:
    """Shuffled, so that the two halves are alike."""
    count = min(options.queries or len(queries), len(queries))
    return random.Random(options.seed).sample(queries, count)


def _fill(server: Server, documents: Sequence[Section], embedder: Embedder, report: Report) -> None:
    vectors = embed(embedder, [each.content for each in documents], report, "embedding the sections")
    report.say("loading and indexing them")
    server.add_database(DATABASE)
    engine = create_engine(server.target(DATABASE).url("psycopg"))
    with session_factory(engine)() as session:
        load(session, embedder, documents, vectors)
    engine.dispose()
    server.build_index(DATABASE, OWN_TABLE)


def _questions(embedder: Embedder, queries: Sequence[Query], report: Report) -> list[Question]:
    texts = [query.text for query in queries]
    vectors = embed(embedder, texts, report, "embedding the queries")
    return [Question(text, vector) for text, vector in zip(texts, vectors, strict=True)]


@contextmanager
def _reading(server: Server) -> Iterator[Session]:
    """One session without BEGIN and ROLLBACK, as a service would hold for reads."""
    engine = create_engine(server.target(DATABASE).url("psycopg"))
    with session_factory(autocommit(engine))() as session:
        yield session
    engine.dispose()


def _ask(
    repository: DocumentRepository, queries: Sequence[Query], questions: Sequence[Question], report: Report
) -> dict[str, Answers]:
    """Ask each question in all ways in turn, so that a burst of noise meets all."""
    for question in questions[:WARM_UP]:
        for search in SYSTEMS.values():
            search(repository, question)
    answers = {name: Answers() for name in SYSTEMS}
    asked = list(zip(queries, questions, strict=True))
    for query, question in report.track(asked, f"asking {len(asked):,} queries in {len(SYSTEMS)} ways"):
        for name, search in SYSTEMS.items():
            start = time.perf_counter()
            found = search(repository, question)
            answers[name].seconds.append(time.perf_counter() - start)
            answers[name].qualities.append(judge(sections_of(found), query.relevant))
    return answers


def _try_grid(
    repository: DocumentRepository, queries: Sequence[Query], questions: Sequence[Question], report: Report
) -> dict[Setting, list[Quality]]:
    """Both sides' ranks once for each query; the settings are arithmetic on them."""
    grid: dict[Setting, list[Quality]] = {setting: [] for setting in GRID}
    asked = list(zip(queries, questions, strict=True))
    for query, question in report.track(asked, f"trying {len(GRID)} settings"):
        both = candidates(repository, question)
        for setting, qualities in grid.items():
            qualities.append(judge(sections_of(fuse(both, setting)), query.relevant))
    return grid


def _versions(server: Server) -> str:
    with server.connection(DATABASE) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
    return "PostgreSQL {}, pgvector {}".format(*row) if row else "unknown"
