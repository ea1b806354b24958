"""``pgcorpus ask``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click
from rich.text import Text

from pgcorpus.cli import options
from pgcorpus.cli.output import note, print_json, printable, results, snippet
from pgcorpus.services.answering import Answer, Answerer, AnswerStream, Citation


@click.command()
@click.argument("question")
@options.collection
@options.tenant
@options.embedder
@click.option("-k", type=click.IntRange(1, 100), default=8, show_default=True, help="Passages to retrieve.")
@click.option(
    "-w",
    "--where",
    metavar="JSON",
    callback=options.parse_object,
    help='A filter of the passages, for example \'{"meta.year": {"$gte": 2020}}\'.',
)
@click.option(
    "--model", metavar="NAME", help="The chat model. [default: gpt-4o-mini where OPENAI_API_KEY is set, else none]"
)
@click.option("--hybrid/--no-hybrid", default=True, show_default=True, help="Search by words as well.")
@click.option("--min-score", type=float, metavar="SCORE", help="The least similarity of the best passage.")
@click.option("--extractive", is_flag=True, help="Quote sentences of the documents and ask no chat model.")
@click.option("--stream", "streamed", is_flag=True, help="Print the answer as it is written; with --json, JSON lines.")
@options.as_json
@options.database_url
def ask(
    question: str,
    collection: str,
    tenant: str,
    embedder: str | None,
    k: int,
    where: dict[str, Any] | None,
    model: str | None,
    hybrid: bool,
    min_score: float | None,
    extractive: bool,
    streamed: bool,
    as_json: bool,
    database_url: str | None,
) -> None:
    """Answer a question from the documents of a collection.

    The passages nearest to the question are retrieved and given to a chat model, and the answer cites them by number.
    Without a chat model the answer is made of sentences of the documents, word for word.
    """
    if not question.strip():
        raise click.BadParameter("it is empty", param_hint="QUESTION")
    if model and extractive:
        raise click.UsageError("--extractive asks no chat model: leave --model out")
    chat = None if extractive else options.chosen_chat(model)
    chosen = options.chosen_embedder(embedder)
    with options.migrated_database(database_url) as engine:
        answerer = Answerer(
            engine, chosen, collection, tenant, chat=chat, extractive=extractive, hybrid=hybrid, min_score=min_score
        )
        with answerer:
            if streamed:
                with answerer.stream(question, k, where=where) as stream:
                    _print_stream(stream, question, collection, as_json=as_json)
            elif as_json:
                print_json(answer_as_json(answerer.answer(question, k, where=where), question, collection))
            else:
                print_answer(answerer.answer(question, k, where=where))


def _print_stream(stream: AnswerStream, question: str, collection: str, *, as_json: bool) -> None:
    if as_json:
        for delta in stream:
            print_json({"delta": delta})
        print_json(answer_as_json(stream.answer, question, collection))
    else:
        _print_text(stream)
        _print_sources(stream.answer)


def _print_text(stream: AnswerStream) -> None:
    try:
        for delta in stream:
            click.echo(printable(delta), nl=False)
    finally:
        # Also after what broke off: the error stands on a line of its own.
        click.echo()


def print_answer(answer: Answer) -> None:
    """Print an answer and its sources for a person."""
    click.echo(printable(answer.text))
    _print_sources(answer)


def _print_sources(answer: Answer) -> None:
    """Print what the answer cites, and what a reader should know of it."""
    console = results()
    if answer.citations:
        console.print()
    for citation in _by_number(answer.citations):
        number, heading = f"[{citation.number}] ", f"  {snippet(citation.heading or '', 80)}"
        console.print(Text.assemble((number, "dim"), (snippet(citation.source), "bold"), (heading.rstrip(), "cyan")))
    if answer.unknown_citations:
        numbers = ", ".join(map(str, answer.unknown_citations))
        note(f"the model cites what it was not shown: {numbers}")
    if answer.note:
        note(answer.note)


def _by_number(citations: Sequence[Citation]) -> list[Citation]:
    """Return one citation of each number: several quotes may be of one passage."""
    by_number = {citation.number: citation for citation in citations}
    return [by_number[number] for number in sorted(by_number)]


def answer_as_json(answer: Answer, question: str, collection: str) -> dict[str, Any]:
    """Return an answer as a JSON object."""
    return {
        "question": question,
        "collection": collection,
        "kind": answer.kind,
        "answer": answer.text,
        "citations": [_citation_as_json(citation) for citation in answer.citations],
        "unknown_citations": answer.unknown_citations,
        "model": answer.model,
        "usage": asdict(answer.usage) if answer.usage else None,
        "note": answer.note,
        "timings": asdict(answer.timings),
    }


def _citation_as_json(citation: Citation) -> dict[str, Any]:
    return {
        "number": citation.number,
        "source": citation.document.source,
        "position": citation.document.position,
        "key": citation.document.key,
        "heading": citation.heading,
        "score": citation.hit.score,
        "quote": citation.quote,
    }
