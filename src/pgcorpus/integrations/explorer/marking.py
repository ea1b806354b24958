"""Snippets with the question's words marked, as pieces of text: no document ever becomes markup."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from pgcorpus.cli.output import snippet
from pgcorpus.errors import PgCorpusError
from pgcorpus.integrations.explorer.reading import at_most
from pgcorpus.repositories import DocumentRepository, DocumentView

MARKING_SECONDS = 2.0
SNIPPET_CHARACTERS = 320
_SPACE = re.compile(r"\s+")


class Piece(NamedTuple):
    """A piece of a snippet.

    Attributes:
        text: As the document has it, on one line.
        marked: Whether it is a word of the question.
    """

    text: str
    marked: bool


def marked_snippets(
    session: Session, repository: DocumentRepository, question: str, documents: Sequence[DocumentView]
) -> Mapping[int, Sequence[Piece]]:
    """Return a snippet of each document by its id; without marks where marking takes too long.

    Args:
        session: The repository's.
        repository: The documents'.
        question: Its words are marked, in every form that the collection's language knows.
        documents: What was found.
    """
    beginnings: dict[int, Sequence[Piece]] = {each.id: beginning(each.content) for each in documents}
    # Unguessable: no document can hold them to make a mark of its own.
    start, stop = f"<{secrets.token_hex(12)}>", f"</{secrets.token_hex(12)}>"
    try:
        with at_most(session, MARKING_SECONDS):
            found = repository.snippets(question, [each.id for each in documents], highlight=(start, stop))
    except PgCorpusError:
        return beginnings
    marked = {number: pieces(text, start, stop) for number, text in found.items() if start in text}
    return beginnings | marked


def beginning(content: str) -> Sequence[Piece]:
    """Return the beginning of a text."""
    return [Piece(snippet(content, SNIPPET_CHARACTERS), False)]


def pieces(text: str, start: str, stop: str) -> Sequence[Piece]:
    """Take a highlighted text apart."""
    line = _SPACE.sub(" ", text).strip()
    parts = re.split(f"{re.escape(start)}(.*?){re.escape(stop)}", line)
    return [Piece(part, bool(i % 2)) for i, part in enumerate(parts) if part]
